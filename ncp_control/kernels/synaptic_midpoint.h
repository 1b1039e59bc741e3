/* One sub-step of the layered midpoint of a circuit in synaptic.h, and its adjoint.
 *
 * For each layer in order: relax by h / 2 to the midpoint m, using the midpoints of earlier layers
 * and the start v of the own layer; if the layer is recurrent, evaluate its synapses again at m;
 * relax from v by h. In the adjoint, the derivative of m enters that of the relaxation by h / 2.
 */

#ifndef NCP_SYNAPTIC_MIDPOINT_H
#define NCP_SYNAPTIC_MIDPOINT_H

/* A layer of the circuit: its neurons, and the synapses that lead to it from earlier layers and
 * from itself. */
struct stage {
    int first, end, is_recurrent;
    struct links earlier, own;
};

static struct stage find_stage(const struct net *n, int l) {
    int layers;
    if (n->spread) {
        const struct layer of = n->spread->plan.layer[l];
        return (struct stage){of.first, of.end, of.is_recurrent,
                              {.first = of.first, .end = of.end, .kind = EARLIER},
                              {.first = of.first, .end = of.end, .kind = OWN}};
    }
    const int64_t *layer = layers_of(n, &layers) + l * LAYER_NUMBERS;
    const int first = (int)layer[LAYER_FIRST], end = (int)layer[LAYER_END], base = n->inputs;
    const int start = n->sensory + (int)layer[LAYER_LINKS];
    const int stop = n->sensory + (int)layer[LAYER_LINKS_END];
    return (struct stage){first, end, layer[LAYER_IS_RECURRENT] != 0,
                          {start, stop, base, base + first, base, EARLIER},
                          {start, stop, base + first, base + end, base, OWN}};
}

static int count_stages(const struct net *n) {
    int layers;
    if (n->spread) return n->spread->plan.layers;
    layers_of(n, &layers);
    return layers;
}

static inline struct relaxation relax_for(const struct net *n, int i, const vector *kept,
                                          vector h) {
    const struct neuron_row neuron = find_neuron(n, i);
    const struct flow flow = find_flow(equation_of(n), neuron, kept);
    return make_relaxation(flow, h / column(neuron, CAPACITANCE));
}

static void midpoint_stage(const struct net *n, struct frame *f, vector h, struct stage s,
                           const vector *v, vector *half, vector *whole, vector *middle) {
    const int sums = sums_of(n), at = s.first * sums, size = (s.end - s.first) * sums;
    memcpy(half + at, f->scratch + at, size * sizeof(vector));
    add_links(n, s.earlier, middle, half, sums);
    if (s.is_recurrent) {
        memcpy(whole + at, half + at, size * sizeof(vector));
        add_links(n, s.own, v, half, sums);
    }
    for (int i = s.first; i < s.end; i++) {
        close_sums(equation_of(n), find_neuron(n, i), half + i * sums);
        const struct relaxation r = relax_for(n, i, half + i * sums, h / 2);
        middle[i] = relaxed(r, v[i]);
        f->state[i] = relaxed(twice(r), v[i]);
    }
    if (!s.is_recurrent) {
        memcpy(whole + at, half + at, size * sizeof(vector)); /* the same sums at the midpoint */
        return;
    }
    add_links(n, s.own, middle, whole, sums);
    for (int i = s.first; i < s.end; i++) {
        close_sums(equation_of(n), find_neuron(n, i), whole + i * sums);
        f->state[i] = relaxed(relax_for(n, i, whole + i * sums, h), v[i]);
    }
}

static void midpoint_substep(const struct net *n, struct frame *f, vector h, vector *v) {
    vector *half = v + n->width, *whole = half + n->width * sums_of(n);
    vector *middle = f->scratch + n->width * sums_of(n);
    for (int l = 0; l < count_stages(n); l++)
        midpoint_stage(n, f, h, find_stage(n, l), v, half, whole, middle);
}

/* The adjoint of a relaxation of neuron i from v over the time `share` h. */
static inline struct flow half_or_whole(const struct net *n, struct frame *f, struct retreat *m,
                                        int i, const vector *kept, real share, vector end_bar) {
    const struct retreat before = *m;
    const struct relaxation r = relax_for(n, i, kept, m->h * share);
    m->h *= share;
    m->h_bar = (vector){0};
    m->capacitance = column(find_neuron(n, i), CAPACITANCE);
    m->capacitance_bar = find_neuron_bar(n, f, i) + CAPACITANCE;
    m->v_bar = &f->state_bar[i];
    const struct flow bar = relaxation_retreat(m, r, 1 - r.fraction, end_bar);
    m->h_bar = before.h_bar + m->h_bar * share;
    m->h = before.h;
    return bar;
}

/* Temporary memory for the derivatives of a sub-step. */
struct midpoint_bars {
    vector *middle, *half, *whole;
};

static void midpoint_stage_adjoint(const struct net *n, struct frame *f, struct retreat *m,
                                   struct stage s, const vector *v, const vector *middle,
                                   struct midpoint_bars bar, vector *held_bar) {
    const int sums = sums_of(n);
    const vector *half = v + n->width, *whole = half + n->width * sums;
    for (int i = s.first; i < s.end; i++) {
        const vector end_bar = f->state_bar[i];
        f->state_bar[i] = (vector){0};
        m->v = v[i];
        const struct flow flow_bar = half_or_whole(n, f, m, i, whole + i * sums, 1, end_bar);
        close_adjoint(equation_of(n), find_neuron(n, i), whole + i * sums, flow_bar,
                      bar.whole + i * sums, find_neuron_bar(n, f, i));
    }
    if (s.is_recurrent)
        lead_links_back(n, s.own, middle, bar.middle, bar.whole, f->gradient, sums);
    for (int i = s.first; i < s.end; i++) {
        m->v = v[i];
        const struct flow flow_bar =
            half_or_whole(n, f, m, i, half + i * sums, (real)0.5, bar.middle[i]);
        close_adjoint(equation_of(n), find_neuron(n, i), half + i * sums, flow_bar,
                      bar.half + i * sums, find_neuron_bar(n, f, i));
    }
    if (s.is_recurrent)
        lead_links_back(n, s.own, v, f->state_bar, bar.half, f->gradient, sums);
    for (int k = s.first * sums; k < s.end * sums; k++) {
        bar.whole[k] += bar.half[k];
        held_bar[k] += bar.whole[k];
    }
    lead_links_back(n, s.earlier, middle, bar.middle, bar.whole, f->gradient, sums);
}

static void midpoint_substep_adjoint(const struct net *n, struct frame *f, struct retreat *m,
                                     const vector *v, vector *held_bar, vector *others) {
    const int sums = sums_of(n), width = n->width;
    vector *middle = others + 2 * width * sums;
    const struct midpoint_bars bar = {middle + width, others, others + width * sums};
    for (int i = 0; i < width; i++) {
        const vector *kept = v + width + i * sums;
        middle[i] = relaxed(relax_for(n, i, kept, m->h / 2), v[i]);
        bar.middle[i] = (vector){0};
    }
    for (int l = count_stages(n) - 1; l >= 0; l--)
        midpoint_stage_adjoint(n, f, m, find_stage(n, l), v, middle, bar, held_bar);
}

#endif
