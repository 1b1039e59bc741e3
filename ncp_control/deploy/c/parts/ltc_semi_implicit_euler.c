/* Advance the potentials: v becomes (C v + h b) / (C + h a) in each sub-step h. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    const float h_s = sub_step(dt_s);
    hold_inputs(w, input);
    for (int unfold = 0; unfold < UNFOLDS; unfold++) {
        for (int i = 0; i < NEURONS; i++) {
            const float v = state[i];
            const struct controller_flow sum =
                flow_of(i, add_synapses(w->held[i], first_inner(i), ltc_ends[i].inner, state));
            const float denominator = ltc_neurons[i].capacitance_s + h_s * sum.conductance;
            w->next[i] = v + h_s * ((sum.drive - sum.conductance * v) / denominator);
        }
        for (int i = 0; i < NEURONS; i++) state[i] = w->next[i];
    }
}
