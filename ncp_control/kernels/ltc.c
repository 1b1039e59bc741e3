/* The liquid time-constant circuit over a sequence: forward, adjoint, and one control step.
 *
 * The maths is that of ncp_control/cells/ltc.py and ncp_control/integrators.py, which stay the
 * reference:
 *
 *     C dv_i/dt = b_i − a_i v_i
 *     a_i = g + Σ_k w s(u_k) + Σ_j w s(v_j)           total conductance
 *     b_i = g V + Σ_k w E s(u_k) + Σ_j w E s(v_j)     drive
 *
 * | symbol | here                     | what                                              |
 * |--------|--------------------------|---------------------------------------------------|
 * | v      | potential, start         | membrane potential                                |
 * | u      | input (α, β folded in)   | input, scaled by α and shifted by β               |
 * | C      | capacitance_s            | capacitance [s]                                   |
 * | g, V   | leak, leak_drive = g V   | leak conductance and potential                    |
 * | w, E   | weight, reversal         | of a synapse                                      |
 * | s      | opening                  | share of open channels, s(x; μ, γ): see circuit.h |
 * | a, b   | conductance, drive       | of a neuron                                       |
 * | h      | h_s                      | sub-step, elapsed time / unfolds [s]              |
 * | x̄      | x_bar                    | derivative of the loss with respect to x          |
 *
 * A `vector` holds LANES samples of the batch; such a group is a block. Lanes never mix, so a NaN
 * stays in its sample. Synapses are walked in the order of their targets: the sensory ones once a
 * step, for their input is held, the inner ones at every sub-step.
 *
 * SEMI-IMPLICIT EULER   v' = v + h y,  y = (b − a v) / D,  D = C + h a
 *     which is (C v + h b) / D, and leaves v unchanged, to the bit, for h = 0.
 *     With q = v̄' / D, and since b − a v' = C y:
 *         b̄ = h q     ā = −h q v'     C̄ = −h q y     h̄ = q C y     v̄ = q C + …
 *
 * RELAXATION with a and b frozen, for a share f of h   v' = v + F (R − v)
 *     R = b / a,  F = 1 − exp(−f h a / C).  With G = v̄' (R − v)(1 − F) f / C:
 *         b̄ = v̄' F / a   ā = h G − b̄ R   C̄ = −h G a / C   h̄ = G a   v̄ = v̄' (1 − F) + …
 *
 * LAYERED MIDPOINT   Layer after layer: relax by h/2 to the midpoint m, seeing the midpoints of
 *     the layers before and the start v of the own layer; where the layer is recurrent, evaluate
 *     its own synapses again at m; relax from v by h.
 *
 * A SYNAPSE j → i adds w s(x_j) to a_i and w E s(x_j) to b_i. With k = ā_i + E b̄_i and
 *     d = k s (1 − s):
 *         w̄ = Σ k s     Ē = w Σ b̄ s     μ̄ = −γ w Σ d     γ̄ = w (Σ d x_j − μ Σ d)
 *         x̄_j = Σ γ w d                                             (the dots above)
 *     The first four sums run over samples, steps and sub-steps. ᾱ and β̄ follow from them.
 *
 * The tape keeps what the integrator found at every sub-step. The sigmoids are computed again: to
 * read them back would take as long. Source of the equations: Hasani et al. 2021
 * (arXiv 2006.04439); the adjoint is derived here.
 */

#include "circuit.h"
#include "rows.h"
#include "threads.h"

/* The synapses' sums a and b of a neuron, or ā and b̄. */
struct flow {
    vector conductance, drive;
};

/* ---------------------------------------------------------------- synapses */

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

/* ---------------------------------------------------------------- a block of samples */

/* Steps that are read, written, and led back through the sensory synapses together. */
#define STEPS_TOGETHER 4

struct neuron_sums {
    struct flow flow_bar;
    vector capacitance_bar;
};

struct output_sums {
    vector scale_bar, offset_bar;
};

