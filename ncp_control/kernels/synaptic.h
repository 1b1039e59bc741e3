/* Circuits of neurons with conductances: LTC, STC and LRC over a wiring, with any integrator except
 * Runge-Kutta; equations and symbols in ncp_control/cells/ltc.py, stc.py and lrc.py. (An LTC that
 * is not inside another cell runs on ltc.c, if that has its integrator.)
 *
 * Two matrices, whose gradients the cell sums up itself: one row per synapse (links.h), and one row
 * per neuron: C in frames, the sums f, u and y without any synapse, then further parameters of the
 * equation (equations.h).
 * Options: equation, integrator, number of sub-steps per frame.
 * Wiring: sources, then targets of all synapses, sensory ones first; a source is an input 0 … I − 1
 * or the neuron source − I. For the layered midpoint, then for every layer: its first neuron, end,
 * whether it is recurrent, and first and end of the inner synapses that lead to it.
 *
 * A sub-step is a relaxation v' = v + F (R − v), R = b / a, with z = h a / C and
 *     exponential Euler     F = 1 − exp(−z)    F' = 1 − F
 *     explicit Euler        F = min(z, 1)      F' = 1 or, beyond z = 1, 0
 * or semi-implicit Euler, all of them with the sums at v; or the layered midpoint, see
 * synaptic_midpoint.h. With G = v̄' (R − v) F' / C:
 *     b̄ = v̄' F / a   ā = h G − b̄ R   C̄ = −h G a / C   h̄ = G a   v̄ = v̄' (1 − F) + …
 * The adjoint of semi-implicit Euler is that of ltc.c.
 */

#ifndef NCP_SYNAPTIC_H
#define NCP_SYNAPTIC_H

#include "equations.h"
#include "links.h"

enum { BY_SEMI_IMPLICIT_EULER, BY_EXPLICIT_EULER, BY_EXPONENTIAL_EULER, BY_LAYERED_MIDPOINT };
#define EQUATION option[0]
#define INTEGRATOR option[1]
#define UNFOLDS option[2]
enum { LINKS, NEURONS }; /* matrices */
enum { LAYER_FIRST, LAYER_END, LAYER_IS_RECURRENT, LAYER_LINKS, LAYER_LINKS_END, LAYER_NUMBERS };

/* As LONGEST_S of ncp_control/integrators.py, but in frames; neurons are at rest long before. */
#define LONGEST_FRAMES ((real)1e15)

static inline enum equation equation_of(const struct net *n) { return (enum equation)n->EQUATION; }

static inline int sums_of(const struct net *n) { return count_sums(equation_of(n)); }

static inline struct neuron_row find_neuron(const struct net *n, int i) {
    return (struct neuron_row){&n->matrix[NEURONS], i};
}

static inline vector *find_neuron_bar(const struct net *n, const struct frame *f, int i) {
    return f->gradient + n->matrix[NEURONS].gradient + i * n->matrix[NEURONS].columns;
}

static struct links sensory_links(const struct net *n) {
    if (n->spread) return (struct links){.end = n->width, .kind = SENSORY};
    return (struct links){0, n->sensory, 0, n->inputs, 0, SENSORY};
}

static struct links inner_links(const struct net *n) {
    const int sources = n->inputs + n->width;
    if (n->spread) return (struct links){.end = n->width, .kind = OWN};
    return (struct links){n->sensory, n->matrix[LINKS].rows, n->inputs, sources, n->inputs, OWN};
}

/* Number of vectors of a sub-step: v, the sums at v, and for layered midpoint those at m. */
static int substep_vectors(const struct net *n) {
    const int evaluations = n->INTEGRATOR == BY_LAYERED_MIDPOINT ? 2 : 1;
    return n->width * (1 + evaluations * sums_of(n));
}

static const int64_t *layers_of(const struct net *n, int *layers) {
    const int64_t synapses = n->matrix[LINKS].rows;
    *layers = (int)((n->sequence->wiring_length - 2 * synapses) / LAYER_NUMBERS);
    return n->sequence->wiring + 2 * synapses;
}

/* Check that layers follow each other and hold all neurons, and that the synapses of a layer come
 * from the same or an earlier layer. */
