/* The continuous-time gated recurrent unit; equations in ncp_control/cells/ctgru.py.
 *
 * Matrices: [U | W | b] over [h | inputs | 1] with the rows of ln τ_R and ln τ_S, and that of q
 * over [retrieved values | inputs | 1]. Option: number of scales per unit; the state holds the
 * traces grouped by unit.
 *
 * With a softmax p of d_m = (2 x − L_m) L_m, L_m = ln τ̃_m:  x̄ = Σ 2 L_m p_m (p̄_m − Σ p p̄)
 */

#ifndef NCP_CTGRU_H
#define NCP_CTGRU_H

#include "net.h"

enum { CTGRU_SCALES, CTGRU_EVENT };
#define NUM_SCALES option[0]
#define HALF_LOG_10 ((real)1.1512925464970229)

/* The record: [h | inputs | 1], [retrieved | inputs | 1], q, the decayed traces, the softmax of
 * retrieval of all units, and the softmax of storage of all units. */
static int ctgru_lay_out(struct net *n) {
    const int scales = (int)n->NUM_SCALES;
    if (n->matrices != 2 || scales < 1 || n->width % scales) return 0;
    const int units = n->width / scales, columns = units + n->inputs + 1;
    struct matrix *scale = &n->matrix[CTGRU_SCALES], *event = &n->matrix[CTGRU_EVENT];
    n->start = give(&n->record, 2 * columns + units + 3 * n->width);
    place_matrix(scale, n->start, give(&n->bars, 2 * units), led_back(n, units));
    place_matrix(event, n->start + columns, give(&n->bars, units), led_back(n, units));
    scale->blocks = 2;
    n->scratch = (columns > 2 * units ? columns : 2 * units) + n->width;
    return scale->rows == 2 * units && event->rows == units && scale->columns == columns &&
           event->columns == columns;
}

/* Return τ̃ of a scale in frames. */
static inline real scale_frames(int scale) { return (real)exp(HALF_LOG_10 * scale); }

/* Fraction of a trace that is left after the elapsed time. */
static inline vector fading(vector frames, int scale) {
    return exp2_below_limit(-LOG2_E * frames / scale_frames(scale));
}

static void softmax_of_scales(vector x, int scales, vector *p) {
    vector most = {0}, sum = {0};
    for (int m = 0; m < scales; m++) {
        const real log_scale = HALF_LOG_10 * m;
        p[m] = (2 * x - log_scale) * log_scale;
        most = m ? WHERE(p[m] <= most, most, p[m]) : p[0];
    }
    for (int m = 0; m < scales; m++) sum += p[m] = exp2_below_limit(LOG2_E * (p[m] - most));
    for (int m = 0; m < scales; m++) p[m] = p[m] / sum;
}

static vector softmax_of_scales_adjoint(const vector *p, const vector *p_bar, int scales) {
    vector mean = {0}, x_bar = {0};
    for (int m = 0; m < scales; m++) mean += p[m] * p_bar[m];
    for (int m = 0; m < scales; m++) x_bar += 2 * HALF_LOG_10 * m * p[m] * (p_bar[m] - mean);
    return x_bar;
}

static void ctgru_forward(const struct net *n, struct frame *f) {
    const int scales = (int)n->NUM_SCALES, units = n->width / scales;
    vector *x = f->record + n->start, *seen = x + n->matrix->columns;
    vector *q = seen + n->matrix->columns, *v = q + units;
    vector *retrieval = v + n->width, *storage = retrieval + n->width;
    vector *log_scale = f->scratch, *sums = log_scale + 2 * units;
    for (int m = 0; m < scales; m++) {
        const vector fade = fading(f->frames, m);
        for (int k = m; k < n->width; k += scales) v[k] = f->state[k] * fade;
    }
    for (int i = 0; i < units; i++) {
        sums[i] = (vector){0};
        for (int m = 0; m < scales; m++) sums[i] += v[i * scales + m];
    }
    join(n, f, sums, units, x);
    apply(&n->matrix[CTGRU_SCALES], x, log_scale);
    for (int i = 0; i < units; i++) {
        softmax_of_scales(log_scale[i], scales, retrieval + i * scales);
        softmax_of_scales(log_scale[units + i], scales, storage + i * scales);
        sums[i] = (vector){0};
        for (int k = i * scales; k < (i + 1) * scales; k++) sums[i] += retrieval[k] * v[k];
    }
    join(n, f, sums, units, seen);
    apply(&n->matrix[CTGRU_EVENT], seen, q);
    for (int i = 0; i < units; i++) {
        q[i] = hyperbolic_tangent(q[i]);
        for (int k = i * scales; k < (i + 1) * scales; k++)
            f->state[k] = v[k] + storage[k] * (q[i] - v[k]);
    }
}

static void ctgru_adjoint(const struct net *n, struct frame *f) {
    const int scales = (int)n->NUM_SCALES, units = n->width / scales;
    const vector *q = f->record + n->start + 2 * n->matrix->columns, *v = q + units;
    const vector *retrieval = v + n->width, *storage = retrieval + n->width;
    vector *scale_bar = f->bars + n->matrix[CTGRU_SCALES].y_bar;
    vector *q_bar = f->bars + n->matrix[CTGRU_EVENT].y_bar;
    vector *p_bar = f->scratch, *x_bar = p_bar + n->width;
    for (int i = 0; i < units; i++) {
        const int first = i * scales;
        vector sum = {0};
        for (int k = first; k < first + scales; k++) {
            const vector bar = f->state_bar[k];
            sum += bar * storage[k];
            p_bar[k] = bar * (q[i] - v[k]);
            f->state_bar[k] = bar * (1 - storage[k]);
        }
        q_bar[i] = sum * (1 - q[i] * q[i]);
        scale_bar[units + i] = softmax_of_scales_adjoint(storage + first, p_bar + first, scales);
    }
    lead_back(&n->matrix[CTGRU_EVENT], q_bar, x_bar);
    add_input_bar(n, f, x_bar + units);
    for (int i = 0; i < units; i++) {
        const int first = i * scales;
        for (int k = first; k < first + scales; k++) {
            p_bar[k] = x_bar[i] * v[k];
            f->state_bar[k] += x_bar[i] * retrieval[k];
        }
        scale_bar[i] = softmax_of_scales_adjoint(retrieval + first, p_bar + first, scales);
    }
    lead_back(&n->matrix[CTGRU_SCALES], scale_bar, x_bar);
    add_input_bar(n, f, x_bar + units);
    for (int m = 0; m < scales; m++) {
        const vector fade = fading(f->frames, m);
        for (int i = 0; i < units; i++) {
            const int k = i * scales + m;
            const vector bar = f->state_bar[k] + x_bar[i];
            f->frames_bar -= bar * v[k] / scale_frames(m);
            f->state_bar[k] = bar * fade;
        }
    }
}

/* LANES units side by side, one scale after another. */
static int ctgru_spread(const struct net *n, struct spread *to) {
    const int scales = (int)n->NUM_SCALES;
    for (int k = 0; k < n->width; k++) {
        const int unit = k / scales, first = unit / LANES * scales + k % scales;
        to->place[k] = first * LANES + unit % LANES;
    }
    return count_vectors(n->width / scales) * scales;
}

static const struct cell ctgru_cell = {ctgru_lay_out, ctgru_forward, ctgru_adjoint, NULL,
                                       ctgru_spread};

#endif
