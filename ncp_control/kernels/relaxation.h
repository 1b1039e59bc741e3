/* Change of a potential with constant total conductance and drive; equations in ltc.c. */

#ifndef NCP_RELAXATION_H
#define NCP_RELAXATION_H

#include "vector.h"

/* Total conductance a and drive b of a neuron, or ā and b̄. */
struct flow {
    vector conductance, drive;
};

struct relaxation {
    vector conductance, resting, fraction; /* a, R and F */
};

static inline struct relaxation make_relaxation(struct flow flow, vector time_per_c) {
    const real log2_e = (real)1.4426950408889634;
    return (struct relaxation){flow.conductance, flow.drive * reciprocal(flow.conductance),
                               one_minus_exp2(-log2_e * time_per_c * flow.conductance)};
}

static inline vector relaxed(struct relaxation r, vector start) {
    return start + r.fraction * (r.resting - start);
}

/* The relaxation over twice the time. */
static inline struct relaxation twice(struct relaxation half) {
    half.fraction = half.fraction * (2 - half.fraction);
    return half;
}

#endif
