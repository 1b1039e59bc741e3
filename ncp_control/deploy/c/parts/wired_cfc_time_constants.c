/* Write the time constant of each neuron [s], at the latest inputs. The state and the inputs are
 * still among the nodes. */
static void cell_time_constants(workspace *w, const float *state, float *tau_s)
{
    (void)state;
    for (int l = 0; l < LAYERS; l++) {
        const int first = wired_layers[l].first, count = wired_layers[l].end - first;
        layer_heads(&wired_layers[l], w->nodes, w->heads);
        closed_form_time_constants(w->heads, first, count, tau_s + first);
    }
}
