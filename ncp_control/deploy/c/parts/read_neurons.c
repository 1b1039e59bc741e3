/* Scale and shift the motor neurons, and add a linear map of neurons before them. */
static void read_neurons(const float *state, float *output)
{
    read_motors(state, output);
    for (int k = 0; k < OUTPUTS; k++)
        for (int j = 0; j < READ_NEURONS; j++)
            output[k] += read_weights[k * READ_NEURONS + j] * state[READ_FIRST + j];
}
