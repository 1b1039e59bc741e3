/* Write the state of some neurons after `frames` frames, given a number f for each:
 * v = A - A f exp(-(|w| + |f|) frames). The table has |w| and A. */
static void closed_form_pure(const float *heads, float frames, int first, int count, float *state)
{
    for (int i = 0; i < count; i++) {
        const float f = heads[i], amplitude = closed_form_neurons[first + i].amplitude;
        const float rate = closed_form_neurons[first + i].rate + (f < 0.0f ? -f : f);
        state[i] = amplitude - amplitude * exp2_limited(frames * rate * -1.44269504f) * f;
    }
}
