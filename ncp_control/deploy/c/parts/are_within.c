/* Tell whether every number lies between its limits; NaN does not. */
static int are_within(const float *numbers, const float *lowest, const float *highest, int count)
{
    for (int i = 0; i < count; i++)
        if (!(numbers[i] >= lowest[i] && numbers[i] <= highest[i])) return 0;
    return 1;
}
