/* Vectors of LANES real numbers, and the few functions that the circuits need.
 *
 * `real` is float, or double with -DREAL_BITS=64. A `vector` is as wide as the registers of the
 * compiler's target. The vector types of GCC and Clang provide + - * / and broadcasting; only
 * functions with a faster instruction in AVX-512 are written twice. Every function treats each lane
 * separately, so a NaN stays in its lane.
 *
 * 2^z is split into 2^floor(z) 2^f with f in [0, 1): the first factor is an exponent, the second
 * a polynomial 1 + f q(f) with the least relative error (Remez; 8e-8 for float, 3e-18 for
 * double). Its constant is exactly 1, so 2^0 = 1 and an elapsed time of 0 changes nothing.
 *
 * Computing 1 - 2^z directly would lose digits for a small z (the step of a slow neuron), with all
 * errors of the same sign. There, z is split at the nearest whole number, with f in
 * [-1/2, 1/2] and another q (Remez, 1e-8, for float; at Chebyshev's points, 2e-17, for double).
 */

#ifndef NCP_VECTOR_H
#define NCP_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define HAS_AVX512 1
#ifdef NARROW /* half as wide, with the same instructions: see ltc_narrow.c */
#define VECTOR_BYTES 32
#define OF_WIDTH(name) _mm256_##name
#define INTEGERS __m256i
#else
#define VECTOR_BYTES 64
#define OF_WIDTH(name) _mm512_##name
#define INTEGERS __m512i
#endif
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#if REAL_BITS == 64
typedef double real;
typedef uint64_t bits;
#define MANTISSA_BITS 52
#define EXPONENT_LIMIT 1022
#else
typedef float real;
typedef uint32_t bits;
#define MANTISSA_BITS 23
#define EXPONENT_LIMIT 126
#endif

#define LANES ((int)(VECTOR_BYTES / sizeof(real)))

#define UNROLL _Pragma("GCC unroll 16")

typedef real vector __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef bits bit_vector __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* Select `yes` or `no` per lane; a comparison sets all bits of a lane or none. */
#define WHERE(condition, yes, no) \
    ((vector)(((bit_vector)(condition) & (bit_vector)(yes)) | \
              (~(bit_vector)(condition) & (bit_vector)(no))))

static inline vector broadcast(real x) {
    return x - (vector){0};
}

static inline vector load(const real *from) {
    vector x;
    memcpy(&x, from, sizeof x);
    return x;
}

/* The first `count` numbers, then zeros. */
static inline vector load_some(const real *from, int count) {
#if VECTOR_BYTES == 64 && REAL_BITS == 64
    return _mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), from);
#elif VECTOR_BYTES == 64
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
    vector x = {0};
    for (int k = 0; k < count; k++) x[k] = from[k];
    return x;
#endif
}

static inline void store(real *to, vector x) {
    memcpy(to, &x, sizeof x);
}

/* Coefficients of q in 2^f = 1 + f q(f), the highest power first. */
#if REAL_BITS == 64
static const real exp2_coefficients[] = {
    6.263466142296021e-10, 6.5595293227705284e-9, 1.0253212435721934e-7, 1.320836728895114e-6,
    1.5253175055562796e-5, 1.540351230962866e-4,  1.3333558629566755e-3, 9.6181290995507956e-3,
    5.5504108665602253e-2, 0.2402265069590633,    0.69314718055994593};
#else
static const real exp2_coefficients[] = {1.8671302119512633e-3f, 9.0170299625296128e-3f,
                                         5.5799913425224284e-2f, 0.24016445003927303f,
                                         0.69315131181760979f};
#endif

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static inline vector polynomial(const real *coefficients, int count, vector f) {
    vector q = broadcast(coefficients[0]);
    UNROLL for (int i = 1; i < count; i++) q = q * f + coefficients[i];
    return q;
}

static inline vector exp2_of_fraction(vector f) {
    return polynomial(exp2_coefficients, COUNT(exp2_coefficients), f) * f + 1;
}

