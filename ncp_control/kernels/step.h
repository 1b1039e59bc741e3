/* One control step of one sample, the circuit of a robot between two frames.
 *
 * With a batch of one, lanes are synapses and neurons instead of samples: the synapses of a layer
 * open all at once, and their openings are then summed neuron by neuron. Equations as in ltc.c.
 *
 * The free parameters are read where the optimiser keeps them. A step compares them with those it
 * was prepared for (a few kilobytes: about 0.1 µs) and prepares anew if one has changed, so it can
 * never run with old weights.
 */

#define FREE_PARAMETERS 9

struct free_parameter {
    const real *live;
    real *known;
    size_t bytes;
};

struct step {
    struct sequence sequence;
    struct circuit circuit;
    struct free_parameter parameter[FREE_PARAMETERS];
    /* Of synapses and neurons as in `circuit`, one property after another, with spare lanes. */
    real *rate, *shift, *weight, *weighted_reversal, *capacitance_s;
    int32_t *source;
    real *open_weight, *open_drive; /* w s and w E s of each synapse */
    real *input, *potential, *middle, *relaxed; /* of inputs and neurons */
    real *conductance, *drive, *held_conductance, *held_drive;
    void *memory;
};

/* Put w s and w E s of the synapses first … end − 1 and perhaps some after them, which whoever
 * needs those overwrites first. */
static void open_synapses(struct step *m, int first, int end, const real *signal) {
    for (int s = first; s < end; s += LANES) {
        const vector x = gather(signal, m->source + s);
        const vector opening = sigmoid_of_log2(x * load(m->rate + s) + load(m->shift + s));
        store(m->open_weight + s, opening * load(m->weight + s));
        store(m->open_drive + s, opening * load(m->weighted_reversal + s));
    }
}

static void sum_inner(struct step *m, int first, int end) {
    for (int i = first; i < end; i++) {
        real a = m->held_conductance[i], b = m->held_drive[i];
        for (int s = m->circuit.neuron[i].inner; s < m->circuit.neuron[i].inner_end; s++) {
            a += m->open_weight[s];
            b += m->open_drive[s];
        }
        m->conductance[i] = a;
        m->drive[i] = b;
    }
}

static void hold_inputs(struct step *m) {
    const struct circuit *c = &m->circuit;
    open_synapses(m, 0, c->sensory_synapses, m->input);
    for (int i = 0; i < c->neurons; i++) {
        real a = c->neuron[i].leak, b = c->neuron[i].leak_drive;
        for (int s = c->neuron[i].sensory; s < c->neuron[i].sensory_end; s++) {
            a += m->open_weight[s];
            b += m->open_drive[s];
        }
        m->held_conductance[i] = a;
        m->held_drive[i] = b;
    }
}

static void step_euler(struct step *m, real h_s) {
    const struct circuit *c = &m->circuit;
    real *potential = m->potential;
    open_synapses(m, c->sensory_synapses, c->synapses, potential);
    sum_inner(m, 0, c->neurons);
    for (int i = 0; i < c->neurons; i += LANES) {
        const vector v = load(potential + i), a = load(m->conductance + i);
        const vector d = load(m->capacitance_s + i) + h_s * a;
        store(potential + i, v + h_s * ((load(m->drive + i) - a * v) * reciprocal(d)));
    }
}

/* Put into `relaxed` the potentials of a layer after the time h. */
static void relax_layer(struct step *m, struct layer layer, real h_s) {
    const real log2_e = (real)1.4426950408889634;
    for (int i = layer.first; i < layer.end; i += LANES) {
        const vector v = load(m->potential + i), a = load(m->conductance + i);
        const vector decay = exp2_below_limit(-log2_e * h_s * a / load(m->capacitance_s + i));
        const vector resting = load(m->drive + i) / a;
        store(m->relaxed + i, v + (1 - decay) * (resting - v));
    }
}

static void step_midpoint(struct step *m, real h_s) {
    const struct circuit *c = &m->circuit;
    memcpy(m->middle, m->potential, c->neurons * sizeof(real));
    for (int l = 0; l < c->layers; l++) {
        const struct layer layer = c->layer[l];
        const size_t bytes = (layer.end - layer.first) * sizeof(real);
        if (!bytes) continue;
        const int first = c->neuron[layer.first].inner, end = c->neuron[layer.end - 1].inner_end;
        open_synapses(m, first, end, m->middle);
        sum_inner(m, layer.first, layer.end);
        relax_layer(m, layer, h_s / 2);
        memcpy(m->middle + layer.first, m->relaxed + layer.first, bytes);
        if (layer.is_recurrent) {
            open_synapses(m, first, end, m->middle);
            sum_inner(m, layer.first, layer.end);
        }
        relax_layer(m, layer, h_s);
        memcpy(m->potential + layer.first, m->relaxed + layer.first, bytes);
    }
}

