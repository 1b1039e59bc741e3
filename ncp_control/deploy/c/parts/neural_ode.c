static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    dense(ode_input_map, ode_bias, input, INPUTS, NEURONS, w->projected);
    runge_kutta(w, state, dt_s);
}
