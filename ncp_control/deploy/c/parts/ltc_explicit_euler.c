/* Advance the potentials: in each sub-step h, v goes the share h a / C of the way to b / a, or all. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    const float h_s = sub_step(dt_s);
    hold_inputs(w, input);
    for (int unfold = 0; unfold < UNFOLDS; unfold++) {
        for (int i = 0; i < NEURONS; i++) {
            const float v = state[i];
            const struct controller_flow sum =
                flow_of(i, add_synapses(w->held[i], first_inner(i), ltc_ends[i].inner, state));
            const float share = h_s / ltc_neurons[i].capacitance_s * sum.conductance;
            w->next[i] = v + (share < 1.0f ? share : 1.0f) * (sum.drive / sum.conductance - v);
        }
        for (int i = 0; i < NEURONS; i++) state[i] = w->next[i];
    }
}
