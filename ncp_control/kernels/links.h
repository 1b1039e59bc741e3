/* Synapses of a block whose parameters are columns of a matrix, and their adjoint.
 *
 * A synapse j → i with the columns γ, c, w, k and (for some equations) o opens by s = σ(γ x_j + c)
 * and adds w s, k s and o x_j to the sums f, u and y of its target. With d = (w f̄ + k ū) s (1 − s):
 *     γ̄ = Σ d x_j   c̄ = Σ d   w̄ = Σ f̄ s   k̄ = Σ ū s   ō = Σ ȳ x_j   x̄_j = Σ γ d + o ȳ
 */

#ifndef NCP_LINKS_H
#define NCP_LINKS_H

#include "net.h"

enum { GAMMA, SHIFT, WEIGHT }; /* columns; from WEIGHT on, one for each sum */

/* The synapses among first … end − 1 whose source is among from … to − 1. Sources count inputs
 * first, then neurons; `signal` begins at the source `base`. */
struct links {
    int first, end, from, to, base;
    enum kind kind; /* in a control step: kind of synapses of the groups first … end − 1 */
};

static inline __attribute__((always_inline)) void add_some_links(const struct net *n,
                                                                 struct links l,
                                                                 const vector *signal, vector *sum,
                                                                 const int sums) {
    const struct matrix *m = &n->matrix[0];
    const int64_t *source = n->sequence->wiring, *target = source + m->rows;
    for (int s = l.first; s < l.end; s++) {
        if (source[s] < l.from || source[s] >= l.to) continue;
        const real *link = m->weight + s * (WEIGHT + sums);
        const vector x = signal[source[s] - l.base], opening = sigmoid(x * link[GAMMA] + link[SHIFT]);
        vector *to = sum + target[s] * sums;
        to[0] += opening * link[WEIGHT];
        to[1] += opening * link[WEIGHT + 1];
        if (sums == 3) to[2] += x * link[WEIGHT + 2];
    }
}

/* Like `add_links` in a control step, one row of LANES synapses at a time. */
static inline __attribute__((always_inline)) void add_some_rows(const struct net *n,
                                                                struct links l,
                                                                const vector *signal, vector *sum,
                                                                const int sums) {
    const struct plan *plan = &n->spread->plan;
    for (int g = l.first; g < l.end; g++) {
        const struct group *group = &plan->group[g];
        const struct rows rows = l.kind == SENSORY   ? group->sensory
                                 : l.kind == EARLIER ? group->earlier
                                                     : group->own;
        const real *table = (const real *)signal + rows.table;
        vector of_lanes[3][2] = {0}; /* `pick` reads two vectors: the second is zero */
        for (int k = rows.row; k < rows.row_end; k++) {
            const int32_t *source = plan->source + k * LANES;
            const vector *link = n->matrix[0].across + k * (WEIGHT + sums);
            const vector x = rows.is_near ? pick(table, source) : gather(table, source);
            const vector opening = sigmoid(x * link[GAMMA] + link[SHIFT]);
            of_lanes[0][0] += opening * link[WEIGHT];
            of_lanes[1][0] += opening * link[WEIGHT + 1];
            if (sums == 3) of_lanes[2][0] += x * link[WEIGHT + 2];
        }
        for (int fold = rows.fold; fold < rows.fold_end; fold++)
            UNROLL for (int k = 0; k < sums; k++) sum[g * sums + k] +=
                pick((const real *)of_lanes[k], plan->lane + fold * LANES);
    }
}

/* Add the contributions of the synapses to the sums of their targets. */
static void add_links(const struct net *n, struct links l, const vector *signal, vector *sum,
                      int sums) {
    if (n->spread && sums == 2)
        add_some_rows(n, l, signal, sum, 2);
    else if (n->spread)
        add_some_rows(n, l, signal, sum, 3);
    else if (sums == 2)
        add_some_links(n, l, signal, sum, 2);
    else
        add_some_links(n, l, signal, sum, 3);
}

