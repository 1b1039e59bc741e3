/* Return 2^z for z of at most 126; a z below -126 counts as -126. 2^z is 2^floor(z) times a
 * polynomial of the rest, which lies from 0 to 1 (relative error 8e-8). */
static float exp2_limited(float z)
{
    union { float number; uint32_t bits; } scale;
    if (z < -126.0f) z = -126.0f;
    scale.number = z - 0.5f + 12582912.0f; /* 1.5 * 2^23: rounds to a whole number */
    const float f = z - (scale.number - 12582912.0f);
    float q = 1.8671302119512633e-3f;
    q = q * f + 9.0170299625296128e-3f;
    q = q * f + 5.5799913425224284e-2f;
    q = q * f + 0.24016445003927303f;
    q = q * f + 0.69315131181760979f;
    scale.bits = (scale.bits + 127u) << 23; /* the whole number becomes the exponent */
    return (q * f + 1.0f) * scale.number;
}
