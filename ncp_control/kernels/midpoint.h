/* One sub-step of the layered midpoint, forwards and backwards; equations in ltc.c. */

#ifndef NCP_MIDPOINT_H
#define NCP_MIDPOINT_H

#include "block.h"

static inline struct relaxation make_relaxation(struct flow flow, vector time_per_c) {
    const real log2_e = (real)1.4426950408889634;
    const vector decay = exp2_below_limit(-log2_e * time_per_c * flow.conductance);
    return (struct relaxation){flow.conductance, flow.drive * reciprocal(flow.conductance),
                               1 - decay};
}

static inline vector relaxed(struct relaxation r, vector start) {
    return start + r.fraction * (r.resting - start);
}

/* The relaxation over h. In a recurrent layer it stands on the tape behind the records; elsewhere a
 * and R are those of the half step, and the decay is its square. */
static inline struct relaxation *find_whole(const struct circuit *c,
                                            const struct midpoint_record *record, int i) {
    return (struct relaxation *)(record + c->neurons) + c->neuron[i].whole;
}

static inline struct relaxation twice(struct relaxation half) {
    half.fraction = half.fraction * (2 - half.fraction);
    return half;
}

static void midpoint_layer(const struct circuit *c, struct block *b, struct layer layer,
                           struct midpoint_record *record) {
    for (int i = layer.first; i < layer.end; i++) {
        const struct neuron *n = &c->neuron[i];
        const vector start = b->potential[i], half_h_s = b->h_s * (real)0.5;
        struct flow flow = add_synapses(c, n->inner, n->recurrent, b->middle, b->held[i]);
        if (layer.is_recurrent) {
            b->flow[i] = flow;
            flow = add_synapses(c, n->recurrent, n->inner_end, b->potential, flow);
        }
        const struct relaxation half = make_relaxation(flow, half_h_s * n->reciprocal_c);
        record[i] = (struct midpoint_record){start, half};
        FETCH(&record[i], c->record_vectors / 4, 1);
        b->middle[i] = relaxed(half, start);
        b->next[i] = relaxed(twice(half), start);
    }
    for (int i = layer.first; i < layer.end && layer.is_recurrent; i++) {
        const struct neuron *n = &c->neuron[i];
        const struct flow flow =
            add_synapses(c, n->recurrent, n->inner_end, b->middle, b->flow[i]);
        const struct relaxation whole = make_relaxation(flow, b->h_s * n->reciprocal_c);
        *find_whole(c, record, i) = whole;
        b->next[i] = relaxed(whole, b->potential[i]);
    }
}

static void midpoint_unfold(const struct circuit *c, struct block *b,
                            struct midpoint_record *record) {
    for (int l = 0; l < c->layers; l++) midpoint_layer(c, b, c->layer[l], record);
    swap_potentials(b);
}

static void midpoint_restore(const struct circuit *c, struct block *b,
                             const struct midpoint_record *record) {
    for (int i = 0; i < c->neurons; i++) {
        FETCH(&record[i], -c->record_vectors / 4, 0);
        b->potential[i] = record[i].potential;
        b->middle[i] = relaxed(record[i].half, record[i].potential);
        b->middle_bar[i] = (vector){0};
    }
}

/* Add neuron i's part of h̄ and C̄, set ā and b̄, and return the part of v̄; see the top. */
static inline vector relaxation_adjoint(const struct circuit *c, struct block *b, int i,
                                        struct relaxation r, vector end_bar, real share,
                                        struct flow *flow_bar) {
    const real reciprocal_c = c->neuron[i].reciprocal_c;
    const vector start_bar = end_bar - end_bar * r.fraction;
    const vector g = start_bar * (r.resting - b->potential[i]) * (share * reciprocal_c);
    const vector h_s_bar = g * r.conductance;
    flow_bar->drive = end_bar * r.fraction * reciprocal(r.conductance);
    flow_bar->conductance = b->h_s * g - flow_bar->drive * r.resting;
    b->neuron_sums[i].capacitance_bar -= b->h_s * h_s_bar * reciprocal_c;
    b->h_s_bar += h_s_bar;
    return start_bar;
}

/* A layer goes back in four parts: the relaxation over h, */
static void midpoint_whole_adjoint(const struct circuit *c, struct block *b, struct layer layer,
                                   const struct midpoint_record *record) {
    for (int i = layer.first; i < layer.end; i++) {
        const struct relaxation whole =
            layer.is_recurrent ? *find_whole(c, record, i) : twice(record[i].half);
        b->potential_bar[i] =
            relaxation_adjoint(c, b, i, whole, b->potential_bar[i], 1, &b->flow_bar[i]);
    }
}

/* the layer's own synapses at its midpoint, */
static void midpoint_recurrent_adjoint(const struct circuit *c, struct block *b, struct layer layer,
                                       struct copies blocks, struct synapse_sums *sums) {
    for (int i = layer.first; i < layer.end && layer.is_recurrent; i++) {
        const struct neuron *n = &c->neuron[i];
        add_synapse_adjoints(c, n->recurrent, n->inner_end, blocks, b->flow_bar, b->middle,
                             b->middle_bar, sums);
    }
}

/* the relaxation to the midpoint, */
static void midpoint_half_adjoint(const struct circuit *c, struct block *b, struct layer layer,
                                  const struct midpoint_record *record) {
    for (int i = layer.first; i < layer.end; i++) {
        struct flow *half = &b->half_flow_bar[i], *both = &b->flow_bar[i];
        b->potential_bar[i] += relaxation_adjoint(c, b, i, record[i].half, b->middle_bar[i],
                                                  (real)0.5, half);
        both->conductance += half->conductance;
        both->drive += half->drive;
        b->held_bar[i].conductance += both->conductance;
        b->held_bar[i].drive += both->drive;
    }
}

/* and the synapses that led there: its own at the start, the others at earlier midpoints. */
static void midpoint_synapses_adjoint(const struct circuit *c, struct block *b, struct layer layer,
                                      struct copies blocks, struct synapse_sums *sums) {
    if (layer.first < layer.end && !layer.is_recurrent)
        add_synapse_adjoints(c, c->neuron[layer.first].inner, c->neuron[layer.end - 1].inner_end,
                             blocks, b->flow_bar, b->middle, b->middle_bar, sums);
    for (int i = layer.first; i < layer.end && layer.is_recurrent; i++) {
        const struct neuron *n = &c->neuron[i];
        add_synapse_adjoints(c, n->recurrent, n->inner_end, blocks, b->half_flow_bar,
                             b->potential, b->potential_bar, sums);
        add_synapse_adjoints(c, n->inner, n->recurrent, blocks, b->flow_bar, b->middle,
                             b->middle_bar, sums);
    }
}

#endif