/* Take over the parameters and lay them out for `open_synapses`. */
static void prepare(struct step *m) {
    struct circuit *c = &m->circuit;
    for (int k = 0; k < FREE_PARAMETERS; k++)
        memcpy(m->parameter[k].known, m->parameter[k].live, m->parameter[k].bytes);
    map_parameters(c, &m->sequence);
    for (int s = 0; s < c->synapses; s++) {
        m->rate[s] = c->synapse[s].rate;
        m->shift[s] = c->synapse[s].shift;
        m->weight[s] = c->synapse[s].weight;
        m->weighted_reversal[s] = c->synapse[s].weighted_reversal;
        m->source[s] = c->synapse[s].source;
    }
    for (int i = 0; i < c->neurons; i++) m->capacitance_s[i] = c->neuron[i].capacitance_s;
}

static int has_changed(const struct step *m) {
    for (int k = 0; k < FREE_PARAMETERS; k++)
        if (memcmp(m->parameter[k].known, m->parameter[k].live, m->parameter[k].bytes)) return 1;
    return 0;
}

/* Cut the arrays out of one piece of memory. An input may be read at a neuron's number, by the
 * spare lanes of the last sensory synapses. */
static int cut_step(struct step *m) {
    const struct sequence *q = &m->sequence;
    const size_t synapses = q->synapses + LANES, inputs = q->inputs, neurons = q->neurons + LANES;
    const struct { const real *live; size_t count; } given[FREE_PARAMETERS] = {
        {q->raw_capacitance, q->neurons}, {q->raw_leak_conductance, q->neurons},
        {q->leak_potential, q->neurons},  {q->raw_weight, q->synapses},
        {q->threshold, q->synapses},      {q->slope, q->synapses},
        {q->raw_reversal, q->synapses},   {q->input_scale, inputs},
        {q->input_offset, inputs}};
    real **of_synapse[] = {&m->rate, &m->shift, &m->weight, &m->weighted_reversal,
                           &m->open_weight, &m->open_drive};
    real **of_neuron[] = {&m->capacitance_s, &m->potential, &m->middle, &m->relaxed,
                          &m->conductance, &m->drive, &m->held_conductance, &m->held_drive};
    const size_t reals = (6 + 4) * synapses + (8 + 3 + 1) * neurons + 3 * inputs;
    real *next = m->memory = allocate(reals * sizeof(real) + synapses * sizeof(int32_t));
    if (!next) return OUT_OF_MEMORY;
    for (int k = 0; k < 6; k++, next += synapses) *of_synapse[k] = next;
    for (int k = 0; k < 8; k++, next += neurons) *of_neuron[k] = next;
    for (int k = 0; k < FREE_PARAMETERS; next += given[k++].count)
        m->parameter[k] =
            (struct free_parameter){given[k].live, next, given[k].count * sizeof(real)};
    m->input = next;
    m->source = (int32_t *)(next + inputs + neurons);
    return OK;
}

EXPORT void ncp_ltc_free_step(struct step *m) {
    free_circuit(&m->circuit);
    free(m->memory);
    free(m);
}

/* Make a step that keeps the addresses in `q`; `ncp_ltc_free_step` it if the status is OK. */
EXPORT int ncp_ltc_make_step(const struct sequence *q, struct step **made) {
    struct step *m = allocate(sizeof *m);
    if (!m) return OUT_OF_MEMORY;
    m->sequence = *q;
    int status = make_circuit(&m->circuit, q);
    if (status == OK) status = cut_step(m);
    if (status == OK) {
        prepare(m);
        *made = m;
    } else {
        ncp_ltc_free_step(m);
    }
    return status;
}

/* Advance `state` by `dt_s` with `input` held, and put `output`. */
EXPORT void ncp_ltc_step(struct step *m) {
    const struct circuit *c = &m->circuit;
    const real h_s = *m->sequence.dt_s / (real)c->unfolds;
    if (has_changed(m)) prepare(m);
    memcpy(m->input, m->sequence.input, c->inputs * sizeof(real));
    hold_inputs(m);
    memcpy(m->potential, m->sequence.state, c->neurons * sizeof(real));
    for (int unfold = 0; unfold < c->unfolds; unfold++)
        if (c->integrator == LAYERED_MIDPOINT)
            step_midpoint(m, h_s);
        else
            step_euler(m, h_s);
    memcpy(m->sequence.state, m->potential, c->neurons * sizeof(real));
    const real *motor = m->potential + c->neurons - m->sequence.outputs;
    for (int64_t k = 0; k < m->sequence.outputs; k++)
        m->sequence.output[k] =
            motor[k] * m->sequence.output_scale[k] + m->sequence.output_offset[k];
}
