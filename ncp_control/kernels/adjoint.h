/* Blocks backwards in time, and the derivatives of the free parameters. */

#ifndef NCP_ADJOINT_H
#define NCP_ADJOINT_H

#include "forward.h"

static void unfold_adjoint(const struct task *task, struct block *block, struct copies blocks,
                           int64_t first, int64_t step, int unfold, struct synapse_store sums) {
    const struct circuit *c = &task->circuit;
    void *record[MOST_BLOCKS];
    for (int k = 0; k < blocks.count; k++) record[k] = find_record(task, first + k, step, unfold);
    if (c->integrator == SEMI_IMPLICIT_EULER) {
        for (int k = 0; k < blocks.count; k++) euler_unfold_adjoint(c, &block[k], record[k]);
        euler_synapses_adjoint(c, block, blocks, sums);
        return;
    }
    for (int k = 0; k < blocks.count; k++) midpoint_restore(c, &block[k], record[k]);
    for (int l = c->layers - 1; l >= 0; l--) {
        const struct layer layer = c->layer[l];
        for (int k = 0; k < blocks.count; k++)
            midpoint_whole_adjoint(c, &block[k], layer, record[k]);
        midpoint_recurrent_adjoint(c, block, layer, blocks, sums);
        for (int k = 0; k < blocks.count; k++)
            midpoint_half_adjoint(c, &block[k], layer, record[k]);
        midpoint_synapses_adjoint(c, block, layer, blocks, sums);
    }
}

/* Load the data of the steps of a place that the adjoint needs. */
static void load_adjoint_steps(const struct sequence *q, struct block *b, struct place p) {
    load_steps(b->input, q->input, p, (int)q->inputs);
    load_steps(b->states, q->states, p, (int)q->neurons);
    if (q->states_bar) load_steps(b->states_bar, q->states_bar, p, (int)q->neurons);
    if (q->output_bar) load_steps(b->output, q->output_bar, p, (int)q->outputs);
    load_steps(b->dt_s, q->dt_s, p, 1);
    memset(b->input_bar, 0, p.steps * q->inputs * sizeof(vector));
    memset(b->held_bar_of_steps, 0, p.steps * q->neurons * sizeof(struct flow));
}

static void begin_step_adjoint(const struct task *task, struct block *b, int t,
                               struct output_sums *sums) {
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    vector *motor_bar = b->potential_bar + c->neurons - c->outputs;
    const vector *motor = b->states + (t + 1) * c->neurons - c->outputs;
    memcpy(b->potential, b->states + t * c->neurons, c->neurons * sizeof(vector));
    for (int i = 0; i < c->neurons && q->states_bar; i++)
        b->potential_bar[i] += b->states_bar[t * c->neurons + i];
    for (int k = 0; k < c->outputs && q->output_bar; k++) {
        const vector output_bar = b->output[t * c->outputs + k];
        motor_bar[k] += output_bar * q->output_scale[k];
        sums[k].scale_bar += output_bar * motor[k];
        sums[k].offset_bar += output_bar;
    }
    b->held_bar = b->held_bar_of_steps + t * c->neurons;
    b->h_s = find_sub_step(b->dt_s[t], c->unfolds);
    b->h_s_bar = (vector){0};
}

static void end_step_adjoint(const struct task *task, struct block *b, struct place p, int t) {
    const struct circuit *c = &task->circuit;
    for (int i = 0; i < c->neurons; i++) {
        b->neuron_sums[i].flow_bar.conductance += b->held_bar[i].conductance;
        b->neuron_sums[i].flow_bar.drive += b->held_bar[i].drive;
    }
    b->dt_s_bar[t] = b->h_s_bar / (real)c->unfolds;
    clear_reset(task->sequence->reset, p, t, b->potential_bar, c->neurons);
}

/* The sensory synapses are outside the recursion, so several steps are processed together. */
static void finish_adjoint_steps(const struct task *task, struct block *b, struct place p,
                                 struct synapse_store sums) {
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    const struct copies steps = {p.steps, c->neurons, c->inputs};
    add_synapse_adjoints(c, 0, c->sensory_synapses, steps, b->held_bar_of_steps, b->input,
                         b->input_bar, sums);
    store_steps(q->input_bar, b->input_bar, p, c->inputs);
    store_steps(q->dt_s_bar, b->dt_s_bar, p, 1);
}

