/* Functions of neurons on vectors, and the activations of a backbone with their slopes. */

#ifndef NCP_ACTIVATIONS_H
#define NCP_ACTIVATIONS_H

#include <math.h>

#include "vector.h"

#define LOG2_E ((real)1.4426950408889634)

static inline vector sigmoid(vector x) { return sigmoid_of_log2(-LOG2_E * x); }

/* 1 - exp(x) for x <= 0. */
static inline vector one_minus_exp(vector x) { return one_minus_exp2(LOG2_E * x); }

/* tanh |x| = (1 - e) / (1 + e) with e = exp(-2 |x|), which is accurate for small x. */
static inline vector hyperbolic_tangent(vector x) {
    const bit_vector sign = (bit_vector)broadcast(-(real)0) & (bit_vector)x;
    const vector size = (vector)((bit_vector)x ^ sign);
    const vector m = one_minus_exp2(-2 * LOG2_E * size);
    return (vector)((bit_vector)(m * reciprocal(2 - m)) | sign);
}

enum { LECUN_TANH, TANH, RELU, SILU, GELU };

/* Φ of the normal distribution, lane by lane: there is no vectorised version. */
static inline vector normal_share(vector x) {
    const real root_half = (real)0.70710678118654752;
    vector share;
    for (int lane = 0; lane < LANES; lane++)
        share[lane] = sizeof(real) == sizeof(float)
                          ? (real)(0.5f * erfcf((float)(-root_half * x[lane])))
                          : (real)(0.5 * erfc(-root_half * x[lane]));
    return share;
}

/* Return the activation at x, and write its slope to `slope`. */
static inline vector activate(int activation, vector x, vector *slope) {
    const vector zero = {0};
    vector y, s;
    switch (activation) {
    case LECUN_TANH:
        y = hyperbolic_tangent((real)0.666 * x);
        *slope = (real)(1.7159 * 0.666) * (1 - y * y);
        return (real)1.7159 * y;
    case TANH:
        y = hyperbolic_tangent(x);
        *slope = 1 - y * y;
        return y;
    case RELU:
        *slope = WHERE(x > zero, broadcast(1), zero);
        return WHERE(x <= zero, zero, x); /* NaN stays */
    case SILU:
        s = sigmoid(x);
        *slope = s + x * s * (1 - s);
        return x * s;
    default: /* GELU */
        s = normal_share(x);
        *slope = s + x * (real)0.39894228040143268 *
                         exp2_below_limit((real)-0.5 * LOG2_E * x * x);
        return x * s;
    }
}

#endif
