/* An LSTM: the state is the hidden values, then the memory. The gates are input, forget,
 * candidate and output, each of all units together. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    const float *gates = w->gates;
    float *memory = state + NEURONS;
    dense(lstm_input_map, lstm_bias, SEEN(w, input, dt_s), SEEN_INPUTS, 4 * NEURONS, w->gates);
    dense(lstm_state_map, w->gates, state, NEURONS, 4 * NEURONS, w->gates);
    for (int i = 0; i < NEURONS; i++) {
        const float candidate = hyperbolic_tangent(gates[2 * NEURONS + i]);
        memory[i] = sigmoid(gates[NEURONS + i]) * memory[i] + sigmoid(gates[i]) * candidate;
        state[i] = sigmoid(gates[3 * NEURONS + i]) * hyperbolic_tangent(memory[i]);
    }
}
