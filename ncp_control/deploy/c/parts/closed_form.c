/* Write the state of some neurons after `frames` frames, given the numbers f, g, a and b of each,
 * all of one kind together:  v = (1 - s) tanh f + s tanh g  with  s = sigmoid(a frames + b). */
static void closed_form(const float *heads, float frames, int first, int count, float *state)
{
    (void)first;
    for (int i = 0; i < count; i++) {
        const float f = hyperbolic_tangent(heads[i]), g = hyperbolic_tangent(heads[count + i]);
        const float s = sigmoid(heads[2 * count + i] * frames + heads[3 * count + i]);
        state[i] = f + s * (g - f);
    }
}
