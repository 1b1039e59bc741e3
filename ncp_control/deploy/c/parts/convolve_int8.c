/* Apply the weights of a convolution, whole numbers from -127 to 127, to the patch, which is made
 * whole numbers up to WHOLE_LIMIT first. The sums are whole and so exact; each output has its own
 * scale. */
#define WHOLE_BLOCKS(SIZE, EACH)                                                             \
    for (; outputs - first >= SIZE; first += SIZE) {                                          \
        const int8_t *row = c->weight + first;                                               \
        int32_t sum[SIZE];                                                                   \
        EACH(sum[k] = 0)                                                                     \
        for (int32_t i = 0; i < inputs; i++, row += outputs) {                               \
            const int32_t factor = w->whole[i];                                              \
            EACH(sum[k] += factor * row[k])                                                  \
        }                                                                                    \
        EACH(pixel[first + k] =                                                              \
                 (float)sum[k] * (c->scale[first + k] * unit) + c->bias[first + k])          \
    }

static void convolve_int8(workspace *w, const struct convolution *c, int32_t inputs, float *pixel)
{
    const int outputs = c->out_channels;
    float most = 1e-20f;
    int first = 0;
    for (int32_t i = 0; i < inputs; i++) {
        const float size = w->patch[i] < 0.0f ? -w->patch[i] : w->patch[i];
        if (size > most) most = size;
    }
    const float unit = most / WHOLE_LIMIT, per_unit = WHOLE_LIMIT / most;
    for (int32_t i = 0; i < inputs; i++) {
        const float x = w->patch[i] * per_unit;
        w->whole[i] = (int16_t)(x < 0.0f ? x - 0.5f : x + 0.5f);
    }
#ifdef WIDE_REGISTERS
    WHOLE_BLOCKS(32, FOR_32)
    WHOLE_BLOCKS(16, FOR_16)
#endif
    WHOLE_BLOCKS(8, FOR_8)
    WHOLE_BLOCKS(1, FOR_1)
}
