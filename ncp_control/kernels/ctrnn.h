/* The leaky continuous-time network; equations and symbols in ncp_control/cells/ctrnn.py.
 *
 * Matrices: [W | b] over [inputs | 1], U over the state, and τ in frames, a column.
 * Options: sub-steps per frame.
 *
 * A sub-step of h frames: v' = v + s (y − v), y = tanh(W u + b + U v), s = 1 − exp(−h / τ):
 *     ȳ = v̄' s   s̄ = v̄' (y − v)   x̄ = ȳ (1 − y²)   v̄ = v̄' (1 − s) + Uᵀ x̄
 *     τ̄ = −Σ s̄ (1 − s) h / τ²     h̄ = Σ s̄ (1 − s) / τ
 */

#ifndef NCP_CTRNN_H
#define NCP_CTRNN_H

#include "net.h"

enum { CTRNN_INPUT, CTRNN_STATE, CTRNN_TIME };
#define CTRNN_UNFOLDS option[0]

/* The record: [u | 1], s, and v and y of every sub-step. */
static int ctrnn_lay_out(struct net *n) {
    if (n->matrices != 3) return 0;
    struct matrix *input = &n->matrix[CTRNN_INPUT], *state = &n->matrix[CTRNN_STATE];
    const int units = n->width, unfolds = (int)n->CTRNN_UNFOLDS;
    n->start = give(&n->record, n->inputs + 1);
    give(&n->record, units);
    place_matrix(input, n->start, give(&n->bars, units), led_back(n, 0));
    place_matrix(state, n->record, give(&n->bars, units * unfolds), units);
    give(&n->record, 2 * units * unfolds);
    state->uses = unfolds;
    state->x_step = 2 * units;
    state->y_bar_step = units;
    n->scratch = n->inputs > 2 * units ? n->inputs : 2 * units;
    return unfolds > 0 && input->rows == units && input->columns == n->inputs + 1 &&
           state->rows == units && state->columns == units &&
           place_parameters(n, &n->matrix[CTRNN_TIME], units, n->start + n->inputs);
}

static void ctrnn_forward(const struct net *n, struct frame *f) {
    const int units = n->width, unfolds = (int)n->CTRNN_UNFOLDS;
    const struct matrix *time = &n->matrix[CTRNN_TIME];
    vector *u = f->record + n->start, *share = u + n->inputs + 1, *v = share + units;
    vector *held = f->scratch;
    const vector h = f->frames / (real)unfolds;
    join(n, f, NULL, 0, u);
    apply(&n->matrix[CTRNN_INPUT], u, held);
    for (int i = 0; i < units; i++) share[i] = one_minus_exp(-h / entry(time, i, 0));
    for (int unfold = 0; unfold < unfolds; unfold++, v += 2 * units) {
        vector *y = v + units;
        memcpy(v, f->state, units * sizeof(vector));
        apply(&n->matrix[CTRNN_STATE], v, y);
        for (int i = 0; i < units; i++) {
            y[i] = hyperbolic_tangent(y[i] + held[i]);
            f->state[i] += share[i] * (y[i] - v[i]);
        }
    }
}

static void ctrnn_adjoint(const struct net *n, struct frame *f) {
    const int units = n->width, unfolds = (int)n->CTRNN_UNFOLDS;
    const struct matrix *input = &n->matrix[CTRNN_INPUT], *state = &n->matrix[CTRNN_STATE];
    const struct matrix *time = &n->matrix[CTRNN_TIME];
    const vector *share = f->record + n->start + n->inputs + 1, h = f->frames / (real)unfolds;
    vector *held_bar = f->bars + input->y_bar, *led_back = f->scratch;
    vector *share_bar = f->scratch + units, h_bar = {0};
    memset(held_bar, 0, units * sizeof(vector));
    memset(share_bar, 0, units * sizeof(vector));
    for (int unfold = unfolds - 1; unfold >= 0; unfold--) {
        const vector *v = f->record + state->x + unfold * state->x_step, *y = v + units;
        vector *x_bar = f->bars + state->y_bar + unfold * state->y_bar_step;
        for (int i = 0; i < units; i++) {
            x_bar[i] = f->state_bar[i] * share[i] * (1 - y[i] * y[i]);
            share_bar[i] += f->state_bar[i] * (y[i] - v[i]);
            held_bar[i] += x_bar[i];
        }
        lead_back(state, x_bar, led_back);
        for (int i = 0; i < units; i++)
            f->state_bar[i] = f->state_bar[i] * (1 - share[i]) + led_back[i];
    }
    for (int i = 0; i < units; i++) {
        const vector d = share_bar[i] * (1 - share[i]) / time->weight[i];
        h_bar += d;
        f->bars[time->y_bar + i] = -d * h / time->weight[i];
    }
    f->frames_bar += h_bar / (real)unfolds;
    lead_back(input, held_bar, f->scratch);
    add_input_bar(n, f, f->scratch);
}

static const struct cell ctrnn_cell = {ctrnn_lay_out, ctrnn_forward, ctrnn_adjoint};

#endif
