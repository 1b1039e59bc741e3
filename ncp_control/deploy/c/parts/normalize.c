/* Shift and scale the observation by the mean and deviation of each entry. */
static void normalize(const float *observation, float *numbers)
{
    for (int k = 0; k < OBSERVATION_SIZE; k++)
        numbers[k] = (observation[k] - observation_scale[k].mean) / observation_scale[k].deviation;
}
