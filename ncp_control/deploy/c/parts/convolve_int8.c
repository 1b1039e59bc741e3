/* Apply a convolution whose weights are whole numbers from -127 to 127. The patches are made whole
 * numbers up to WHOLE_LIMIT first, each with its own unit. The sums are whole and so exact; each
 * output has its own scale. PLACES places and a block of outputs are taken together, so that their
 * sums stay in registers. */
#if defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN) && \
    (defined(__clang__) || __GNUC__ >= 10)
#include <arm_acle.h> /* of the compiler: Cortex-M4 and up take two products at once */
#define IN_PAIRS
#endif

/* Where number i of place p stands in `whole`: by places, or with pairs of numbers together. */
#ifdef IN_PAIRS
#define AT(i, p) (((i) / 2 * PLACES + (p)) * 2 + (i) % 2)
#else
#define AT(i, p) ((p) * inputs + (i))
#endif
#define ROUNDER 12582912.0f /* 1.5 * 2^23: the last bits of a sum with it are the rounded number */

static float make_whole(const float *patch, int inputs, int16_t *whole)
{
    union { float number; uint32_t bits; } most = {1e-20f}, x; /* sizes compare as their bits do */
    for (int i = 0; i < inputs; i++) {
        x.number = patch[i];
        x.bits &= 0x7fffffff;
        if (x.bits > most.bits) most = x;
    }
    const float per_unit = WHOLE_LIMIT / most.number;
    for (int i = 0; i < inputs; i++) {
        x.number = patch[i] * per_unit + ROUNDER;
        whole[AT(i, 0)] = (int16_t)x.bits;
    }
    return most.number / WHOLE_LIMIT;
}

#define WHOLE_BLOCKS(SIZE, ROW, SUM, WIDEN, EACH)                                 \
    for (; outputs - first >= SIZE; first += SIZE) {                              \
        SUM sum[PLACES][sizeof(int8_t) * SIZE / sizeof(ROW)];                     \
        FOR_PLACES(EACH(sum[p][k] = (SUM){0}))                                    \
        for (int i = 0; i < inputs; i++) {                                        \
            const ROW *row = (const ROW *)(c->weight + i * outputs + first);      \
            FOR_PLACES(const int32_t x = w->whole[AT(i, p)];                      \
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

#ifdef IN_PAIRS
typedef uint16_t two_weights __attribute__((aligned(1), may_alias));
typedef int16x2_t two_numbers __attribute__((may_alias));

/* Sum up for two outputs. The weights are those of the first of them. */
static void sum_in_pairs(const workspace *w, const int8_t *weight, int inputs, int outputs,
                         int32_t sum[2][PLACES])
{
    const two_numbers *x = (const two_numbers *)w->whole, *end = x + inputs / 2 * PLACES;
    int32_t one[PLACES] = {0}, other[PLACES] = {0};
    for (; x < end; x += PLACES) {
        uint32_t weights = *(const two_weights *)weight;
        weight += outputs;
        weights |= (uint32_t)*(const two_weights *)weight << 16;
        weight += outputs;
        const int16x2_t of_one = __sxtb16(weights), of_other = __sxtb16(weights >> 8);
        FOR_PLACES(one[p] = __smlad(of_one, x[p], one[p]);
                   other[p] = __smlad(of_other, x[p], other[p]))
    }
    FOR_PLACES(sum[0][p] = one[p]; sum[1][p] = other[p])
}
#endif

static void convolve_int8(workspace *w, const struct convolution *c, int inputs, int places,
                          float *pixels)
{
    const int outputs = c->out_channels;
    float unit[PLACES];
    int first = 0;
    for (int p = 0; p < places; p++)
        unit[p] = make_whole(w->patch + p * inputs, inputs, w->whole + AT(0, p));
    if (places < PLACES || outputs % 2 != 0) {
        for (int p = 0; p < places; p++)
            for (int k = 0; k < outputs; k++) {
                int32_t sum = 0;
                for (int i = 0; i < inputs; i++)
                    sum += (int32_t)w->whole[AT(i, p)] * c->weight[i * outputs + k];
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
#ifdef IN_PAIRS
    for (; inputs % 2 == 0 && outputs - first >= 2; first += 2) {
        int32_t sum[2][PLACES];
        sum_in_pairs(w, c->weight + first, inputs, outputs, sum);
        for (int p = 0; p < PLACES; p++)
            for (int k = 0; k < 2; k++)
                pixels[p * outputs + first + k] =
                    (float)sum[k][p] * (c->scale[first + k] * unit[p]) + c->bias[first + k];
    }
#endif
    WHOLE_BLOCKS(2, int8_t, int32_t, CAST, FOR_2)
}