/* Coefficients of q in 2^f = 1 + f q(f) around 0, the highest power first. */
#if REAL_BITS == 64
static const real exp2_coefficients_around_0[] = {
    4.4549605981865186e-10, 7.072585949269223e-9,   1.0178062445845774e-7, 1.321544258792169e-6,
    1.525273382983612e-5,   1.540353044173605e-4,   1.3333558146416936e-3, 9.618129107606888e-3,
    5.55041086648216e-2,    0.24022650695910097,    0.6931471805599453};
#else
static const real exp2_coefficients_around_0[] = {1.54035239e-4f, 1.33907356e-3f, 9.61823746e-3f,
                                                  5.55035743e-2f, 0.240226498f,   0.693147188f};
#endif

/* Adding 1.5 * 2^(mantissa bits) rounds, and leaves the integer in the lowest bits. */
#define ROUNDER ((real)1.5 * ((bits)1 << MANTISSA_BITS))

/* 2^n of a whole number n to which the rounder was added. */
static inline vector power_of_2(vector rounded) {
    return (vector)(((bit_vector)rounded + (EXPONENT_LIMIT + 1)) << MANTISSA_BITS);
}

/* 1 - 2^z for z <= 0, accurate to the last digit or two even for small z. */
static inline vector one_minus_exp2(vector z) {
    const vector low = broadcast(-EXPONENT_LIMIT);
    z = WHERE(z < low, low, z);
    const vector rounded = z + ROUNDER, scale = power_of_2(rounded);
    const vector f = z - (rounded - ROUNDER);
    const vector q = polynomial(exp2_coefficients_around_0, COUNT(exp2_coefficients_around_0), f);
    return (1 - scale) - scale * (q * f);
}

#if HAS_AVX512 && REAL_BITS == 64

static inline vector least(real x, vector y) { return OF_WIDTH(min_pd)(broadcast(x), y); }

static inline vector exp2_below_limit(vector z) {
    return OF_WIDTH(scalef_pd)(exp2_of_fraction(OF_WIDTH(reduce_pd)(z, 9)), z);
}

static inline vector reciprocal(vector x) { return 1 / x; }

#define PERMUTE(x, lanes, y) OF_WIDTH(permutex2var_pd)(x, (INTEGERS)(lanes), y)

#elif HAS_AVX512

/* The minimum of x and y. If y is NaN, the result is y: the instruction's second operand. */
static inline vector least(real x, vector y) { return OF_WIDTH(min_ps)(broadcast(x), y); }

/* 9: the distance to the floor, no exceptions. The scaling takes the floor of z itself. */
static inline vector exp2_below_limit(vector z) {
    return OF_WIDTH(scalef_ps)(exp2_of_fraction(OF_WIDTH(reduce_ps)(z, 9)), z);
}

/* An estimate good to 14 bits and one Newton step; the estimate of infinity would give NaN. */
static inline vector reciprocal(vector x) {
    vector estimate = OF_WIDTH(rcp14_ps)(x);
    return estimate + estimate * (1 - x * estimate);
}

#define PERMUTE(x, lanes, y) OF_WIDTH(permutex2var_ps)(x, (INTEGERS)(lanes), y)

#else

static inline vector least(real x, vector y) { return WHERE(y > x, broadcast(x), y); }

static inline vector exp2_below_limit(vector z) {
    const vector low = broadcast(-EXPONENT_LIMIT);
    z = WHERE(z < low, low, z);
    const vector rounded = z - (real)0.5 + ROUNDER;
    return exp2_of_fraction(z - (rounded - ROUNDER)) * power_of_2(rounded);
}

static inline vector reciprocal(vector x) { return 1 / x; }

#endif

#if VECTOR_BYTES == 64 && REAL_BITS == 64

/* The numbers at LANES indices below 2 LANES. */
static inline vector pick(const real *table, const int32_t *index) {
    const __m512i lanes = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)index));
    return _mm512_permutex2var_pd(load(table), lanes, load(table + LANES));
}

static inline vector gather(const real *from, const int32_t *index) {
    return _mm512_i32gather_pd(_mm256_loadu_si256((const __m256i *)index), from, 8);
}

#elif VECTOR_BYTES == 64

