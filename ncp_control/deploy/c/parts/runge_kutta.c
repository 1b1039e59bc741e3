/* Move the state for a time by UNFOLDS classical Runge-Kutta steps. */
static void runge_kutta(workspace *w, float *state, float dt_s)
{
    static const float share[4] = {0.0f, 0.5f, 0.5f, 1.0f}, weight[4] = {1.0f, 2.0f, 2.0f, 1.0f};
    const float h = dt_s / NOMINAL_FRAME_S / (float)UNFOLDS;
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
