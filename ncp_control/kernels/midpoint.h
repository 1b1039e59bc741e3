/* One sub-step of the layered midpoint, and its adjoint; equations in ltc.c. */

#ifndef NCP_MIDPOINT_H
#define NCP_MIDPOINT_H

#include "block.h"

static inline int has_own_synapses(const struct neuron *n) { return n->recurrent < n->inner_end; }

/* The relaxation over h. In a recurrent layer it is stored on the tape after the records. For a
 * neuron without synapses from its own layer, a and R are those of the half step, and the decay is
 * the square of the half step's decay. */
static inline struct relaxation *find_whole(const struct circuit *c,
                                            const struct midpoint_record *record, int i) {
    return (struct relaxation *)(record + c->neurons) + c->neuron[i].whole;
}

/* Relax to the midpoint. A neuron that is driven by inputs alone relaxes in the same way at every
 * sub-step of a step: its relaxation is taken from the `earlier` sub-step. */
static inline struct relaxation relax_by_half(const struct circuit *c, struct block *b, int i,
                                              const struct midpoint_record *earlier) {
    const struct neuron *n = &c->neuron[i];
    if (earlier && n->inner == n->inner_end) return earlier[i].half;
    struct flow flow = add_synapses(c, n->inner, n->recurrent, b->middle, b->held[i]);
    b->flow[i] = flow;
    flow = add_synapses(c, n->recurrent, n->inner_end, b->potential, flow);
    return make_relaxation(flow, b->h_s * (real)0.5 * n->reciprocal_c);
}

static void midpoint_layer(const struct circuit *c, struct block *b, struct layer layer,
                           struct midpoint_record *record,
                           const struct midpoint_record *earlier) {
    for (int i = layer.first; i < layer.end; i++) {
        const vector start = b->potential[i];
        const struct relaxation half = relax_by_half(c, b, i, earlier);
        record[i] = (struct midpoint_record){start, half};
        FETCH(&record[i], c->record_vectors / 4, 1);
        b->middle[i] = relaxed(half, start);
        b->next[i] = relaxed(twice(half), start);
    }
    for (int i = layer.first; i < layer.end && layer.is_recurrent; i++) {
        const struct neuron *n = &c->neuron[i];
        struct relaxation whole = twice(record[i].half);
        if (has_own_synapses(n)) {
            const struct flow flow =
                add_synapses(c, n->recurrent, n->inner_end, b->middle, b->flow[i]);
            whole = make_relaxation(flow, b->h_s * n->reciprocal_c);
            b->next[i] = relaxed(whole, b->potential[i]);
        }
        *find_whole(c, record, i) = whole;
    }
}

static void midpoint_unfold(const struct circuit *c, struct block *b,
                            struct midpoint_record *record,
                            const struct midpoint_record *earlier) {
    for (int l = 0; l < c->layers; l++) midpoint_layer(c, b, c->layer[l], record, earlier);
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

/* Add a neuron's part of h̄ and C̄ = −h G a / C; `g_a` is G a. */
static inline void add_time_adjoint(const struct circuit *c, struct block *b, int i, vector g_a) {
    b->h_s_bar += g_a;
    b->neuron_sums[i].capacitance_bar -= b->h_s * g_a * c->neuron[i].reciprocal_c;
}

/* The adjoint of relaxations with the same a and R, given the derivatives of their results: the
 * midpoint, the end, or both. Set ā and b̄ and return the contribution to v̄; see ltc.c. */
static inline vector relaxation_adjoint(const struct circuit *c, struct block *b, int i,
                                        struct relaxation half, vector middle_bar,
                                        struct relaxation whole, vector end_bar,
                                        struct flow *flow_bar) {
    const vector half_start_bar = middle_bar - middle_bar * half.fraction;
    const vector whole_start_bar = end_bar - end_bar * whole.fraction;
    const vector g = ((real)0.5 * half_start_bar + whole_start_bar) *
                     (half.resting - b->potential[i]) * c->neuron[i].reciprocal_c;
    flow_bar->drive = (middle_bar * half.fraction + end_bar * whole.fraction) *
                      reciprocal(half.conductance);
    flow_bar->conductance = b->h_s * g - flow_bar->drive * half.resting;
    add_time_adjoint(c, b, i, g * half.conductance);
    return half_start_bar + whole_start_bar;
}

/* The adjoint of a layer has four parts. First: the relaxation over h, if it is separate. */
static void midpoint_whole_adjoint(const struct circuit *c, struct block *b, struct layer layer,
                                   const struct midpoint_record *record) {
    const vector none = {0};
    for (int i = layer.first; i < layer.end && layer.is_recurrent; i++) {
        if (!has_own_synapses(&c->neuron[i])) continue;
        const struct relaxation whole = *find_whole(c, record, i);
        b->potential_bar[i] = relaxation_adjoint(c, b, i, whole, none, whole,
                                                 b->potential_bar[i], &b->flow_bar[i]);
    }
}

/* Second: the layer's own synapses at its midpoint. */
static void midpoint_recurrent_adjoint(const struct circuit *c, struct block *b, struct layer layer,
                                       struct copies blocks, struct synapse_store sums) {
    for (int i = layer.first; i < layer.end && layer.is_recurrent; i++) {
        const struct neuron *n = &c->neuron[i];
        if (!has_own_synapses(n)) continue;
        add_synapse_adjoints(c, n->recurrent, n->inner_end, blocks, b->flow_bar, b->middle,
                             b->middle_bar, sums);
    }
}

/* Third: the relaxation to the midpoint, and to the end if that is not separate. */
static void midpoint_half_adjoint(const struct circuit *c, struct block *b, struct layer layer,
                                  const struct midpoint_record *record) {
    const vector none = {0};
    for (int i = layer.first; i < layer.end; i++) {
        const struct relaxation half = record[i].half;
        const vector middle_bar = b->middle_bar[i], end_bar = b->potential_bar[i];
        struct flow *both = &b->flow_bar[i], *own = &b->half_flow_bar[i];
        if (has_own_synapses(&c->neuron[i])) {
            b->potential_bar[i] += relaxation_adjoint(c, b, i, half, middle_bar, half, none, own);
            both->conductance += own->conductance;
            both->drive += own->drive;
        } else {
            b->potential_bar[i] =
                relaxation_adjoint(c, b, i, half, middle_bar, twice(half), end_bar, both);
        }
        b->held_bar[i].conductance += both->conductance;
        b->held_bar[i].drive += both->drive;
    }
}

/* Fourth: the synapses of the half step: its own at the start, others at earlier midpoints. */
static void midpoint_synapses_adjoint(const struct circuit *c, struct block *b, struct layer layer,
                                      struct copies blocks, struct synapse_store sums) {
    if (layer.first < layer.end && !layer.is_recurrent)
        add_synapse_adjoints(c, c->neuron[layer.first].inner, c->neuron[layer.end - 1].inner_end,
                             blocks, b->flow_bar, b->middle, b->middle_bar, sums);
    for (int i = layer.first; i < layer.end && layer.is_recurrent; i++) {
        const struct neuron *n = &c->neuron[i];
        if (has_own_synapses(n))
            add_synapse_adjoints(c, n->recurrent, n->inner_end, blocks, b->half_flow_bar,
                                 b->potential, b->potential_bar, sums);
        add_synapse_adjoints(c, n->inner, n->recurrent, blocks, b->flow_bar, b->middle,
                             b->middle_bar, sums);
    }
}

#endif
