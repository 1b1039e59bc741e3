/* Synapses of a block, and their adjoint; equations in ltc.c. */

#ifndef NCP_SYNAPSES_H
#define NCP_SYNAPSES_H

#include "circuit.h"
#include "relaxation.h"

/* Return `flow` with the synapses first … end − 1, all of one neuron, added. */
static inline struct flow add_synapses(const struct circuit *c, int first, int end,
                                       const vector *signal, struct flow flow) {
    const struct synapse *last = c->synapse + end;
    for (const struct synapse *synapse = c->synapse + first; synapse < last; synapse++) {
        const vector z = signal[synapse->source] * synapse->rate + synapse->shift;
        const vector opening = sigmoid_of_log2(z);
        flow.conductance += opening * synapse->weight;
        flow.drive += opening * synapse->weighted_reversal;
    }
    return flow;
}

/* The sums of one synapse's adjoint, lane by lane; see ltc.c. */
struct synapse_sums {
    vector k_s, drive_bar_s, d, d_x;
};

/* Copies of the circuit (blocks, or steps), and the distance between their arrays. */
struct copies {
    int count;
    size_t flows, signals;
};

/* Adjoint of one synapse in several copies. */
static inline __attribute__((always_inline)) struct synapse_sums add_copies(
    const struct circuit *c, int s, struct copies copies, const struct flow *flow_bar,
    const vector *signal, vector *signal_bar, struct synapse_sums sum) {
    const struct synapse synapse = c->synapse[s];
    for (int copy = 0; copy < copies.count; copy++) {
        const struct flow bar = flow_bar[synapse.target + copy * copies.flows];
        const size_t source = synapse.source + copy * copies.signals;
        const vector x = signal[source];
        const vector opening = sigmoid_of_log2(x * synapse.rate + synapse.shift);
        const vector k_s = (bar.conductance + bar.drive * synapse.reversal) * opening;
        const vector d = k_s - k_s * opening;
        sum.k_s += k_s;
        sum.drive_bar_s += bar.drive * opening;
        sum.d += d;
        sum.d_x += d * x;
        signal_bar[source] += d * synapse.gain;
    }
    return sum;
}

#define NUM_SUMS ((int)(sizeof(struct synapse_sums) / sizeof(vector)))
/* Number of synapses whose sums over the lanes fill a vector, at least 1. */
#define SYNAPSES_TOGETHER (LANES > NUM_SUMS ? LANES / NUM_SUMS : 1)

/* Storage of the sums: lane by lane, or already summed over the lanes. The former is LANES times as
 * large and outgrows the cache if there are many synapses. */
struct synapse_store {
    struct synapse_sums *lanes; /* or NULL */
    real *whole;                /* (synapses, NUM_SUMS), plus SYNAPSES_TOGETHER − 1 synapses */
};

/* The adjoint of the synapses first … end − 1, of any targets, for several copies at once: each sum
 * is read and written only once for all copies. */
static inline __attribute__((always_inline)) void lead_back_by_lanes(
    const struct circuit *c, int first, int end, struct copies copies,
    const struct flow *flow_bar, const vector *signal, vector *signal_bar,
    struct synapse_sums *sums) {
    for (int s = first; s < end; s++)
        sums[s] = add_copies(c, s, copies, flow_bar, signal, signal_bar, sums[s]);
}

static inline __attribute__((always_inline)) void lead_back_whole(
    const struct circuit *c, int first, int end, struct copies copies,
    const struct flow *flow_bar, const vector *signal, vector *signal_bar, real *sums) {
    for (int s = first; s < end; s += SYNAPSES_TOGETHER) {
        vector sum[SYNAPSES_TOGETHER * NUM_SUMS] = {0};
        for (int k = 0; k < SYNAPSES_TOGETHER && s + k < end; k++)
            ((struct synapse_sums *)sum)[k] = add_copies(
                c, s + k, copies, flow_bar, signal, signal_bar, (struct synapse_sums){0});
        for (int k = 0; k < SYNAPSES_TOGETHER * NUM_SUMS; k += LANES) {
            real *to = sums + s * NUM_SUMS + k;
            store(to, load(to) + sums_over_lanes(sum + k));
        }
    }
}

/* The same, specialised for the usual numbers of copies, which is a third faster. */
static void add_synapse_adjoints(const struct circuit *c, int first, int end,
                                 struct copies copies, const struct flow *flow_bar,
                                 const vector *signal, vector *signal_bar,
                                 struct synapse_store sums) {
    const struct copies one = {1, 0, 0}, two = {2, copies.flows, copies.signals};
    const struct copies four = {4, copies.flows, copies.signals};
    if (sums.whole && copies.count == 2)
        lead_back_whole(c, first, end, two, flow_bar, signal, signal_bar, sums.whole);
    else if (sums.whole && copies.count == 4)
        lead_back_whole(c, first, end, four, flow_bar, signal, signal_bar, sums.whole);
    else if (sums.whole)
        lead_back_whole(c, first, end, copies, flow_bar, signal, signal_bar, sums.whole);
    else if (copies.count == 1)
        lead_back_by_lanes(c, first, end, one, flow_bar, signal, signal_bar, sums.lanes);
    else if (copies.count == 4)
        lead_back_by_lanes(c, first, end, four, flow_bar, signal, signal_bar, sums.lanes);
    else
        lead_back_by_lanes(c, first, end, copies, flow_bar, signal, signal_bar, sums.lanes);
}

#endif
