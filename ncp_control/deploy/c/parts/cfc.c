/* Closed-form continuous-time neurons over a backbone of dense layers. */

/* Work out the numbers f, g, a and b of all neurons. */
static const float *cell_heads(workspace *w, const float *state)
{
    float *from = w->layer_0, *to = w->layer_1;
    dense(cfc_state_map, w->projected, state, NEURONS, CFC_FIRST_WIDTH, from);
    for (int l = 0; l < CFC_DEEPER_MAPS; l++) {
        const struct cfc_map *map = &cfc_maps[l];
        float *other = from;
        for (int i = 0; i < map->inputs; i++) from[i] = ACTIVATION(from[i]);
        dense(map->weight, map->bias, from, map->inputs, map->outputs, to);
        from = to;
        to = other;
    }
    return from;
}

static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    dense(cfc_input_map, cfc_bias, input, INPUTS, CFC_FIRST_WIDTH, w->projected);
    CLOSED_FORM(cell_heads(w, state), dt_s / NOMINAL_FRAME_S, 0, NEURONS, state);
}
