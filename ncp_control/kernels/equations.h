/* Equations of neurons with conductances, given the sums over their synapses; see synaptic.h.
 *
 * With C dv/dt = b − a v:
 *     LTC   a = f       b = u
 *     STC   a = p       b = e q          p = σ(f)   q = tanh u
 *     LRC   a = ε p     b = ε e q        ε = σ(y),  or  A B E  of a symmetric elastance,
 *                                        A = σ(h + y)   B = σ(h − y)   E = 1 − exp(−2 h)
 * p and q are stored in place of f and u. Adjoint, with ε̄ = ā p + b̄ e q:
 *     f̄ = ε ā p (1 − p)   ū = ε b̄ e (1 − q²)   ē = Σ ε b̄ q
 *     ȳ = ε̄ ε (1 − ε),  or  ε̄ ε (B − A)
 *     h̄ = Σ ε̄ ε (2 − A − B)   Ē = Σ ε̄ A B
 * |y| is limited to 30 (LARGEST_LOGIT in ncp_control/cells/saturated.py); beyond, the slope is 0.
 */

#ifndef NCP_EQUATIONS_H
#define NCP_EQUATIONS_H

#include "activations.h"
#include "dense.h"
#include "relaxation.h"

enum equation { LTC, STC, LRC, SYMMETRIC_LRC };

/* Columns of a neuron's parameters: C, the sums without any synapse, then e, h and E. */
enum { CAPACITANCE, LEAK };

static inline int count_sums(enum equation equation) { return equation < LRC ? 2 : 3; }

static inline int count_neuron_columns(enum equation equation) {
    const int further[] = {0, 1, 1, 3}; /* e, h, E */
    return LEAK + count_sums(equation) + further[equation];
}

/* The parameters of a neuron: a row of a matrix. */
struct neuron_row {
    const struct matrix *matrix;
    int row;
};

static inline vector column(struct neuron_row neuron, int k) {
    return entry(neuron.matrix, neuron.row, k);
}

/* e, h or E. */
static inline vector further(enum equation equation, struct neuron_row neuron, int k) {
    return column(neuron, LEAK + count_sums(equation) + k);
}

#define LARGEST_LOGIT 30

struct elastance {
    vector share, slope, in, out; /* ε, its slope, A and B */
};

static inline struct elastance find_elastance(enum equation equation, struct neuron_row neuron,
                                              vector logit) {
    const vector high = broadcast(LARGEST_LOGIT), zero = {0};
    const vector y = WHERE(logit > high, high, WHERE(logit < -high, -high, logit));
    struct elastance e = {sigmoid(y), zero, zero, zero};
    e.slope = e.share - e.share * e.share;
    if (equation == SYMMETRIC_LRC) {
        const vector width = further(equation, neuron, 1);
        e.in = sigmoid(width + y);
        e.out = sigmoid(width - y);
        e.share = e.in * e.out * further(equation, neuron, 2);
        e.slope = e.share * (e.out - e.in);
    }
    e.slope = WHERE(logit > high, zero, WHERE(logit < -high, zero, e.slope));
    return e;
}

/* Return the flow of a neuron, given the stored values of its sums. */
static inline struct flow find_flow(enum equation equation, struct neuron_row neuron,
                                    const vector *kept) {
    struct flow flow = {kept[0], kept[1]};
    if (equation == LTC) return flow;
    flow.drive *= further(equation, neuron, 0);
    if (equation == STC) return flow;
    const vector share = find_elastance(equation, neuron, kept[2]).share;
    return (struct flow){share * flow.conductance, share * flow.drive};
}

/* Replace the sums of a neuron by the values to store, and return its flow. */
static inline struct flow close_sums(enum equation equation, struct neuron_row neuron,
                                     vector *sum) {
    if (equation != LTC) {
        sum[0] = sigmoid(sum[0]);
        sum[1] = hyperbolic_tangent(sum[1]);
    }
    return find_flow(equation, neuron, sum);
}

/* From the derivatives of the flow, set those of the sums, and add to those of e, h and E. */
static inline void close_adjoint(enum equation equation, struct neuron_row neuron,
                                 const vector *kept, struct flow bar, vector *sum_bar,
                                 vector *neuron_bar) {
    sum_bar[0] = bar.conductance;
    sum_bar[1] = bar.drive;
    if (equation == LTC) return;
    const int first = LEAK + count_sums(equation);
    const vector p = kept[0], q = kept[1];
    if (equation != STC) {
        const struct elastance e = find_elastance(equation, neuron, kept[2]);
        const vector share_bar = bar.conductance * p + bar.drive * further(equation, neuron, 0) * q;
        sum_bar[2] = share_bar * e.slope;
        if (equation == SYMMETRIC_LRC) {
            neuron_bar[first + 1] += share_bar * e.share * (2 - e.in - e.out);
            neuron_bar[first + 2] += share_bar * e.in * e.out;
        }
        bar = (struct flow){bar.conductance * e.share, bar.drive * e.share};
    }
    sum_bar[0] = bar.conductance * p * (1 - p);
    sum_bar[1] = bar.drive * further(equation, neuron, 0) * (1 - q * q);
    neuron_bar[first] += bar.drive * q;
}

#endif
