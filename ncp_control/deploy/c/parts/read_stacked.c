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
