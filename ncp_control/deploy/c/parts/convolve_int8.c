/* Apply a convolution whose weights are whole numbers from -127 to 127. The patches are made whole
 * numbers up to WHOLE_LIMIT first, each with its own unit. The sums are whole and so exact; each
 * output has its own scale. PLACES places and a block of outputs are taken together, so that their
 * sums stay in registers. */
static float make_whole(const float *patch, int count, int16_t *whole)
{
    float most = 1e-20f;
    for (int i = 0; i < count; i++) {
        const float size = patch[i] < 0.0f ? -patch[i] : patch[i];
        if (size > most) most = size;
    }
    const float per_unit = WHOLE_LIMIT / most;
    for (int i = 0; i < count; i++) {
        const float x = patch[i] * per_unit;
        whole[i] = (int16_t)(x < 0.0f ? x - 0.5f : x + 0.5f);
    }
    return most / WHOLE_LIMIT;
}

#define WHOLE_BLOCKS(SIZE, ROW, SUM, WIDEN, EACH)                                 \
    for (; outputs - first >= SIZE; first += SIZE) {                              \
        SUM sum[PLACES][sizeof(int8_t) * SIZE / sizeof(ROW)];                     \
        FOR_PLACES(EACH(sum[p][k] = (SUM){0}))                                    \
        for (int i = 0; i < inputs; i++) {                                        \
            const ROW *row = (const ROW *)(c->weight + i * outputs + first);      \
            FOR_PLACES(const int32_t x = w->whole[p * inputs + i];                \
                       EACH(sum[p][k] += x * WIDEN(row[k], SUM)))                 \
        }                                                                         \
        for (int p = 0; p < PLACES; p++)                                          \
            for (int k = 0; k < SIZE; k++)                                        \
                pixels[p * outputs + first + k] =                                 \
                    (float)((const int32_t *)&sum[p])[k] * (c->scale[first + k] * unit[p]) + \
                    c->bias[first + k];                                           \
    }
#define CAST(number, TYPE) ((TYPE)(number))

#ifdef WIDE_REGISTERS /* of GCC and Clang: as many numbers as a register holds */
typedef int8_t whole_row_of_16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef int32_t sums_of_16 __attribute__((vector_size(64), may_alias));
typedef int8_t whole_row_of_8 __attribute__((vector_size(8), aligned(1), may_alias));
typedef int32_t sums_of_8 __attribute__((vector_size(32), may_alias));
#endif

static void convolve_int8(workspace *w, const struct convolution *c, int inputs, int places,
                          float *pixels)
{
    const int outputs = c->out_channels;
    float unit[PLACES];
    int first = 0;
    for (int p = 0; p < places; p++)
        unit[p] = make_whole(w->patch + p * inputs, inputs, w->whole + p * inputs);
    if (places < PLACES || outputs % 2 != 0) {
        for (int p = 0; p < places; p++)
            for (int k = 0; k < outputs; k++) {
                int32_t sum = 0;
                for (int i = 0; i < inputs; i++)
                    sum += (int32_t)w->whole[p * inputs + i] * c->weight[i * outputs + k];
                pixels[p * outputs + k] = (float)sum * (c->scale[k] * unit[p]) + c->bias[k];
            }
        return;
    }
#ifdef WIDE_REGISTERS
#ifdef __AVX512F__
    WHOLE_BLOCKS(16, whole_row_of_16, sums_of_16, __builtin_convertvector, FOR_1)
#endif
    WHOLE_BLOCKS(16, whole_row_of_8, sums_of_8, __builtin_convertvector, FOR_2)
    WHOLE_BLOCKS(8, whole_row_of_8, sums_of_8, __builtin_convertvector, FOR_1)
#endif
    WHOLE_BLOCKS(2, int8_t, int32_t, CAST, FOR_2)
}
