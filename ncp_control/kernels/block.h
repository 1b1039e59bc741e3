/* Working memory of a thread: a block of LANES samples, its tape, and sums over blocks. */

#ifndef NCP_BLOCK_H
#define NCP_BLOCK_H

#include "effective.h"
#include "rows.h"
#include "synapses.h"
#include "threads.h"

/* Number of steps that are read, written, and processed in the sensory adjoint together. */
#define STEPS_TOGETHER 4

struct neuron_sums {
    struct flow flow_bar;
    vector capacitance_bar;
};

struct output_sums {
    vector scale_bar, offset_bar;
};

/* Memory for one block; arrays have one entry per neuron, those of inputs one per input. */
struct block {
    vector *potential, *potential_bar, *middle, *middle_bar, *next;
    struct flow *flow, *flow_bar, *half_flow_bar;
    struct neuron_sums *neuron_sums;
    void *spare_record; /* used if there is no tape */

    /* Of the current step: h, and the sums of leak and sensory synapses. */
    vector h_s, h_s_bar;
    struct flow *held, *held_bar;

    /* For STEPS_TOGETHER steps, one after another. */
    vector *input, *input_bar, *states, *states_bar, *output, *dt_s, *dt_s_bar;
    struct flow *held_bar_of_steps;
};

static inline void swap_potentials(struct block *b) {
    vector *next = b->next;
    b->next = b->potential;
    b->potential = next;
}

/* The tape of one sub-step: one record per neuron. With Euler, earlier potentials are computed from
 * those at the end of the step, v = v' − h y. */
struct euler_record {
    vector y, reciprocal_d;
};

struct midpoint_record {
    vector potential;
    struct relaxation half;
};

/* Prefetch the record `distance` records further on, that of the next sub-step: the tape is too
 * long to stay in the nearest cache. */
#define FETCH(record, distance, is_written)                                               \
    for (size_t byte = 0; byte < sizeof *(record); byte += 64)                            \
    __builtin_prefetch((const char *)((record) + (distance)) + byte, is_written)

/* Sums of the adjoint, lane by lane; all in one allocation. */
struct sums {
    struct synapse_store synapse;
    struct neuron_sums *neuron;
    struct output_sums *output;
    size_t bytes;
};

/* Largest number of blocks that the adjoint of a large circuit processes together. */
#define MOST_BLOCKS 4

struct task {
    const struct sequence *sequence;
    struct circuit circuit;
    int blocks_together;
    size_t block_vectors; /* distance between the memory of two blocks */
    struct sums sums; /* over all blocks, in order: independent of the number of threads */
};

/* Working memory of a thread: the blocks that it processes together, and its sums over them. */
struct workspace {
    struct block block[MOST_BLOCKS];
    struct sums sums;
};

static struct extent extent_of(const struct sequence *q) {
    return (struct extent){q->batch, q->steps};
}

static void *find_record(const struct task *task, int64_t block, int64_t step, int unfold) {
    const struct sequence *q = task->sequence;
    const int64_t sub_step = (block * q->steps + step) * q->unfolds + unfold;
    return q->tape + sub_step * task->circuit.record_vectors * LANES;
}

static void *cut(vector **memory, size_t vectors) {
    vector *first = *memory;
    *memory += vectors;
    return first;
}

/* Place a block's arrays in memory and return their size in vectors. Distances between blocks must
 * be whole flows. */
static size_t cut_block(const struct circuit *c, struct block *b, vector *memory) {
    const size_t neurons = c->neurons, flows = 2 * neurons, inputs = c->inputs;
    vector *next = memory;
    b->potential = cut(&next, neurons);
    b->potential_bar = cut(&next, neurons);
    b->middle = cut(&next, neurons);
    b->middle_bar = cut(&next, neurons);
    b->next = cut(&next, neurons);
    b->flow = cut(&next, flows);
    b->flow_bar = cut(&next, flows);
    b->half_flow_bar = cut(&next, flows);
    b->held = cut(&next, flows);
    b->spare_record = cut(&next, c->record_vectors);
    b->input = cut(&next, STEPS_TOGETHER * inputs);
    b->input_bar = cut(&next, STEPS_TOGETHER * inputs);
    b->states = cut(&next, STEPS_TOGETHER * neurons);
    b->states_bar = cut(&next, STEPS_TOGETHER * neurons);
    b->output = cut(&next, STEPS_TOGETHER * c->outputs);
    b->dt_s = cut(&next, STEPS_TOGETHER);
    b->dt_s_bar = cut(&next, STEPS_TOGETHER);
    b->held_bar_of_steps = cut(&next, STEPS_TOGETHER * flows);
    return (next - memory + 1) / 2 * 2;
}

/* Place the sums in memory; with NULL, only count their bytes. With many synapses, sums that are
 * kept lane by lane do not fit in the nearer caches; summing over the lanes first takes as long,
 * unless several blocks share that work. */
static struct sums cut_sums(const struct task *task, void *memory) {
    const struct circuit *c = &task->circuit;
    const size_t cache_bytes = 4 << 20, lanes_bytes = c->synapses * sizeof(struct synapse_sums);
    struct sums sums = {0};
    if (lanes_bytes >= cache_bytes && task->blocks_together > 1) {
        const size_t reals = (c->synapses + SYNAPSES_TOGETHER - 1) * NUM_SUMS;
        sums.synapse.whole = memory;
        sums.neuron = (struct neuron_sums *)((vector *)memory + (reals + LANES - 1) / LANES);
    } else {
        sums.synapse.lanes = memory;
        sums.neuron = (struct neuron_sums *)(sums.synapse.lanes + c->synapses);
    }
    sums.output = (struct output_sums *)(sums.neuron + c->neurons);
    sums.bytes = (char *)(sums.output + c->outputs) - (char *)memory;
    return sums;
}

static void *start_of_sums(struct sums sums) {
    return sums.synapse.lanes ? (void *)sums.synapse.lanes : (void *)sums.synapse.whole;
}

static void *make_workspace(struct team *team) {
    const struct task *task = team->task;
    const struct circuit *c = &task->circuit;
    const size_t vectors = task->blocks_together * task->block_vectors;
    const size_t sum_bytes = task->sums.neuron ? task->sums.bytes : 0; /* for the adjoint alone */
    struct workspace *w = allocate(sizeof *w + vectors * sizeof(vector) + sum_bytes);
    if (!w) return NULL;
    vector *memory = (vector *)(w + 1);
    w->sums = cut_sums(task, memory + vectors);
    for (int k = 0; k < task->blocks_together; k++) {
        cut_block(c, &w->block[k], memory + k * task->block_vectors);
        w->block[k].neuron_sums = w->sums.neuron;
    }
    return w;
}

#endif
