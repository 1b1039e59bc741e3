/* Shift and scale numbers by the mean and deviation of each. */
static void normalize(const float *numbers, float *scaled)
{
    for (int k = 0; k < NUMBERS; k++)
        scaled[k] = (numbers[k] - observation_scale[k].mean) / observation_scale[k].deviation;
}
