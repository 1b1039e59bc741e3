/* A circuit ready to run: its checked wiring, and memory for the parameters in the form of the
 * inner loops; see effective.h.
 */

#ifndef NCP_CIRCUIT_H
#define NCP_CIRCUIT_H

#include "ltc.h"
#include "memory.h"

struct synapse {
    real rate, shift, weight, weighted_reversal, reversal, gain; /* weighted_reversal is w E */
    int32_t source; /* an input for a sensory synapse, a neuron for an inner one */
    int32_t target;
};

struct neuron {
    real capacitance_s, reciprocal_c, leak, leak_drive; /* C, 1 / C, g and g V */
    int32_t sensory, sensory_end;        /* its sensory synapses */
    int32_t inner, recurrent, inner_end; /* inner synapses; from its own layer: recurrent … end */
    int32_t whole;                       /* rank among neurons of recurrent layers */
    int32_t at;                          /* position in the arrays of a control step */
};

struct layer {
    int32_t first, end, is_recurrent;
};

struct circuit {
    int inputs, neurons, synapses, layers, outputs, unfolds, integrator;
    int sensory_synapses;
    int record_vectors; /* tape of one sub-step of one block */
    struct synapse *synapse;
    struct neuron *neuron;
    struct layer *layer;
};

/* Longest sub-step [s], limit of longer ones; LONGEST_S of ncp_control/integrators.py. Every
 * neuron is at rest long before, and h a would overflow. */
#define LONGEST_SUB_STEP_S ((real)1e15)

static inline vector find_sub_step(vector dt_s, int unfolds) {
    return least(LONGEST_SUB_STEP_S, dt_s / (real)unfolds); /* NaN stays NaN */
}

/* Check indices and order, so that a damaged wiring cannot cause access outside of an array, and
 * find the positions of the synapses of each neuron. */
static int find_rows(struct circuit *c, const struct sequence *q) {
    int64_t previous = 0;
    for (int s = 0; s < c->synapses; s++) {
        const int64_t source = q->source[s], target = q->target[s];
        const int is_inner = source >= c->inputs, was_inner = c->sensory_synapses < s;
        if (source < 0 || source >= c->inputs + c->neurons) return BAD_WIRING;
        if (target < 0 || target >= c->neurons || (was_inner && !is_inner)) return BAD_WIRING;
        if (is_inner == was_inner && target < previous) return BAD_WIRING;
        struct neuron *neuron = &c->neuron[target];
        if (is_inner) {
            if (neuron->inner_end == 0) neuron->inner = neuron->recurrent = s;
            neuron->inner_end = s + 1;
        } else {
            if (neuron->sensory_end == 0) neuron->sensory = s;
            neuron->sensory_end = s + 1;
            c->sensory_synapses = s + 1;
        }
        c->synapse[s].source = (int32_t)(is_inner ? source - c->inputs : source);
        c->synapse[s].target = (int32_t)target;
        previous = target;
    }
    int next = c->sensory_synapses;
    for (int i = 0; i < c->neurons; i++) {
        struct neuron *neuron = &c->neuron[i];
        if (neuron->inner_end == 0) neuron->inner = neuron->recurrent = neuron->inner_end = next;
        next = neuron->inner_end;
    }
    return OK;
}

/* Check that layers follow each other and that no synapse leads to an earlier layer. The sources of
 * a neuron ascend, so those of its own layer are the last. */
static int find_layers(struct circuit *c, const struct sequence *q) {
    int next = 0, rank = 0;
    for (int l = 0; l < c->layers; l++) {
        const int64_t *given = q->layer + 3 * l;
        if (given[0] != next || given[1] < next || given[1] > c->neurons) return BAD_WIRING;
        c->layer[l] = (struct layer){(int32_t)given[0], (int32_t)given[1], given[2] != 0};
        for (; next < given[1]; next++) {
            struct neuron *neuron = &c->neuron[next];
            int s = neuron->inner;
            while (s < neuron->inner_end && c->synapse[s].source < given[0]) s++;
            neuron->recurrent = s;
            neuron->whole = given[2] ? rank++ : 0;
            for (; s < neuron->inner_end; s++) {
                const int64_t source = c->synapse[s].source;
                if (!given[2] || source < given[0] || source >= given[1]) return BAD_WIRING;
            }
        }
    }
    c->record_vectors = 4 * c->neurons + 3 * rank;
    return next == c->neurons ? OK : BAD_WIRING;
}

static void free_circuit(struct circuit *c) { release(c->synapse); }

/* Build a circuit without parameters; call `free_circuit` later if the status is OK. */
static int make_wiring(struct circuit *c, const struct sequence *q) {
    if (q->outputs < 0 || q->outputs > q->neurons) return BAD_WIRING;
    *c = (struct circuit){.inputs = (int)q->inputs, .neurons = (int)q->neurons,
                          .synapses = (int)q->synapses, .layers = (int)q->layers,
                          .outputs = (int)q->outputs,
                          .unfolds = (int)q->unfolds, .integrator = (int)q->integrator,
                          .record_vectors = 2 * (int)q->neurons};
    c->synapse = allocate(q->synapses * sizeof *c->synapse + q->neurons * sizeof *c->neuron +
                          q->layers * sizeof *c->layer);
    if (!c->synapse) return OUT_OF_MEMORY;
    c->neuron = (struct neuron *)(c->synapse + c->synapses);
    c->layer = (struct layer *)(c->neuron + c->neurons);
    int status = find_rows(c, q);
    if (status == OK && c->integrator == LAYERED_MIDPOINT) status = find_layers(c, q);
    if (status != OK) {
        free_circuit(c);
        c->synapse = NULL;
    }
    return status;
}

#endif
