/* Units that move at the rate tanh(W u + U v + b) a frame: classical Runge-Kutta steps. */
static void set_rate(workspace *w, const float *state)
{
    dense(ode_state_map, w->projected, state, NEURONS, NEURONS, w->rate);
    squash(w->rate, NEURONS);
}

static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    static const float share[4] = {0.0f, 0.5f, 0.5f, 1.0f}, weight[4] = {1.0f, 2.0f, 2.0f, 1.0f};
    const float h = dt_s / NOMINAL_FRAME_S / (float)UNFOLDS;
    dense(ode_input_map, ode_bias, input, INPUTS, NEURONS, w->projected);
    for (int unfold = 0; unfold < UNFOLDS; unfold++) {
        for (int i = 0; i < NEURONS; i++) w->rate[i] = w->sum[i] = 0.0f;
        for (int k = 0; k < 4; k++) {
            for (int i = 0; i < NEURONS; i++) w->point[i] = state[i] + share[k] * h * w->rate[i];
            set_rate(w, w->point);
            for (int i = 0; i < NEURONS; i++) w->sum[i] += weight[k] * w->rate[i];
        }
        for (int i = 0; i < NEURONS; i++) state[i] += h / 6.0f * w->sum[i];
    }
}