static int check_layers(const struct net *n) {
    const int64_t synapses = n->matrix[LINKS].rows, inner = synapses - n->sensory;
    const int64_t *source = n->sequence->wiring, *target = source + synapses;
    int layers, fits = 1;
    int64_t next = 0, next_link = 0;
    const int64_t *layer = layers_of(n, &layers);
    for (int l = 0; l < layers && fits; l++, layer += LAYER_NUMBERS) {
        const int64_t first = layer[LAYER_FIRST], end = layer[LAYER_END];
        const int64_t start = layer[LAYER_LINKS], stop = layer[LAYER_LINKS_END];
        fits = first == next && end >= first && end <= n->width && start >= 0 && stop <= inner &&
               (start == stop || start == next_link);
        const int64_t known = layer[LAYER_IS_RECURRENT] ? end : first;
        for (int64_t s = n->sensory + start; s < n->sensory + stop && fits; s++)
            fits = target[s] >= first && target[s] < end && source[s] - n->inputs < known;
        next = end;
        if (start < stop) next_link = stop;
    }
    return fits && next == n->width && next_link == inner;
}

/* Check indices, so that a damaged wiring cannot cause access outside of an array. */
static int check_links(struct net *n) {
    const int64_t synapses = n->matrix[LINKS].rows, length = n->sequence->wiring_length;
    const int64_t *source = n->sequence->wiring, *target = source + synapses;
    const int is_layered = n->INTEGRATOR == BY_LAYERED_MIDPOINT;
    if (!source && n->sequence->batch == 0) return 1; /* nobody will read it */
    if (length < 2 * synapses || (length - 2 * synapses) % LAYER_NUMBERS) return 0;
    n->sensory = 0;
    for (int64_t s = 0; s < synapses; s++) {
        if (source[s] < 0 || source[s] >= n->inputs + n->width) return 0;
        if (target[s] < 0 || target[s] >= n->width) return 0;
        if (source[s] < n->inputs && n->sensory++ != s) return 0;
    }
    return !is_layered || check_layers(n);
}

static int synaptic_lay_out(struct net *n) {
    if (n->matrices != 2 || n->EQUATION < LTC || n->EQUATION > SYMMETRIC_LRC || n->UNFOLDS < 1 ||
        n->INTEGRATOR < BY_SEMI_IMPLICIT_EULER || n->INTEGRATOR > BY_LAYERED_MIDPOINT)
        return 0;
    struct matrix *links = &n->matrix[LINKS], *neurons = &n->matrix[NEURONS];
    links->is_summed = neurons->is_summed = 1;
    links->order = AS_SYNAPSES;
    neurons->order = AS_STATE;
    n->start = links->x = give(&n->record, n->inputs);
    links->y_bar = give(&n->bars, n->width * sums_of(n));
    give(&n->record, substep_vectors(n) * (int)n->UNFOLDS);
    n->scratch = n->width * (2 + 3 * sums_of(n));
    return links->columns == WEIGHT + sums_of(n) && neurons->rows == n->width &&
           neurons->columns == count_neuron_columns(equation_of(n)) && (n->spread || check_links(n));
}

/* The relaxation of a neuron over the time h, by one of the Euler methods. */
static inline struct relaxation make_euler(const struct net *n, struct flow flow,
                                           vector time_per_c) {
    struct relaxation r = {flow.conductance, flow.drive * reciprocal(flow.conductance),
                           least(1, time_per_c * flow.conductance)};
    return n->INTEGRATOR == BY_EXPLICIT_EULER ? r : make_relaxation(flow, time_per_c);
}

static inline vector advance(const struct net *n, vector capacitance, struct flow flow, vector h,
                             vector v) {
    if (n->INTEGRATOR == BY_SEMI_IMPLICIT_EULER) {
        const vector d = capacitance + h * flow.conductance;
        return v + h * ((flow.drive - flow.conductance * v) * reciprocal(d));
    }
    return relaxed(make_euler(n, flow, h / capacitance), v);
}

