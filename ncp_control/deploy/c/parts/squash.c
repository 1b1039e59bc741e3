/* Replace numbers by their hyperbolic tangents. */
static void squash(float *numbers, int count)
{
    for (int i = 0; i < count; i++) numbers[i] = hyperbolic_tangent(numbers[i]);
}
