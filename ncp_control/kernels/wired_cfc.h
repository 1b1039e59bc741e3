/* The closed-form neuron over a wiring; equations in ncp_control/cells/wired_cfc.py.
 *
 * Matrices: one per layer of the wiring, over [state | inputs | 1], with the rows of its heads, 0
 * where there is no synapse; in pure mode then w and A of all neurons. The layers are updated in
 * order: each sees the new states of earlier layers. Option: mode.
 */

#ifndef NCP_WIRED_CFC_H
#define NCP_WIRED_CFC_H

#include "cfc.h"

static int wired_heads(const struct net *n) { return n->CFC_MODE == CFC_PURE ? 1 : 4; }

/* Record of a layer: x, then the values that `cfc_close` or `cfc_close_pure` keeps. */
static int wired_lay_out(struct net *n) {
    const int layers = cfc_layers(n), columns = n->width + n->inputs + 1;
    int neurons = 0, fits = layers > 0;
    n->start = n->record;
    n->scratch = columns;
    for (int l = 0; l < layers; l++) {
        struct matrix *m = &n->matrix[l];
        const int kept = n->CFC_MODE == CFC_PURE ? 2 * m->rows : m->rows;
        place_matrix(m, give(&n->record, columns + kept), give(&n->bars, m->rows),
                     led_back(n, n->width));
        m->blocks = wired_heads(n);
        m->sees_state = 1;
        fits = fits && m->columns == columns && m->rows % wired_heads(n) == 0;
        neurons += m->rows / wired_heads(n);
    }
    fits = fits && neurons == n->width;
    if (n->CFC_MODE != CFC_PURE) return fits;
    const int one = n->start + columns - 1;
    return fits && place_parameters(n, &n->matrix[layers], n->width, one) &&
           place_parameters(n, &n->matrix[layers + 1], n->width, one);
}

static void wired_forward(const struct net *n, struct frame *f) {
    for (int l = 0, first = 0; l < cfc_layers(n); l++) {
        const struct matrix *m = &n->matrix[l];
        const int units = m->rows / wired_heads(n);
        vector *x = f->record + m->x, *y = x + m->columns;
        join(n, f, f->state, n->width, x);
        apply(m, x, y);
        close_units(n, f, y, first, units);
        first += units;
    }
}

static void wired_adjoint(const struct net *n, struct frame *f) {
    for (int l = cfc_layers(n) - 1, end = n->width; l >= 0; l--) {
        const struct matrix *m = &n->matrix[l];
        const int units = m->rows / wired_heads(n), first = end - units;
        vector *bar = f->bars + m->y_bar;
        close_units_adjoint(n, f, f->record + m->x + m->columns, bar, first, units);
        memset(f->state_bar + first, 0, units * sizeof(vector)); /* the old states were replaced */
        lead_back(m, bar, f->scratch);
        for (int i = 0; i < n->width; i++) f->state_bar[i] += f->scratch[i];
        add_input_bar(n, f, f->scratch + n->width);
        end = first;
    }
}

/* Each layer begins with a new vector. */
static int wired_spread(const struct net *n, struct spread *to) {
    int next = 0;
    for (int l = 0, first = 0; l < cfc_layers(n); l++) {
        const int units = n->matrix[l].rows / wired_heads(n);
        next = spread_block(to->place + first, units, next);
        first += units;
    }
    return next;
}

static const struct cell wired_cfc_cell = {wired_lay_out, wired_forward, wired_adjoint, NULL,
                                           wired_spread};

#endif
