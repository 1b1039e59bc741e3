/* Set negative numbers to 0. */
static void rectify(float *numbers, int count)
{
    for (int i = 0; i < count; i++)
        if (numbers[i] < 0.0f) numbers[i] = 0.0f;
}
