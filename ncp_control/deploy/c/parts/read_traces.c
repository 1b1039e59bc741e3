/* Map the sum of each unit's traces to the outputs. */
static void read_traces(const float *state, float *output)
{
    for (int k = 0; k < OUTPUTS; k++) output[k] = output_bias[k];
    for (int i = 0; i < UNITS; i++) {
        float sum = 0.0f;
        for (int m = 0; m < SCALES; m++) sum += state[i * SCALES + m];
        for (int k = 0; k < OUTPUTS; k++) output[k] += sum * output_map[i * OUTPUTS + k];
    }
}
