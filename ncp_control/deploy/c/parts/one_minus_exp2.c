/* Return 1 - 2^z for z of at most 0, exact to the last digits however small z is. */
static float one_minus_exp2(float z)
{
    union { float number; uint32_t bits; } scale;
    if (z < -126.0f) z = -126.0f;
    scale.number = z + 12582912.0f; /* 1.5 * 2^23: rounds to a whole number */
    const float f = z - (scale.number - 12582912.0f);
    float q = 1.54035239e-4f;
    q = q * f + 1.33907356e-3f;
    q = q * f + 9.61823746e-3f;
    q = q * f + 5.55035743e-2f;
    q = q * f + 0.240226498f;
    q = q * f + 0.693147188f;
    scale.bits = (scale.bits + 127u) << 23;
    return (1.0f - scale.number) - scale.number * (q * f);
}
