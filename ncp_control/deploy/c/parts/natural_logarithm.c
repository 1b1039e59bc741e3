/* Return the natural logarithm of a number from 1e-30 to 1e30. With a power of two taken out, the
 * number lies between 1 / sqrt(2) and sqrt(2), where the series of 2 artanh((x - 1) / (x + 1)) is
 * short (error 1e-7). */
static float natural_logarithm(float x)
{
    union { float number; uint32_t bits; } scaled;
    scaled.number = x;
    const int32_t above = (int32_t)(scaled.bits - 0x3f3504f3u); /* the bits of 1 / sqrt(2) */
    const int32_t exponent = above >= 0 ? above >> 23 : -((0x7fffff - above) >> 23);
    scaled.bits -= (uint32_t)exponent << 23;
    const float s = (scaled.number - 1.0f) / (scaled.number + 1.0f), square = s * s;
    float series = 1.0f / 9.0f;
    series = series * square + 1.0f / 7.0f;
    series = series * square + 1.0f / 5.0f;
    series = series * square + 1.0f / 3.0f;
    series = series * square + 1.0f;
    return 2.0f * s * series + 0.693147181f * (float)exponent;
}
