/* Synapses of a block, forwards and backwards; equations in ltc.c. */

#ifndef NCP_SYNAPSES_H
#define NCP_SYNAPSES_H

#include "circuit.h"

/* The synapses' sums a and b of a neuron, or ā and b̄. */
struct flow {
    vector conductance, drive;
};

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

/* The sums of one synapse's adjoint, lane by lane; see the top. */
struct synapse_sums {
    vector k_s, drive_bar_s, d, d_x;
};

/* Copies of the circuit (blocks, or steps), and how far apart they have their arrays. */
struct copies {
    int count;
    size_t flows, signals;
};

/* The adjoint of the synapses first … end − 1, whatever their targets, for several copies at once:
 * a sum is read and written only once for all of them. */
static inline __attribute__((always_inline)) void add_copies(
    const struct circuit *c, int first, int end, struct copies copies,
    const struct flow *flow_bar, const vector *signal, vector *signal_bar,
    struct synapse_sums *sums) {
    for (int s = first; s < end; s++) {
        const struct synapse synapse = c->synapse[s];
        struct synapse_sums sum = sums[s];
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
        sums[s] = sum;
    }
}

/* The same, compiled for the usual numbers of copies, which is a third faster. */
static void add_synapse_adjoints(const struct circuit *c, int first, int end,
                                 struct copies copies, const struct flow *flow_bar,
                                 const vector *signal, vector *signal_bar,
                                 struct synapse_sums *sums) {
    const struct copies one = {1, 0, 0}, four = {4, copies.flows, copies.signals};
    if (copies.count == 1)
        add_copies(c, first, end, one, flow_bar, signal, signal_bar, sums);
    else if (copies.count == 4)
        add_copies(c, first, end, four, flow_bar, signal, signal_bar, sums);
    else
        add_copies(c, first, end, copies, flow_bar, signal, signal_bar, sums);
}

#endif
