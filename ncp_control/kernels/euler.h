/* One sub-step of semi-implicit Euler, and its adjoint; equations in ltc.c. */

#ifndef NCP_EULER_H
#define NCP_EULER_H

#include "block.h"

static void euler_unfold(const struct circuit *c, struct block *b, struct euler_record *record) {
    const vector h_s = b->h_s, *potential = b->potential;
    for (int i = 0; i < c->neurons; i++) {
        const struct neuron *n = &c->neuron[i];
        const struct flow flow = add_synapses(c, n->inner, n->inner_end, potential, b->held[i]);
        const vector reciprocal_d = reciprocal(n->capacitance_s + h_s * flow.conductance);
        const vector y = (flow.drive - flow.conductance * potential[i]) * reciprocal_d;
        record[i] = (struct euler_record){y, reciprocal_d};
        FETCH(&record[i], c->neurons, 1);
        b->next[i] = potential[i] + h_s * y;
    }
    swap_potentials(b);
}

static void euler_unfold_adjoint(const struct circuit *c, struct block *b,
                                 const struct euler_record *record) {
    const vector h_s = b->h_s;
    vector h_s_bar = b->h_s_bar;
    for (int i = 0; i < c->neurons; i++) {
        const vector y = record[i].y, end = b->potential[i];
        const vector q = b->potential_bar[i] * record[i].reciprocal_d;
        const vector q_c = q * c->neuron[i].capacitance_s, drive_bar = h_s * q;
        const struct flow flow_bar = {-drive_bar * end, drive_bar};
        FETCH(&record[i], -c->neurons, 0);
        b->potential[i] = end - h_s * y;
        b->potential_bar[i] = q_c;
        b->flow_bar[i] = flow_bar;
        b->held_bar[i].conductance += flow_bar.conductance;
        b->held_bar[i].drive += flow_bar.drive;
        b->neuron_sums[i].capacitance_bar -= drive_bar * y;
        h_s_bar += q_c * y;
    }
    b->h_s_bar = h_s_bar;
}

static void euler_synapses_adjoint(const struct circuit *c, struct block *b, struct copies blocks,
                                   struct synapse_store sums) {
    add_synapse_adjoints(c, c->sensory_synapses, c->synapses, blocks, b->flow_bar, b->potential,
                         b->potential_bar, sums);
}

#endif
