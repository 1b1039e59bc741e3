/* The inputs of the last frames, the oldest first: forget that one and remember this. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    (void)w, (void)dt_s;
    for (int i = 0; i < STACKED - INPUTS; i++)
        state[i] = state[i + INPUTS];
    for (int i = 0; i < INPUTS; i++)
        state[STACKED - INPUTS + i] = input[i];
}

/* Two dense layers over the frames that are remembered, and the outputs. */
static void read_stacked(const float *state, float *output)
{
    float first[HIDDEN], second[HIDDEN];
    dense(stacked_first_map, stacked_first_bias, state, STACKED, HIDDEN, first);
    rectify(first, HIDDEN);
    dense(stacked_second_map, stacked_second_bias, first, HIDDEN, HIDDEN, second);
    rectify(second, HIDDEN);
    dense(output_map, output_bias, second, HIDDEN, OUTPUTS, output);
}