/* Memory for one block; arrays have an entry a neuron, those of inputs one an input. */
struct block {
    vector *potential, *potential_bar, *middle, *middle_bar, *next;
    struct flow *flow, *flow_bar, *half_flow_bar;
    struct neuron_sums *neuron_sums;
    void *spare_record; /* where there is no tape */

    /* Of the present step: h, and what leak and sensory synapses sum up to. */
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

/* The tape of one sub-step: a record a neuron. Euler's potentials follow from those at the end of
 * the step, v = v' − h y. */
struct euler_record {
    vector y, reciprocal_d;
};

struct relaxation {
    vector conductance, resting, fraction; /* a, R and F */
};

struct midpoint_record {
    vector potential;
    struct relaxation half;
};

/* Fetch the record so many records further on the tape, that of the next sub-step, while this one is
 * computed: the tape is too long to stay in the nearest cache. */
#define FETCH(record, distance, is_written)                                               \
    for (size_t byte = 0; byte < sizeof *(record); byte += 64)                            \
    __builtin_prefetch((const char *)((record) + (distance)) + byte, is_written)

/* ---------------------------------------------------------------- semi-implicit Euler */

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
                                   struct synapse_sums *sums) {
    add_synapse_adjoints(c, c->sensory_synapses, c->synapses, blocks, b->flow_bar, b->potential,
                         b->potential_bar, sums);
}

/* ---------------------------------------------------------------- layered midpoint */

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

/* ---------------------------------------------------------------- blocks over time */

/* Clear the lanes whose sample begins anew at step t of the place. */
static void clear_reset(const struct sequence *q, struct place p, int t, vector *potential) {
    bit_vector keep;
    if (!q->reset) return;
    for (int lane = 0; lane < LANES; lane++) {
        const int is_reset = lane < p.samples && q->reset[p.frame + t + lane * p.frames];
        keep[lane] = is_reset ? 0 : ~(bits)0;
    }
    for (int64_t i = 0; i < q->neurons; i++)
        potential[i] = (vector)(keep & (bit_vector)potential[i]);
}

/* What the adjoint adds up, lane by lane; all in one piece of memory. */
struct sums {
    struct synapse_sums *synapse;
    struct neuron_sums *neuron;
    struct output_sums *output;
    size_t bytes;
};

/* Blocks that the adjoint of a large circuit treats together, at most. */
#define MOST_BLOCKS 4

struct task {
    const struct sequence *sequence;
    struct circuit circuit;
    int blocks_together;
    size_t block_vectors; /* from one block's memory to the next's */
    struct sums sums; /* over all blocks, in their order: the same for any number of threads */
};

/* What a thread works with: the blocks that it treats together, and its sums over them. */
struct workspace {
    struct block block[MOST_BLOCKS];
    struct sums sums;
};

static void *find_record(const struct task *task, int64_t block, int64_t step, int unfold) {
    const struct sequence *q = task->sequence;
    const int64_t sub_step = (block * q->steps + step) * q->unfolds + unfold;
    return q->tape + sub_step * task->circuit.record_vectors * LANES;
}

static void forward_step(const struct task *task, struct block *b, int64_t block, int64_t step,
                         const vector *input) {
    const struct circuit *c = &task->circuit;
    for (int i = 0; i < c->neurons; i++) {
        const struct neuron *n = &c->neuron[i];
        const struct flow leak = {broadcast(n->leak), broadcast(n->leak_drive)};
        b->held[i] = add_synapses(c, n->sensory, n->sensory_end, input, leak);
    }
    for (int unfold = 0; unfold < c->unfolds; unfold++) {
        void *record = b->spare_record;
        if (task->sequence->tape) record = find_record(task, block, step, unfold);
        if (c->integrator == LAYERED_MIDPOINT)
            midpoint_unfold(c, b, record);
        else
            euler_unfold(c, b, record);
    }
}

