/* The inputs of the last frames, the oldest first: forget that one and remember this. */
static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    (void)w, (void)dt_s;
    for (int i = 0; i < STACKED - INPUTS; i++)
        state[i] = state[i + INPUTS];
    for (int i = 0; i < INPUTS; i++)
        state[STACKED - INPUTS + i] = input[i];
}
