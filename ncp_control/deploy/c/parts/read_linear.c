/* Map the activity of the hidden units to the outputs. */
static void read_linear(const float *state, float *output)
{
    dense(output_map, output_bias, state, HIDDEN, OUTPUTS, output);
}
