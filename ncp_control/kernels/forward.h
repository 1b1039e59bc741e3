/* A block forwards in time. */

#ifndef NCP_FORWARD_H
#define NCP_FORWARD_H

#include "euler.h"
#include "midpoint.h"

static void forward_step(const struct task *task, struct block *b, int64_t block, int64_t step,
                         const vector *input) {
    const struct circuit *c = &task->circuit;
    for (int i = 0; i < c->neurons; i++) {
        const struct neuron *n = &c->neuron[i];
        const struct flow leak = {broadcast(n->leak), broadcast(n->leak_drive)};
        b->held[i] = add_synapses(c, n->sensory, n->sensory_end, input, leak);
    }
    const void *earlier = NULL;
    for (int unfold = 0; unfold < c->unfolds; unfold++) {
        void *record = b->spare_record;
        if (task->sequence->tape) record = find_record(task, block, step, unfold);
        if (c->integrator == LAYERED_MIDPOINT)
            midpoint_unfold(c, b, record, earlier);
        else
            euler_unfold(c, b, record);
        earlier = record;
    }
}

static void forward_block(struct team *team, int64_t block, void *workspace) {
    const struct task *task = team->task;
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    struct block *b = ((struct workspace *)workspace)->block;
    const struct place whole = find_place(extent_of(q), block, 0, 0, 0);
    load_states(b->potential, q->state, whole, c->neurons);
    for (int64_t step = 0; step < q->steps; step += STEPS_TOGETHER) {
        const int64_t left = q->steps - step;
        const int steps = left < STEPS_TOGETHER ? (int)left : STEPS_TOGETHER;
        const struct place p = find_place(extent_of(q), block, step, steps, steps);
        load_steps(b->input, q->input, p, c->inputs);
        load_steps(b->dt_s, q->dt_s, p, 1);
        for (int t = 0; t < p.steps; t++) {
            clear_reset(q->reset, p, t, b->potential, c->neurons);
            b->h_s = find_sub_step(b->dt_s[t], c->unfolds);
            forward_step(task, b, block, step + t, b->input + t * c->inputs);
            memcpy(b->states + t * c->neurons, b->potential, c->neurons * sizeof(vector));
            for (int k = 0; k < c->outputs; k++)
                b->output[t * c->outputs + k] =
                    b->potential[c->neurons - c->outputs + k] * q->output_scale[k] +
                    q->output_offset[k];
        }
        store_steps(q->states, b->states, p, c->neurons);
        store_steps(q->output, b->output, p, c->outputs);
    }
}

#endif
