/* Leaky units that relax towards tanh(W u + U v + b), the target held over each sub-step. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    dense(ctrnn_input_map, ctrnn_bias, input, INPUTS, NEURONS, w->projected);
    for (int unfold = 0; unfold < UNFOLDS; unfold++) {
        dense(ctrnn_state_map, w->projected, state, NEURONS, NEURONS, w->target);
        squash(w->target, NEURONS);
        for (int i = 0; i < NEURONS; i++) {
            const float time = dt_s / (float)UNFOLDS / ctrnn_timescales_s[i];
            state[i] += one_minus_exp2(time * -1.44269504f) * (w->target[i] - state[i]);
        }
    }
}

/* Write the time constant of each unit [s]. */
static void cell_time_constants(const workspace *w, const float *state, float *tau_s)
{
    (void)w;
    (void)state;
    for (int i = 0; i < NEURONS; i++) tau_s[i] = ctrnn_timescales_s[i];
}
