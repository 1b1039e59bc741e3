/* Units that move at the rate tanh(W u + U v + b) a frame, with the inputs held. */
static void set_rate(workspace *w, const float *state)
{
    dense(ode_state_map, w->projected, state, NEURONS, NEURONS, w->rate);
    squash(w->rate, NEURONS);
}
