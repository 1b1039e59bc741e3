/* Tell whether none of some numbers is infinite or NaN. */
static int are_finite(const float *numbers, int count)
{
    for (int i = 0; i < count; i++)
        if (!(numbers[i] >= -FLT_MAX && numbers[i] <= FLT_MAX)) return 0;
    return 1;
}
