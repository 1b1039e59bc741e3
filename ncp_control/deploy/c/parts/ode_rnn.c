/* Let the state move until the frame, then take the frame in. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    runge_kutta(w, state, dt_s);
    gru_step(w, input, state, dt_s);
}
