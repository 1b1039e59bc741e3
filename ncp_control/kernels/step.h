/* One control step of one sample, for use on a robot.
 *
 * With a batch of one, lanes are synapses and neurons instead of samples: see plan.h. Equations as
 * in ltc.c.
 *
 * A step compares the current free parameters with those that it was prepared for (a few kilobytes:
 * about 0.1 µs) and prepares again if one has changed, so it never runs with old weights.
 */

#ifndef NCP_STEP_H
#define NCP_STEP_H

#include "midpoint.h"
#include "plan.h"

#define FREE_PARAMETERS 9

struct free_parameter {
    const real *live;
    real *known;
    size_t bytes;
};

/* LANES synapses side by side; unused lanes have weight 0. */
struct row {
    vector rate, shift, weight, weighted_reversal;
};

struct step {
    struct sequence sequence;
    struct circuit circuit;
    struct plan plan;
    struct free_parameter parameter[FREE_PARAMETERS];
    struct row *row;
    /* Of all groups; lanes without a neuron have conductance 1 and drive 0, so they stay at 0. */
    vector *capacitance_s, *potential, *middle, *next;
    struct flow *leak, *held, *flow;
    real *input;
    void *memory;
};

/* Return `flow` with the synapses of some rows added. */
static inline struct flow add_rows(const struct step *m, struct rows rows, const vector *signal,
                                   struct flow flow) {
    if (rows.row == rows.row_end) return flow;
    const real *table = (const real *)signal + rows.table;
    const int32_t *source = m->plan.source + rows.row * LANES;
    struct flow sum = {0};
    for (int k = rows.row; k < rows.row_end; k++, source += LANES) {
        const struct row *row = &m->row[k];
        const vector x = rows.is_near ? pick(table, source) : gather(table, source);
        const vector opening = sigmoid_of_log2(x * row->rate + row->shift);
        sum.conductance += opening * row->weight;
        sum.drive += opening * row->weighted_reversal;
    }
    const vector conductance[2] = {sum.conductance}, drive[2] = {sum.drive};
    for (int k = rows.fold; k < rows.fold_end; k++) {
        const int32_t *lane = m->plan.lane + k * LANES;
        flow.conductance += pick((const real *)conductance, lane);
        flow.drive += pick((const real *)drive, lane);
    }
    return flow;
}

static void hold_inputs(struct step *m) {
    for (int g = 0; g < m->plan.groups; g++)
        m->held[g] = add_rows(m, m->plan.group[g].sensory, (vector *)m->input, m->leak[g]);
}

static void step_euler(struct step *m, real h_s) {
    for (int g = 0; g < m->plan.groups; g++) {
        const vector v = m->potential[g];
        const struct flow flow = add_rows(m, m->plan.group[g].own, m->potential, m->held[g]);
        const vector d = m->capacitance_s[g] + h_s * flow.conductance;
        m->next[g] = v + h_s * ((flow.drive - flow.conductance * v) * reciprocal(d));
    }
}

static void step_midpoint(struct step *m, real h_s) {
    for (int l = 0; l < m->plan.layers; l++) {
        const struct layer layer = m->plan.layer[l];
        for (int g = layer.first; g < layer.end; g++) {
            const struct group *group = &m->plan.group[g];
            const vector half_per_c = h_s / 2 / m->capacitance_s[g], v = m->potential[g];
            m->flow[g] = add_rows(m, group->earlier, m->middle, m->held[g]);
            const struct relaxation half =
                make_relaxation(add_rows(m, group->own, m->potential, m->flow[g]), half_per_c);
            m->middle[g] = relaxed(half, v);
            m->next[g] = relaxed(twice(half), v);
        }
        for (int g = layer.first; g < layer.end && layer.is_recurrent; g++) {
            const struct flow flow =
                add_rows(m, m->plan.group[g].own, m->middle, m->flow[g]);
            m->next[g] =
                relaxed(make_relaxation(flow, h_s / m->capacitance_s[g]), m->potential[g]);
        }
    }
}

/* Copy the parameters and arrange them by rows and groups. */
static void prepare(struct step *m) {
    struct circuit *c = &m->circuit;
    for (int k = 0; k < FREE_PARAMETERS; k++)
        memcpy(m->parameter[k].known, m->parameter[k].live, m->parameter[k].bytes);
    map_parameters(c, &m->sequence);
    for (int k = 0; k < m->plan.rows * LANES; k++) {
        const int s = m->plan.synapse[k];
        struct row *row = &m->row[k / LANES];
        if (s < 0) continue;
        row->rate[k % LANES] = c->synapse[s].rate;
        row->shift[k % LANES] = c->synapse[s].shift;
        row->weight[k % LANES] = c->synapse[s].weight;
        row->weighted_reversal[k % LANES] = c->synapse[s].weighted_reversal;
    }
    for (int g = 0; g < m->plan.groups; g++) {
        m->capacitance_s[g] = broadcast(1);
        m->leak[g].conductance = broadcast(1);
    }
    for (int i = 0; i < c->neurons; i++) {
        const int g = c->neuron[i].at / LANES, lane = c->neuron[i].at % LANES;
        m->capacitance_s[g][lane] = c->neuron[i].capacitance_s;
        m->leak[g].conductance[lane] = c->neuron[i].leak;
        m->leak[g].drive[lane] = c->neuron[i].leak_drive;
    }
}

