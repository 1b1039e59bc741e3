/* Two dense layers; the state is the activity of the second and never feeds back. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    (void)dt_s;
    dense(feedforward_first_map, feedforward_first_bias, input, INPUTS, NEURONS, w->hidden);
    rectify(w->hidden, NEURONS);
    dense(feedforward_second_map, feedforward_second_bias, w->hidden, NEURONS, NEURONS, state);
    rectify(state, NEURONS);
}
