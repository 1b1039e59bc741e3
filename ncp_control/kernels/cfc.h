/* The closed-form continuous-time neuron; equations and symbols in ncp_control/cells/cfc.py.
 *
 * Matrices: the layers of the backbone and the heads, the first over [state | inputs | 1], the
 * others over [features | 1]; in pure mode also w and A, a column each.
 * Options: mode, activation.
 *
 * With p = tanh f, q = tanh g, s = σ(a t + b):
 *     v = p + s (q − k p) with k = 1 by default and k = 0 in mode no_gate:
 *              f̄ = v̄ (1 − k s)(1 − p²)   ḡ = v̄ s (1 − q²)
 *              b̄ = v̄ (q − k p) s (1 − s)   ā = b̄ t   t̄ = Σ b̄ a
 *     pure     v = A (1 − f E), E = exp(−r t), r = |w| + |f|.  With d = v̄ A f E:
 *              f̄ = d t sign f − v̄ A E   w̄ = d t sign w   Ā = v̄ (1 − f E)   t̄ = Σ d r
 */

#ifndef NCP_CFC_H
#define NCP_CFC_H

#include "net.h"

enum { CFC_DEFAULT, CFC_NO_GATE, CFC_PURE };
#define CFC_MODE option[0]
#define CFC_ACTIVATION option[1]

static int cfc_layers(const struct net *n) {
    return n->matrices - (n->CFC_MODE == CFC_PURE ? 2 : 0);
}

/* Record of a layer's y: slopes of the activation, then the next layer's x. */
static int cfc_lay_out(struct net *n) {
    const int layers = cfc_layers(n), heads = n->CFC_MODE == CFC_PURE ? 1 : 4;
    int width = n->width + n->inputs, fits = layers > 0;
    int x = n->start = give(&n->record, width + 1);
    for (int l = 0; l < layers; l++) {
        struct matrix *m = &n->matrix[l];
        place_matrix(m, x, give(&n->bars, m->rows), l ? width : led_back(n, n->width));
        fits = fits && m->columns == width + 1;
        width = m->rows;
        x = give(&n->record, width) + width;
        if (l < layers - 1) give(&n->record, width + 1);
        if (n->scratch < width) n->scratch = width;
    }
    if (n->scratch < n->width + n->inputs) n->scratch = n->width + n->inputs;
    fits = fits && width == heads * n->width;
    if (layers > 0) n->matrix[layers - 1].blocks = heads;
    if (n->CFC_MODE != CFC_PURE) return fits;
    const int one = n->start + n->width + n->inputs;
    give(&n->record, n->width);
    return fits && place_parameters(n, &n->matrix[layers], n->width, one) &&
           place_parameters(n, &n->matrix[layers + 1], n->width, one);
}

/* Replace f, g, a and b of some units by p, q, a and s, which the adjoint needs. */
static void cfc_close(const struct net *n, struct frame *f, vector *y, int first, int units) {
    const real kept = n->CFC_MODE == CFC_DEFAULT ? 1 : 0;
    for (int i = 0; i < units; i++) {
        const vector p = hyperbolic_tangent(y[i]), q = hyperbolic_tangent(y[units + i]);
        const vector s = sigmoid(y[3 * units + i] + y[2 * units + i] * f->frames);
        y[i] = p;
        y[units + i] = q;
        y[3 * units + i] = s;
        f->state[first + i] = p + s * (q - kept * p);
    }
}

static void cfc_close_adjoint(const struct net *n, struct frame *f, const vector *y, vector *bar,
                              int first, int units) {
    const real kept = n->CFC_MODE == CFC_DEFAULT ? 1 : 0;
    for (int i = 0; i < units; i++) {
        const vector p = y[i], q = y[units + i], a = y[2 * units + i], s = y[3 * units + i];
        const vector v_bar = f->state_bar[first + i];
        const vector b_bar = v_bar * (q - kept * p) * s * (1 - s);
        bar[i] = v_bar * (1 - kept * s) * (1 - p * p);
        bar[units + i] = v_bar * s * (1 - q * q);
        bar[2 * units + i] = b_bar * f->frames;
        bar[3 * units + i] = b_bar;
        f->frames_bar += b_bar * a;
    }
}