static void forward_block(struct team *team, int64_t block, void *workspace) {
    const struct task *task = team->task;
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    struct block *b = ((struct workspace *)workspace)->block;
    const struct place whole = find_place(q, block, 0, 0, 0);
    load_states(b->potential, q->state, whole, c->neurons);
    for (int64_t step = 0; step < q->steps; step += STEPS_TOGETHER) {
        const int64_t left = q->steps - step;
        const int steps = left < STEPS_TOGETHER ? (int)left : STEPS_TOGETHER;
        const struct place p = find_place(q, block, step, steps, steps);
        load_steps(b->input, q->input, p, c->inputs);
        load_steps(b->dt_s, q->dt_s, p, 1);
        for (int t = 0; t < p.steps; t++) {
            clear_reset(q, p, t, b->potential);
            b->h_s = b->dt_s[t] / (real)c->unfolds;
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

/* ---------------------------------------------------------------- blocks backwards in time */

static void unfold_adjoint(const struct task *task, struct block *block, struct copies blocks,
                           int64_t first, int64_t step, int unfold, struct synapse_sums *sums) {
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

/* Read what the adjoint needs of the steps of a place. */
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
    b->h_s = b->dt_s[t] / (real)c->unfolds;
    b->h_s_bar = (vector){0};
}

static void end_step_adjoint(const struct task *task, struct block *b, struct place p, int t) {
    const struct circuit *c = &task->circuit;
    for (int i = 0; i < c->neurons; i++) {
        b->neuron_sums[i].flow_bar.conductance += b->held_bar[i].conductance;
        b->neuron_sums[i].flow_bar.drive += b->held_bar[i].drive;
    }
    b->dt_s_bar[t] = b->h_s_bar / (real)c->unfolds;
    clear_reset(task->sequence, p, t, b->potential_bar);
}

/* The sensory synapses are no part of the recursion, so several steps go together. */
static void finish_adjoint_steps(const struct task *task, struct block *b, struct place p,
                                 struct synapse_sums *sums) {
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
        place[k] = find_place(q, first + k, step, steps, -steps);
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
    const int64_t first = group * task->blocks_together, left = count_blocks(q) - first;
    const struct copies blocks = {
        left < task->blocks_together ? (int)left : task->blocks_together,
        task->block_vectors * sizeof(vector) / sizeof(struct flow), task->block_vectors};
    memset(w->sums.synapse, 0, w->sums.bytes);
    for (int k = 0; k < blocks.count; k++)
        memset(w->block[k].potential_bar, 0, c->neurons * sizeof(vector));
    for (int64_t end = q->steps; end > 0; end -= STEPS_TOGETHER) {
        const int64_t step = end < STEPS_TOGETHER ? 0 : end - STEPS_TOGETHER;
        adjoint_steps(task, w, first, blocks, step, (int)(end - step));
    }
    for (int k = 0; k < blocks.count; k++) {
        const struct place whole = find_place(q, first + k, 0, 0, 0);
        store_states(q->state_bar, w->block[k].potential_bar, whole, c->neurons);
    }
    begin_commit(team, group);
    add_vectors(task->sums.synapse, w->sums.synapse, w->sums.bytes);
    end_commit(team);
}

/* Sum over lanes and go through the maps from free parameters to effective ones. */
static void write_synapse_adjoints(const struct task *task) {
    const struct sequence *q = task->sequence;
    const struct circuit *c = &task->circuit;
    memset(q->input_scale_bar, 0, c->inputs * sizeof(real));
    memset(q->input_offset_bar, 0, c->inputs * sizeof(real));
    for (int s = 0; s < c->synapses; s++) {
        const struct synapse_sums *sums = &task->sums.synapse[s];
        const int is_sensory = s < c->sensory_synapses, source = c->synapse[s].source;
        const real scale = is_sensory ? q->input_scale[source] : 1;
        const real offset = is_sensory ? q->input_offset[source] : 0;
        const real weight = c->synapse[s].weight, gain = weight * q->slope[s];
        const real d = sum_of_lanes(sums->d), d_x = sum_of_lanes(sums->d_x);
        q->raw_weight_bar[s] = sum_of_lanes(sums->k_s) * softplus_slope(q->raw_weight[s]);
        q->raw_reversal_bar[s] = sum_of_lanes(sums->drive_bar_s) * weight * q->sign[s] *
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

/* ---------------------------------------------------------------- memory and entry points */

static void *cut(vector **memory, size_t vectors) {
    vector *first = *memory;
    *memory += vectors;
    return first;
}

/* Cut a block's arrays out of memory and return how many vectors they are. Distances between
 * blocks must be whole flows. */
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

/* Cut the sums out of memory; with NULL, only find how many bytes they are. */
static struct sums cut_sums(const struct circuit *c, void *memory) {
    struct sums sums = {.synapse = memory};
    sums.neuron = (struct neuron_sums *)(sums.synapse + c->synapses);
    sums.output = (struct output_sums *)(sums.neuron + c->neurons);
    sums.bytes = (char *)(sums.output + c->outputs) - (char *)sums.synapse;
    return sums;
}

static void *make_workspace(struct team *team) {
    const struct task *task = team->task;
    const struct circuit *c = &task->circuit;
    const size_t vectors = task->blocks_together * task->block_vectors;
    const size_t sum_bytes = task->sums.synapse ? task->sums.bytes : 0; /* for the adjoint alone */
    struct workspace *w = allocate(sizeof *w + vectors * sizeof(vector) + sum_bytes);
    if (!w) return NULL;
    vector *memory = (vector *)(w + 1);
    w->sums = cut_sums(c, memory + vectors);
    for (int k = 0; k < task->blocks_together; k++) {
        cut_block(c, &w->block[k], memory + k * task->block_vectors);
        w->block[k].neuron_sums = w->sums.neuron;
    }
    return w;
}

/* Treat blocks together where their sums outgrow the cache, but never all of them: a second thread
 * should have work. The choice must not depend on the threads, or else rounding would. */
static int choose_blocks_together(const struct sequence *q) {
    const size_t cache_bytes = 1 << 20;
    const int64_t half = count_blocks(q) / 2;
    if (q->synapses * sizeof(struct synapse_sums) < cache_bytes || half < 2) return 1;
    return half < MOST_BLOCKS ? (int)half : MOST_BLOCKS;
}

static int run_task(struct task *task, void (*work)(struct team *, int64_t, void *)) {
    const int64_t blocks = count_blocks(task->sequence), together = task->blocks_together;
    struct block block;
    task->block_vectors = cut_block(&task->circuit, &block, NULL);
    struct team team = {.work = work, .make_workspace = make_workspace, .task = task,
                        .parts = (blocks + together - 1) / together};
    return run_team(&team, task->sequence->threads) ? OK : OUT_OF_MEMORY;
}

/* Fill `states` and `output`, and `tape` if there is one. */
EXPORT int ncp_ltc_forward(const struct sequence *q) {
    struct task task = {.sequence = q, .blocks_together = 1};
    int status = make_circuit(&task.circuit, q);
    if (status != OK) return status;
    status = run_task(&task, forward_block);
    free_circuit(&task.circuit);
    return status;
}

/* From `states_bar`, `output_bar`, `states` and the tape fill every other array whose name ends in `_bar`. */
EXPORT int ncp_ltc_adjoint(const struct sequence *q) {
    struct task task = {.sequence = q, .blocks_together = choose_blocks_together(q)};
    int status = make_circuit(&task.circuit, q);
    if (status != OK) return status;
    void *memory = allocate(cut_sums(&task.circuit, NULL).bytes);
    task.sums = cut_sums(&task.circuit, memory);
    status = memory ? run_task(&task, adjoint_group) : OUT_OF_MEMORY;
    if (status == OK) {
        write_synapse_adjoints(&task);
        write_neuron_adjoints(&task);
        write_output_adjoints(&task);
    }
    free(memory);
    free_circuit(&task.circuit);
    return status;
}

#include "step.h"
