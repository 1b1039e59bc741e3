/* Return 1 / (1 + 2^z). */
static float sigmoid_of_log2(float z)
{
    if (z > 126.0f) z = 126.0f; /* 2^z must not overflow */
    return 1.0f / (1.0f + exp2_limited(z));
}
