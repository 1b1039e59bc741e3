/* Apply a convolution to the patches of some places. PLACES places and a block of outputs are taken
 * together, so that their sums stay in registers. However large the block, every sum is added up in
 * the same order, so the bits of the result are the same. */
#define PLACES_BLOCKS(SIZE, ROW, EACH)                                            \
    for (; outputs - first >= SIZE; first += SIZE) {                              \
        const ROW *bias = (const ROW *)(c->bias + first);                         \
        ROW sum[PLACES][sizeof(float) * SIZE / sizeof(ROW)];                      \
        FOR_PLACES(EACH(sum[p][k] = bias[k]))                                     \
        for (int i = 0; i < inputs; i++) {                                        \
            const ROW *row = (const ROW *)(c->weight + i * outputs + first);      \
            FOR_PLACES(const float x = w->patch[p * inputs + i];                  \
                       EACH(sum[p][k] += x * row[k]))                             \
        }                                                                         \
        FOR_PLACES(ROW *end = (ROW *)(pixels + p * outputs + first);              \
                   EACH(end[k] = sum[p][k]))                                      \
    }

#ifdef WIDE_REGISTERS /* of GCC and Clang: as many numbers as a register holds */
typedef float row_of_16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef float row_of_8 __attribute__((vector_size(32), aligned(4), may_alias));
#endif

static void convolve_float32(const workspace *w, const struct convolution *c, int inputs,
                             int places, float *pixels)
{
    const int outputs = c->out_channels;
    int first = 0;
    if (places < PLACES || outputs % 4 != 0) {
        for (int p = 0; p < places; p++)
            dense(c->weight, c->bias, w->patch + p * inputs, inputs, outputs, pixels + p * outputs);
        return;
    }
#ifdef WIDE_REGISTERS
#ifdef __AVX512F__
    PLACES_BLOCKS(16, row_of_16, FOR_1)
#endif
    PLACES_BLOCKS(16, row_of_8, FOR_2)
    PLACES_BLOCKS(8, row_of_8, FOR_1)
#endif
    PLACES_BLOCKS(4, float, FOR_4)
}