/* Arguments of the adjoint of a neuron over the time h: its relaxation data, and derivatives. */
struct retreat {
    vector capacitance, h, v, *v_bar, *capacitance_bar, h_bar;
};

/* The adjoint of a relaxation, given the derivative `end_bar` of its result; see the top. */
static inline struct flow relaxation_retreat(struct retreat *m, struct relaxation r, vector slope,
                                             vector end_bar) {
    const vector g = end_bar * (r.resting - m->v) * slope / m->capacitance;
    const vector drive_bar = end_bar * r.fraction * reciprocal(r.conductance);
    *m->capacitance_bar -= m->h * g * r.conductance / m->capacitance;
    m->h_bar += g * r.conductance;
    *m->v_bar += end_bar - end_bar * r.fraction;
    return (struct flow){m->h * g - drive_bar * r.resting, drive_bar};
}

static inline struct flow euler_retreat(const struct net *n, struct retreat *m, struct flow flow,
                                        vector end_bar) {
    if (n->INTEGRATOR == BY_SEMI_IMPLICIT_EULER) {
        const vector share = reciprocal(m->capacitance + m->h * flow.conductance);
        const vector y = (flow.drive - flow.conductance * m->v) * share, q = end_bar * share;
        const vector drive_bar = m->h * q;
        *m->capacitance_bar -= drive_bar * y;
        m->h_bar += q * m->capacitance * y;
        *m->v_bar += q * m->capacitance;
        return (struct flow){-drive_bar * (m->v + m->h * y), drive_bar};
    }
    const vector time_per_c = m->h / m->capacitance, z = time_per_c * flow.conductance;
    const struct relaxation r = make_euler(n, flow, time_per_c);
    const vector one = broadcast(1), zero = {0};
    vector slope = 1 - r.fraction;
    if (n->INTEGRATOR == BY_EXPLICIT_EULER) slope = WHERE(z > one, zero, one);
    return relaxation_retreat(m, r, slope, end_bar);
}

/* Compute the contributions of leak and inputs to the sums, which do not depend on potentials. */
static void hold_inputs(const struct net *n, const vector *x, vector *held) {
    const int sums = sums_of(n);
    for (int i = 0; i < n->width; i++)
        for (int k = 0; k < sums; k++) held[i * sums + k] = column(find_neuron(n, i), LEAK + k);
    add_links(n, sensory_links(n), x, held, sums);
}

/* One sub-step of one of the Euler methods; `v` is its record. */
static void euler_substep(const struct net *n, struct frame *f, vector h, vector *v) {
    const int sums = sums_of(n);
    vector *sum = v + n->width;
    memcpy(sum, f->scratch, n->width * sums * sizeof(vector));
    add_links(n, inner_links(n), v, sum, sums);
    for (int i = 0; i < n->width; i++) {
        const struct neuron_row neuron = find_neuron(n, i);
        const struct flow flow = close_sums(equation_of(n), neuron, sum + i * sums);
        f->state[i] = advance(n, column(neuron, CAPACITANCE), flow, h, v[i]);
    }
}

/* Adjoint of a sub-step; add the derivatives of the constant sums to `held_bar`. */
static void euler_substep_adjoint(const struct net *n, struct frame *f, struct retreat *m,
                                  const vector *v, vector *held_bar, vector *sum_bar) {
    const int sums = sums_of(n);
    const vector *kept = v + n->width;
    for (int i = 0; i < n->width; i++) {
        const struct neuron_row neuron = find_neuron(n, i);
        vector *neuron_bar = find_neuron_bar(n, f, i);
        const vector end_bar = f->state_bar[i];
        f->state_bar[i] = (vector){0};
        m->capacitance = column(neuron, CAPACITANCE);
        m->capacitance_bar = neuron_bar + CAPACITANCE;
        m->v = v[i];
        m->v_bar = &f->state_bar[i];
        const struct flow flow = find_flow(equation_of(n), neuron, kept + i * sums);
        close_adjoint(equation_of(n), neuron, kept + i * sums, euler_retreat(n, m, flow, end_bar),
                      sum_bar + i * sums, neuron_bar);
    }
    for (int k = 0; k < n->width * sums; k++) held_bar[k] += sum_bar[k];
    lead_links_back(n, inner_links(n), v, f->state_bar, sum_bar, f->gradient, sums);
}

