/* Return tanh x = (1 - e) / (1 + e) with e = exp(-2 |x|). */
static float hyperbolic_tangent(float x)
{
    const float m = one_minus_exp2((x < 0.0f ? x : -x) * 2.88539008f);
    const float t = m / (2.0f - m);
    return x < 0.0f ? -t : t;
}