static inline vector size_of(vector x) { return WHERE(x < 0, -x, x); }

/* The derivative of |x|, 0 at 0. */
static inline vector sign_of(vector x) {
    return WHERE(x < 0, broadcast(-1), WHERE(x > 0, broadcast(1), (vector){0}));
}

/* Keep f, followed by E. */
static void cfc_close_pure(const struct net *n, struct frame *f, vector *y, int first, int units) {
    const struct matrix *leak = &n->matrix[n->matrices - 2], *amplitude = leak + 1;
    for (int i = 0; i < units; i++) {
        const vector most = entry(amplitude, first + i, 0);
        const vector rate = size_of(entry(leak, first + i, 0)) + size_of(y[i]);
        const vector decay = exp2_below_limit(-LOG2_E * (rate * f->frames));
        y[units + i] = decay;
        f->state[first + i] = most - most * decay * y[i];
    }
}

static void cfc_close_pure_adjoint(const struct net *n, struct frame *f, const vector *y,
                                   vector *bar, int first, int units) {
    const struct matrix *leak = &n->matrix[n->matrices - 2], *amplitude = leak + 1;
    for (int i = 0; i < units; i++) {
        const int unit = first + i;
        const vector w = broadcast(leak->weight[unit]), v_bar = f->state_bar[unit];
        const vector decay = y[units + i], scaled = v_bar * amplitude->weight[unit] * decay;
        const vector d = scaled * y[i], d_t = d * f->frames;
        bar[i] = d_t * sign_of(y[i]) - scaled;
        f->bars[leak->y_bar + unit] = d_t * sign_of(w);
        f->bars[amplitude->y_bar + unit] = v_bar * (1 - decay * y[i]);
        f->frames_bar += d * (size_of(w) + size_of(y[i]));
    }
}

/* Compute the new state of some units, given their heads. */
static void close_units(const struct net *n, struct frame *f, vector *y, int first, int units) {
    (n->CFC_MODE == CFC_PURE ? cfc_close_pure : cfc_close)(n, f, y, first, units);
}

static void close_units_adjoint(const struct net *n, struct frame *f, const vector *y, vector *bar,
                                int first, int units) {
    if (n->CFC_MODE == CFC_PURE)
        cfc_close_pure_adjoint(n, f, y, bar, first, units);
    else
        cfc_close_adjoint(n, f, y, bar, first, units);
}

static void cfc_forward(const struct net *n, struct frame *f) {
    const int layers = cfc_layers(n);
    vector *x = f->record + n->start, *y = x + n->width + n->inputs + 1;
    join(n, f, f->state, n->width, x);
    for (int l = 0; l < layers; l++) {
        const int width = n->matrix[l].rows;
        apply(&n->matrix[l], x, y);
        if (l == layers - 1) break;
        x = y + width;
        for (int i = 0; i < width; i++) x[i] = activate((int)n->CFC_ACTIVATION, y[i], &y[i]);
        x[width] = broadcast(1);
        y = x + width + 1;
    }
    close_units(n, f, y, 0, n->width);
}

static void cfc_adjoint(const struct net *n, struct frame *f) {
    const int layers = cfc_layers(n);
    const struct matrix *last = &n->matrix[layers - 1];
    vector *bar = f->bars + last->y_bar, *x_bar = f->scratch;
    close_units_adjoint(n, f, f->record + last->x + last->columns, bar, 0, n->width);
    for (int l = layers - 1; l > 0; l--) {
        const int width = n->matrix[l - 1].rows;
        const vector *slope = f->record + n->matrix[l].x - width;
        lead_back(&n->matrix[l], bar, x_bar);
        bar = f->bars + n->matrix[l - 1].y_bar;
        for (int i = 0; i < width; i++) bar[i] = x_bar[i] * slope[i];
    }
    lead_back(&n->matrix[0], bar, x_bar);
    memcpy(f->state_bar, x_bar, n->width * sizeof(vector));
    add_input_bar(n, f, x_bar + n->width);
}

static const struct cell cfc_cell = {cfc_lay_out, cfc_forward, cfc_adjoint};

#endif
