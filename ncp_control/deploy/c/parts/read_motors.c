/* Scale and shift the last neurons of the state, the motor neurons. */
static void read_motors(const float *state, float *output)
{
    for (int k = 0; k < OUTPUTS; k++)
        output[k] = state[NEURONS - OUTPUTS + k] * motor_scale[k].factor + motor_scale[k].offset;
}