/* The derivatives of a synapse's parameters, and of its presynaptic signal. */
struct link_bar {
    vector slope, shift, weight[3], signal;
};

static inline __attribute__((always_inline)) void lead_link_back(const real *link, vector x,
                                                                 const vector *sum_bar,
                                                                 struct link_bar *b,
                                                                 const int sums) {
    const vector opening = sigmoid(x * link[GAMMA] + link[SHIFT]);
    const vector opening_bar =
        (sum_bar[0] * link[WEIGHT] + sum_bar[1] * link[WEIGHT + 1]) * opening;
    const vector d = opening_bar - opening_bar * opening;
    b->slope += d * x;
    b->shift += d;
    b->weight[0] += sum_bar[0] * opening;
    b->weight[1] += sum_bar[1] * opening;
    b->signal = d * link[GAMMA];
    if (sums == 3) b->weight[2] += sum_bar[2] * x;
    if (sums == 3) b->signal += sum_bar[2] * link[WEIGHT + 2];
}

static inline __attribute__((always_inline)) void add_link_bar(vector *to,
                                                               const struct link_bar *b,
                                                               const int sums) {
    to[GAMMA] += b->slope;
    to[SHIFT] += b->shift;
    UNROLL for (int k = 0; k < sums; k++) to[WEIGHT + k] += b->weight[k];
}

static inline __attribute__((always_inline)) void lead_some_links_back(
    const struct net *n, struct links l, const vector *signal, vector *signal_bar,
    const vector *sum_bar, vector *gradient, const int sums) {
    const struct matrix *m = &n->matrix[0];
    const int64_t *source = n->sequence->wiring, *target = source + m->rows;
    for (int s = l.first; s < l.end; s++) {
        if (source[s] < l.from || source[s] >= l.to) continue;
        struct link_bar b = {0};
        const int at = s * (WEIGHT + sums);
        lead_link_back(m->weight + at, signal[source[s] - l.base], sum_bar + target[s] * sums, &b,
                       sums);
        add_link_bar(gradient + m->gradient + at, &b, sums);
        signal_bar[source[s] - l.base] += b.signal;
    }
}

/* From the derivatives of the sums, add to those of the signals and of the synapses' parameters. */
static void lead_links_back(const struct net *n, struct links l, const vector *signal,
                            vector *signal_bar, const vector *sum_bar, vector *gradient, int sums) {
    if (sums == 2)
        lead_some_links_back(n, l, signal, signal_bar, sum_bar, gradient, 2);
    else
        lead_some_links_back(n, l, signal, signal_bar, sum_bar, gradient, 3);
}

static inline __attribute__((always_inline)) void lead_some_inputs_back(
    const struct net *n, struct frames f, vector *input_bar, vector *gradient, const int sums) {
    const struct matrix *m = &n->matrix[0];
    const int64_t *source = n->sequence->wiring, *target = source + m->rows;
    for (int s = 0; s < n->sensory; s++) {
        const vector *x = f.record + m->x + source[s];
        const vector *sum_bar = f.bars + m->y_bar + target[s] * sums;
        vector *x_bar = input_bar + source[s];
        struct link_bar b = {0};
        const int at = s * (WEIGHT + sums);
        for (int t = 0; t < f.count; t++) {
            lead_link_back(m->weight + at, *x, sum_bar, &b, sums);
            *x_bar += b.signal;
            x += f.record_step;
            sum_bar += f.bars_step;
            x_bar += n->inputs;
        }
        add_link_bar(gradient + m->gradient + at, &b, sums);
    }
}

/* The same for synapses from inputs, which are constant during a frame: several frames at once. */
static void lead_inputs_back(const struct net *n, struct frames f, vector *input_bar,
                             vector *gradient, int sums) {
    if (sums == 2)
        lead_some_inputs_back(n, f, input_bar, gradient, 2);
    else
        lead_some_inputs_back(n, f, input_bar, gradient, 3);
}

#endif
