/* Closed-form continuous-time neurons over a wiring. A neuron's numbers f, g, a and b are linear in
 * what it has a synapse from: inputs, neurons of earlier layers as they are now, and the others
 * as they were. */

/* Work out the numbers of the neurons of a layer. */
static void layer_heads(const struct wired_layer *layer, const float *nodes, float *heads)
{
    const int count = layer->end - layer->first;
    for (int i = layer->first; i < layer->end; i++)
        for (int h = 0; h < HEADS; h++) {
            float sum = wired_biases[i][h];
            for (int e = i == 0 ? 0 : wired_ends[i - 1]; e < wired_ends[i]; e++)
                sum += wired_edges[e].weight[h] * nodes[wired_sources[e]];
            heads[h * count + i - layer->first] = sum;
        }
}

static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    const float frames = dt_s / NOMINAL_FRAME_S;
    float *neurons = w->nodes + INPUTS;
    for (int k = 0; k < INPUTS; k++) w->nodes[k] = input[k];
    for (int i = 0; i < NEURONS; i++) neurons[i] = state[i];
    for (int l = 0; l < LAYERS; l++) {
        const int first = wired_layers[l].first, count = wired_layers[l].end - first;
        layer_heads(&wired_layers[l], w->nodes, w->heads);
        CLOSED_FORM(w->heads, frames, first, count, neurons + first);
    }
    for (int i = 0; i < NEURONS; i++) state[i] = neurons[i];
}
