/* Return the number nearest to x that lies from -limit to limit; NaN stays NaN. */
static float clip(float x, float limit)
{
    if (x > limit) return limit;
    return x < -limit ? -limit : x;
}
