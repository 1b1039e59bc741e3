/* A gated recurrent unit. The gates are reset, update and candidate, each of all units together;
 * what the candidate sees of the state stands apart, for the reset gate scales it. */
static void gru_step(workspace *w, const float *input, float *state, float dt_s)
{
    const float *seen = w->from_inputs, *kept = w->from_state;
    dense(gru_input_map, gru_input_bias, SEEN(w, input, dt_s), SEEN_INPUTS, 3 * NEURONS,
          w->from_inputs);
    dense(gru_state_map, gru_state_bias, state, NEURONS, 3 * NEURONS, w->from_state);
    for (int i = 0; i < NEURONS; i++) {
        const int u = NEURONS + i, c = 2 * NEURONS + i;
        const float reset = sigmoid(seen[i] + kept[i]), update = sigmoid(seen[u] + kept[u]);
        const float candidate = hyperbolic_tangent(seen[c] + reset * kept[c]);
        state[i] = candidate + update * (state[i] - candidate);
    }
}
