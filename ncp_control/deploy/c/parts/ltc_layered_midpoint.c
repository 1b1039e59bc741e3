/* Return which share of the way to rest a neuron goes in a time, given in units of C. */
static float relaxed_share(float time_per_c, float conductance)
{
    return one_minus_exp2(-1.44269504f * time_per_c * conductance);
}

/* Take the neurons of a layer to the middle and to the end of a sub-step. They see the middle of
 * the layers before; of their own layer first the start, then, to reach the end, the middle. */
static void advance_layer(workspace *w, const struct ltc_layer *layer, const float *start,
                          float h_s)
{
    for (int i = layer->first; i < layer->end; i++) {
        const float time_per_c = h_s / ltc_neurons[i].capacitance_s;
        const struct SUMS earlier =
            add_synapses(w->held[i], first_inner(i), ltc_ends[i].earlier, w->middle);
        const struct controller_flow sum =
            flow_of(i, add_synapses(earlier, ltc_ends[i].earlier, ltc_ends[i].inner, start));
        const float rest = sum.drive / sum.conductance;
        const float half = relaxed_share(0.5f * time_per_c, sum.conductance);
        w->earlier[i] = earlier;
        w->middle[i] = start[i] + half * (rest - start[i]);
        w->next[i] = start[i] + half * (2.0f - half) * (rest - start[i]);
    }
    for (int i = layer->first; i < layer->end; i++) {
        if (ltc_ends[i].earlier == ltc_ends[i].inner) continue;
        const struct controller_flow sum = flow_of(
            i, add_synapses(w->earlier[i], ltc_ends[i].earlier, ltc_ends[i].inner, w->middle));
        const float share = relaxed_share(h_s / ltc_neurons[i].capacitance_s, sum.conductance);
        w->next[i] = start[i] + share * (sum.drive / sum.conductance - start[i]);
    }
}

/* Advance the potentials by exponential midpoint steps, layer after layer. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    const float h_s = sub_step(dt_s);
    hold_inputs(w, input);
    for (int unfold = 0; unfold < UNFOLDS; unfold++) {
        for (int l = 0; l < LAYERS; l++) advance_layer(w, &ltc_layers[l], state, h_s);
        for (int i = 0; i < NEURONS; i++) state[i] = w->next[i];
    }
}