static inline vector pick(const real *table, const int32_t *index) {
    return _mm512_permutex2var_ps(load(table), _mm512_loadu_si512(index), load(table + LANES));
}

static inline vector gather(const real *from, const int32_t *index) {
    return _mm512_i32gather_ps(_mm512_loadu_si512(index), from, 4);
}

#else

static inline vector gather(const real *from, const int32_t *index) {
    vector x = {0}; /* otherwise GCC warns about the first lane */
    for (int lane = 0; lane < LANES; lane++) x[lane] = from[index[lane]];
    return x;
}

static inline vector pick(const real *table, const int32_t *index) { return gather(table, index); }

#endif

/* 1 / (1 + 2^z). Without the limit, 2^z could be infinite and its reciprocal estimate NaN. */
static inline vector sigmoid_of_log2(vector z) {
    return reciprocal(1 + exp2_below_limit(least(EXPONENT_LIMIT, z)));
}

/* Transpose a LANES × LANES square: in each round, pairs of rows swap blocks that are twice as
 * large as before. */
static inline void transpose(vector *row) {
#if HAS_AVX512
    UNROLL for (int size = 1; size < LANES; size *= 2) {
        bit_vector upper, lower;
        UNROLL for (int lane = 0; lane < LANES; lane++) {
            upper[lane] = lane & size ? LANES + lane - size : lane;
            lower[lane] = lane & size ? LANES + lane : lane + size;
        }
        UNROLL for (int i = 0; i < LANES; i++) {
            if (i & size) continue;
            const vector first = row[i], second = row[i + size];
            row[i] = PERMUTE(first, upper, second);
            row[i + size] = PERMUTE(first, lower, second);
        }
    }
#else
    real(*square)[LANES] = (real(*)[LANES])row;
    for (int i = 0; i < LANES; i++)
        for (int k = 0; k < i; k++) {
            const real swapped = square[i][k];
            square[i][k] = square[k][i];
            square[k][i] = swapped;
        }
#endif
}

static inline real sum_of_lanes(vector x) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; lane++) x[lane] += x[lane + half];
    return x[0];
}

/* Return the sums over the lanes of LANES vectors, that of x[k] in lane k. Each round adds a lane
 * and the one `size` further on, and packs the results of two vectors into one. */
#if VECTOR_BYTES == 64
#if REAL_BITS == 64
#define BLEND _mm512_mask_blend_pd
#define SWAP_1(x) _mm512_permute_pd(x, 0x55)
#define SWAP_2(x) _mm512_shuffle_f64x2(x, x, 0xB1)
#define SWAP_4(x) _mm512_shuffle_f64x2(x, x, 0x4E)
#else
#define BLEND _mm512_mask_blend_ps
#define SWAP_1(x) _mm512_permute_ps(x, 0xB1)
#define SWAP_2(x) _mm512_permute_ps(x, 0x4E)
#define SWAP_4(x) _mm512_shuffle_f32x4(x, x, 0xB1)
#define SWAP_8(x) _mm512_shuffle_f32x4(x, x, 0x4E)
#endif
/* `upper` are the lanes whose number has the bit `size`. */
#define ROUND(size, upper)                                                                     \
    do {                                                                                       \
        UNROLL for (int k = 0; k < size; k++) {                                                \
            const vector kept = BLEND(upper, x[k], x[k + size]);                               \
            const vector moved = BLEND(upper, x[k + size], x[k]);                              \
            x[k] = kept + (vector)SWAP_##size(moved);                                          \
        }                                                                                      \
    } while (0)

static inline vector sums_over_lanes(vector *x) {
#if REAL_BITS != 64
    ROUND(8, 0xFF00);
#endif
    ROUND(4, LANES == 8 ? 0xF0 : 0xF0F0);
    ROUND(2, LANES == 8 ? 0xCC : 0xCCCC);
    ROUND(1, LANES == 8 ? 0xAA : 0xAAAA);
    return x[0];
}
#else
static inline vector sums_over_lanes(vector *x) {
    vector sums;
    for (int k = 0; k < LANES; k++) sums[k] = sum_of_lanes(x[k]);
    return sums;
}
#endif

#endif