static void adjoint_steps(const struct task *task, struct workspace *w, int64_t first,
                          struct copies blocks, int64_t step, int steps) {
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    struct place place[MOST_BLOCKS];
    for (int k = 0; k < blocks.count; k++) {
        place[k] = find_place(extent_of(q), first + k, step, steps, -steps);
        load_adjoint_steps(q, &w->block[k], place[k]);
    }
    for (int t = steps - 1; t >= 0; t--) {
        for (int k = 0; k < blocks.count; k++)
            begin_step_adjoint(task, &w->block[k], t, w->sums.output);
        for (int unfold = c->unfolds - 1; unfold >= 0; unfold--)
            unfold_adjoint(task, w->block, blocks, first, step + t, unfold, w->sums.synapse);
        for (int k = 0; k < blocks.count; k++) end_step_adjoint(task, &w->block[k], place[k], t);
    }
    for (int k = 0; k < blocks.count; k++)
        finish_adjoint_steps(task, &w->block[k], place[k], w->sums.synapse);
}

static void add_vectors(void *to, const void *from, size_t bytes) {
    vector *sum = to;
    const vector *part = from;
    for (size_t k = 0; k < bytes / sizeof(vector); k++) sum[k] += part[k];
}

static void adjoint_group(struct team *team, int64_t group, void *workspace) {
    const struct task *task = team->task;
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    struct workspace *w = workspace;
    const int64_t first = group * task->blocks_together, left = count_blocks(extent_of(q)) - first;
    const struct copies blocks = {
        left < task->blocks_together ? (int)left : task->blocks_together,
        task->block_vectors * sizeof(vector) / sizeof(struct flow), task->block_vectors};
    memset(start_of_sums(w->sums), 0, w->sums.bytes);
    for (int k = 0; k < blocks.count; k++)
        memset(w->block[k].potential_bar, 0, c->neurons * sizeof(vector));
    for (int64_t end = q->steps; end > 0; end -= STEPS_TOGETHER) {
        const int64_t step = end < STEPS_TOGETHER ? 0 : end - STEPS_TOGETHER;
        adjoint_steps(task, w, first, blocks, step, (int)(end - step));
    }
    for (int k = 0; k < blocks.count; k++) {
        const struct place whole = find_place(extent_of(q), first + k, 0, 0, 0);
        store_states(q->state_bar, w->block[k].potential_bar, whole, c->neurons);
    }
    begin_commit(team, group);
    add_vectors(start_of_sums(task->sums), start_of_sums(w->sums), w->sums.bytes);
    end_commit(team);
}

/* Sum over lanes and convert gradients of effective parameters to those of free parameters. */
static void write_synapse_adjoints(const struct task *task) {
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    memset(q->input_scale_bar, 0, c->inputs * sizeof(real));
    memset(q->input_offset_bar, 0, c->inputs * sizeof(real));
    for (int s = 0; s < c->synapses; s++) {
        const struct synapse_store store = task->sums.synapse;
        real sum[NUM_SUMS]; /* k s, b̄ s, d and d x */
        for (int k = 0; k < NUM_SUMS; k++)
            sum[k] = store.lanes ? sum_of_lanes(((const vector *)&store.lanes[s])[k])
                                 : store.whole[s * NUM_SUMS + k];
        const int is_sensory = s < c->sensory_synapses, source = c->synapse[s].source;
        const real scale = is_sensory ? q->input_scale[source] : 1;
        const real offset = is_sensory ? q->input_offset[source] : 0;
        const real weight = c->synapse[s].weight, gain = weight * q->slope[s];
        const real d = sum[2], d_x = sum[3];
        q->raw_weight_bar[s] = sum[0] * softplus_slope(q->raw_weight[s]);
        q->raw_reversal_bar[s] = sum[1] * weight * q->sign[s] *
                                 softplus_slope(q->raw_reversal[s]);
        q->threshold_bar[s] = -gain * d;
        q->slope_bar[s] = weight * (scale * d_x + (offset - q->threshold[s]) * d);
        if (is_sensory) {
            q->input_scale_bar[source] += gain * d_x;
            q->input_offset_bar[source] += gain * d;
        }
    }
}

static void write_neuron_adjoints(const struct task *task) {
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    for (int i = 0; i < c->neurons; i++) {
        const struct neuron_sums *sums = &task->sums.neuron[i];
        const real drive_bar = sum_of_lanes(sums->flow_bar.drive);
        const real leak_bar =
            sum_of_lanes(sums->flow_bar.conductance) + drive_bar * q->leak_potential[i];
        q->raw_leak_conductance_bar[i] = leak_bar * softplus_slope(q->raw_leak_conductance[i]);
        q->leak_potential_bar[i] = drive_bar * c->neuron[i].leak;
        q->raw_capacitance_bar[i] = sum_of_lanes(sums->capacitance_bar) * (real)q->frame_s *
                                    softplus_slope(q->raw_capacitance[i]);
    }
}

static void write_output_adjoints(const struct task *task) {
    const struct sequence *q = task->sequence;
    for (int64_t k = 0; k < q->outputs; k++) {
        q->output_scale_bar[k] = sum_of_lanes(task->sums.output[k].scale_bar);
        q->output_offset_bar[k] = sum_of_lanes(task->sums.output[k].offset_bar);
    }
}

#endif
