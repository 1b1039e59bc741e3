/* Units that move at the rate tanh(B tanh(A v + a) + c) a frame, whatever the inputs. */
static void set_rate(workspace *w, const float *state)
{
    dense(ode_first_map, ode_first_bias, state, NEURONS, NEURONS, w->hidden);
    squash(w->hidden, NEURONS);
    dense(ode_second_map, ode_second_bias, w->hidden, NEURONS, NEURONS, w->rate);
    squash(w->rate, NEURONS);
}