#include "synaptic_midpoint.h"

static void synaptic_forward(const struct net *n, struct frame *f) {
    const vector h = least(LONGEST_FRAMES, f->frames / (real)n->UNFOLDS);
    vector *x = f->record + n->start, *v = x + n->inputs;
    memcpy(x, f->input, n->inputs * sizeof(vector));
    hold_inputs(n, x, f->scratch);
    for (int unfold = 0; unfold < n->UNFOLDS; unfold++, v += substep_vectors(n)) {
        memcpy(v, f->state, n->width * sizeof(vector));
        if (n->INTEGRATOR == BY_LAYERED_MIDPOINT)
            midpoint_substep(n, f, h, v);
        else
            euler_substep(n, f, h, v);
    }
}

static void synaptic_adjoint(const struct net *n, struct frame *f) {
    const int width = n->width * sums_of(n);
    const vector *x = f->record + n->start;
    vector *held_bar = f->bars + n->matrix[LINKS].y_bar, *others = f->scratch;
    struct retreat m = {.h = least(LONGEST_FRAMES, f->frames / (real)n->UNFOLDS), .h_bar = {0}};
    memset(held_bar, 0, width * sizeof(vector));
    for (int unfold = (int)n->UNFOLDS - 1; unfold >= 0; unfold--) {
        const vector *v = x + n->inputs + unfold * substep_vectors(n);
        if (n->INTEGRATOR == BY_LAYERED_MIDPOINT)
            midpoint_substep_adjoint(n, f, &m, v, held_bar, others);
        else
            euler_substep_adjoint(n, f, &m, v, held_bar, others);
    }
    f->frames_bar += m.h_bar / (real)n->UNFOLDS;
}

/* Adjoint of the synapses from inputs, and of the sums without any synapse. */
static void synaptic_finish(const struct net *n, struct frames f, vector *input_bar,
                            vector *gradient) {
    const int sums = sums_of(n), columns = n->matrix[NEURONS].columns;
    vector *neuron_bar = gradient + n->matrix[NEURONS].gradient;
    for (int t = 0; t < f.count; t++) {
        const vector *held_bar = f.bars + t * f.bars_step + n->matrix[LINKS].y_bar;
        for (int i = 0; i < n->width; i++)
            for (int k = 0; k < sums; k++)
                neuron_bar[i * columns + LEAK + k] += held_bar[i * sums + k];
    }
    lead_inputs_back(n, f, input_bar, gradient, sums);
}

/* Make the plan of the synapses, which places the neurons. */
static int synaptic_spread(const struct net *n, struct spread *to) {
    const int is_layered = n->INTEGRATOR == BY_LAYERED_MIDPOINT;
    const int64_t synapses = n->matrix[LINKS].rows, *wiring = n->sequence->wiring;
    int layers = 0;
    const int64_t *layer = layers_of(n, &layers);
    int64_t *given = allocate(3 * layers * sizeof *given);
    if (!given) return -OUT_OF_MEMORY;
    for (int l = 0; l < layers; l++, layer += LAYER_NUMBERS)
        memcpy(given + 3 * l, layer, 3 * sizeof *given); /* first, end, whether it is recurrent */
    const struct sequence q = {.inputs = n->inputs, .neurons = n->width, .synapses = synapses,
                               .layers = layers, .unfolds = 1, .source = wiring,
                               .target = wiring + synapses, .layer = given,
                               .integrator = is_layered ? LAYERED_MIDPOINT : SEMI_IMPLICIT_EULER};
    struct circuit circuit = {0};
    int status = make_wiring(&circuit, &q);
    if (status == OK) status = make_plan(&to->plan, &circuit);
    for (int i = 0; i < n->width && status == OK; i++) to->place[i] = circuit.neuron[i].at;
    free_circuit(&circuit);
    release(given);
    return status == OK ? to->plan.groups : -status;
}

static const struct cell synaptic_cell = {synaptic_lay_out, synaptic_forward, synaptic_adjoint,
                                          synaptic_finish, synaptic_spread};

#endif
