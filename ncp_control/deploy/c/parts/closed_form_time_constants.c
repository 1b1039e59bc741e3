/* Write the time constants frame_s / (|w| + |f|) [s] of some neurons, given f of each. */
static void closed_form_time_constants(const float *heads, int first, int count, float *tau_s)
{
    for (int i = 0; i < count; i++) {
        const float f = heads[i] < 0.0f ? -heads[i] : heads[i];
        tau_s[i] = NOMINAL_FRAME_S / (closed_form_neurons[first + i].rate + f);
    }
}