static int has_changed(const struct step *m) {
    for (int k = 0; k < FREE_PARAMETERS; k++)
        if (memcmp(m->parameter[k].known, m->parameter[k].live, m->parameter[k].bytes)) return 1;
    return 0;
}

/* Place the arrays in one allocation. Tables are read 2 LANES at a time, beyond the last potential
 * or input. */
static int cut_step(struct step *m) {
    const struct sequence *q = &m->sequence;
    const struct { const real *live; size_t count; } given[FREE_PARAMETERS] = {
        {q->raw_capacitance, q->neurons}, {q->raw_leak_conductance, q->neurons},
        {q->leak_potential, q->neurons},  {q->raw_weight, q->synapses},
        {q->threshold, q->synapses},      {q->slope, q->synapses},
        {q->raw_reversal, q->synapses},   {q->input_scale, q->inputs},
        {q->input_offset, q->inputs}};
    const size_t groups = m->plan.groups + 2, input_vectors = q->inputs / LANES + 3;
    const size_t vectors = 4 * m->plan.rows + (4 + 3 * 2) * groups + input_vectors;
    const size_t reals = vectors * LANES + 3 * q->neurons + 4 * q->synapses + 2 * q->inputs;
    vector *next = m->memory = allocate(reals * sizeof(real));
    if (!next) return OUT_OF_MEMORY;
    m->row = cut(&next, 4 * m->plan.rows);
    m->capacitance_s = cut(&next, groups);
    m->potential = cut(&next, groups);
    m->middle = cut(&next, groups);
    m->next = cut(&next, groups);
    m->leak = cut(&next, 2 * groups);
    m->held = cut(&next, 2 * groups);
    m->flow = cut(&next, 2 * groups);
    m->input = cut(&next, input_vectors);
    real *known = (real *)next;
    for (int k = 0; k < FREE_PARAMETERS; known += given[k++].count) {
        /* An empty array may have no address, but even an empty copy needs a valid one. */
        const real *live = given[k].count ? given[k].live : known;
        m->parameter[k] = (struct free_parameter){live, known, given[k].count * sizeof(real)};
    }
    return OK;
}

EXPORT void ncp_ltc_free_step(struct step *m) {
    free_plan(&m->plan);
    free_circuit(&m->circuit);
    release(m->memory);
    release(m);
}

/* Make a step that keeps the addresses in `q`; free it with `ncp_ltc_free_step` if it is OK. */
EXPORT int ncp_ltc_make_step(const struct sequence *q, struct step **made) {
    struct step *m = allocate(sizeof *m);
    if (!m) return OUT_OF_MEMORY;
    m->sequence = *q;
    int status = make_circuit(&m->circuit, q);
    if (status == OK) status = make_plan(&m->plan, &m->circuit);
    if (status == OK) status = cut_step(m);
    if (status == OK) {
        prepare(m);
        *made = m;
    } else {
        ncp_ltc_free_step(m);
    }
    return status;
}

/* Load `state`; the neurons of a group are contiguous there, too. */
static void load_state(struct step *m) {
    for (int g = 0; g < m->plan.groups; g++)
        memcpy(&m->potential[g], m->sequence.state + m->plan.group[g].first,
               m->plan.group[g].count * sizeof(real));
}

static void store_state(const struct step *m) {
    for (int g = 0; g < m->plan.groups; g++)
        memcpy(m->sequence.state + m->plan.group[g].first, &m->potential[g],
               m->plan.group[g].count * sizeof(real));
}

/* Advance `state` by `dt_s` with constant `input`, and write `output`. */
EXPORT void ncp_ltc_step(struct step *m) {
    const struct sequence *q = &m->sequence;
    const real whole_s = *q->dt_s / (real)q->unfolds;
    const real h_s = whole_s > LONGEST_SUB_STEP_S ? LONGEST_SUB_STEP_S : whole_s;
    if (has_changed(m)) prepare(m);
    memcpy(m->input, q->input, q->inputs * sizeof(real));
    load_state(m);
    hold_inputs(m);
    for (int unfold = 0; unfold < q->unfolds; unfold++) {
        if (q->integrator == LAYERED_MIDPOINT)
            step_midpoint(m, h_s);
        else
            step_euler(m, h_s);
        vector *next = m->next;
        m->next = m->potential;
        m->potential = next;
    }
    store_state(m);
    const real *motor = q->state + q->neurons - q->outputs;
    for (int64_t k = 0; k < q->outputs; k++)
        q->output[k] = motor[k] * q->output_scale[k] + q->output_offset[k];
}

#endif
