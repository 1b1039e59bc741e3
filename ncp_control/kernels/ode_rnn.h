/* The ODE-RNN; equations in ncp_control/cells/ctrnn.py.
 *
 * Matrices: [A | a] and [B | c] of the field, both over [units | 1], then those of a GRU over the
 * inputs. Options: sub-steps per frame.
 *
 * Sub-steps, stages and adjoint are those of neural_ode.h, with k = tanh(B y + c), y = tanh(A x + a).
 */

#ifndef NCP_ODE_RNN_H
#define NCP_ODE_RNN_H

#include "gated.h"
#include "neural_ode.h"

enum { FIELD_FIRST, FIELD_SECOND, FIELD_MATRICES };

/* The record: the record of the GRU; then [x | 1], [y | 1] and k of every stage. */
static int ode_rnn_lay_out(struct net *n) {
    struct net *gru = n->inner;
    const int units = n->width, stages = STAGES * (int)n->ODE_UNFOLDS;
    if (n->matrices <= FIELD_MATRICES) return 0;
    nest(n, &gru_cell, units, FIELD_MATRICES, MOST_OPTIONS);
    if (!gru_cell.lay_out(gru)) return 0;
    n->record = gru->record;
    n->bars = gru->bars;
    n->scratch = gru->scratch > 4 * units ? gru->scratch : 4 * units;
    n->start = give(&n->record, stages * (3 * units + 2));
    int fits = stages > 0;
    for (int k = 0; k < FIELD_MATRICES; k++) {
        struct matrix *m = &n->matrix[k];
        place_matrix(m, n->start + k * (units + 1), give(&n->bars, units * stages), units);
        m->uses = stages;
        m->x_step = 3 * units + 2;
        m->y_bar_step = units;
        fits = fits && m->rows == units && m->columns == units + 1;
    }
    return fits;
}

static void ode_rnn_forward(const struct net *n, struct frame *f) {
    const int units = n->width, unfolds = (int)n->ODE_UNFOLDS;
    const struct matrix *first = &n->matrix[FIELD_FIRST], *second = &n->matrix[FIELD_SECOND];
    vector *x = f->record + n->start, *v = f->scratch;
    const vector h = f->frames / (real)unfolds;
    for (int unfold = 0; unfold < unfolds; unfold++) {
        memcpy(v, f->state, units * sizeof(vector));
        for (int s = 0; s < STAGES; s++, x += first->x_step) {
            vector *y = x + units + 1, *k = y + units + 1;
            const vector reach = stage_reach[s] * h, *before = k - first->x_step;
            memcpy(x, v, units * sizeof(vector));
            for (int i = 0; i < units && s; i++) x[i] += reach * before[i];
            x[units] = y[units] = broadcast(1);
            apply(first, x, y);
            for (int i = 0; i < units; i++) y[i] = hyperbolic_tangent(y[i]);
            apply(second, y, k);
            for (int i = 0; i < units; i++) {
                k[i] = hyperbolic_tangent(k[i]);
                f->state[i] += stage_weight[s] * h * k[i];
            }
        }
    }
    n->inner->cell->forward(n->inner, f);
}

static void ode_rnn_adjoint(const struct net *n, struct frame *f) {
    const int units = n->width, unfolds = (int)n->ODE_UNFOLDS;
    const struct matrix *first = &n->matrix[FIELD_FIRST], *second = &n->matrix[FIELD_SECOND];
    vector *end_bar = f->scratch, *x_bar = end_bar + units, h_bar = {0};
    const vector h = f->frames / (real)unfolds;
    n->inner->cell->adjoint(n->inner, f);
    for (int stage = STAGES * unfolds - 1; stage >= 0; stage--) {
        const int s = stage % STAGES;
        const vector *x = f->record + n->start + stage * first->x_step;
        const vector *y = x + units + 1, *k = y + units + 1;
        vector *y_bar = f->bars + first->y_bar + stage * units;
        vector *k_bar = f->bars + second->y_bar + stage * units;
        if (s == STAGES - 1) {
            memcpy(end_bar, f->state_bar, units * sizeof(vector));
            memset(x_bar, 0, units * sizeof(vector));
        }
        for (int i = 0; i < units; i++) {
            const vector bar = stage_weight[s] * end_bar[i] + stage_reach[s + 1] * x_bar[i];
            h_bar += k[i] * bar;
            k_bar[i] = h * bar * (1 - k[i] * k[i]);
        }
        lead_back(second, k_bar, x_bar);
        for (int i = 0; i < units; i++) y_bar[i] = x_bar[i] * (1 - y[i] * y[i]);
        lead_back(first, y_bar, x_bar);
        for (int i = 0; i < units; i++) f->state_bar[i] += x_bar[i];
    }
    f->frames_bar += h_bar / (real)unfolds;
}

static const struct cell ode_rnn_cell = {ode_rnn_lay_out, ode_rnn_forward, ode_rnn_adjoint};

#endif
