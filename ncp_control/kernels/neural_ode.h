/* The neural ODE by classical Runge-Kutta; equations in ncp_control/cells/ctrnn.py.
 *
 * Matrices: [W | b] over [inputs | 1], and U over the state. Options: sub-steps per frame.
 *
 * A sub-step of h frames, with stages k_s = tanh(W u + b + U x_s), x_s = v + a_s h k_(s − 1):
 *     v' = v + h Σ c_s k_s,  a = (0, 1/2, 1/2, 1),  c = (1, 2, 2, 1) / 6
 *     k̄_s = c_s h v̄' + a_(s + 1) h x̄_(s + 1)   x̄_s = Uᵀ (k̄_s (1 − k_s²))   v̄ = v̄' + Σ x̄_s
 *     h̄ = Σ c_s v̄' k_s + a_s x̄_s k_(s − 1)
 */

#ifndef NCP_NEURAL_ODE_H
#define NCP_NEURAL_ODE_H

#include "net.h"

enum { ODE_INPUT, ODE_STATE };
#define ODE_UNFOLDS option[0]
#define STAGES 4

static const real stage_reach[STAGES + 1] = {0, (real)0.5, (real)0.5, 1, 0};
static const real stage_weight[STAGES] = {(real)(1 / 6.0), (real)(1 / 3.0), (real)(1 / 3.0),
                                          (real)(1 / 6.0)};

/* The record: [u | 1], and x and k of every stage. */
static int ode_lay_out(struct net *n) {
    if (n->matrices != 2) return 0;
    struct matrix *input = &n->matrix[ODE_INPUT], *state = &n->matrix[ODE_STATE];
    const int units = n->width, stages = STAGES * (int)n->ODE_UNFOLDS;
    n->start = give(&n->record, n->inputs + 1);
    place_matrix(input, n->start, give(&n->bars, units), led_back(n, 0));
    place_matrix(state, give(&n->record, 2 * units * stages), give(&n->bars, units * stages),
                 units);
    state->uses = stages;
    state->x_step = 2 * units;
    state->y_bar_step = units;
    n->scratch = n->inputs > 3 * units ? n->inputs : 3 * units;
    return stages > 0 && input->rows == units && input->columns == n->inputs + 1 &&
           state->rows == units && state->columns == units;
}

static void ode_forward(const struct net *n, struct frame *f) {
    const int units = n->width, unfolds = (int)n->ODE_UNFOLDS;
    vector *u = f->record + n->start, *x = f->record + n->matrix[ODE_STATE].x;
    vector *held = f->scratch, *v = f->scratch + units;
    const vector h = f->frames / (real)unfolds;
    join(n, f, NULL, 0, u);
    apply(&n->matrix[ODE_INPUT], u, held);
    for (int unfold = 0; unfold < unfolds; unfold++) {
        memcpy(v, f->state, units * sizeof(vector));
        for (int s = 0; s < STAGES; s++, x += 2 * units) {
            vector *k = x + units;
            const vector reach = stage_reach[s] * h;
            memcpy(x, v, units * sizeof(vector));
            for (int i = 0; i < units && s; i++) x[i] += reach * x[i - units];
            apply(&n->matrix[ODE_STATE], x, k);
            for (int i = 0; i < units; i++) {
                k[i] = hyperbolic_tangent(k[i] + held[i]);
                f->state[i] += stage_weight[s] * h * k[i];
            }
        }
    }
}

static void ode_adjoint(const struct net *n, struct frame *f) {
    const int units = n->width, unfolds = (int)n->ODE_UNFOLDS;
    const struct matrix *input = &n->matrix[ODE_INPUT], *state = &n->matrix[ODE_STATE];
    vector *held_bar = f->bars + input->y_bar, *end_bar = f->scratch;
    vector *x_bar = f->scratch + units, h_bar = {0};
    const vector h = f->frames / (real)unfolds;
    memset(held_bar, 0, units * sizeof(vector));
    for (int stage = STAGES * unfolds - 1; stage >= 0; stage--) {
        const int s = stage % STAGES;
        const vector *x = f->record + state->x + stage * state->x_step, *k = x + units;
        vector *y_bar = f->bars + state->y_bar + stage * state->y_bar_step;
        if (s == STAGES - 1) {
            memcpy(end_bar, f->state_bar, units * sizeof(vector));
            memset(x_bar, 0, units * sizeof(vector));
        }
        for (int i = 0; i < units; i++) {
            const vector bar = stage_weight[s] * end_bar[i] + stage_reach[s + 1] * x_bar[i];
            h_bar += k[i] * bar;
            y_bar[i] = h * bar * (1 - k[i] * k[i]);
            held_bar[i] += y_bar[i];
        }
        lead_back(state, y_bar, x_bar);
        for (int i = 0; i < units; i++) f->state_bar[i] += x_bar[i];
    }
    f->frames_bar += h_bar / (real)unfolds;
    lead_back(input, held_bar, f->scratch);
    add_input_bar(n, f, f->scratch);
}

static const struct cell neural_ode_cell = {ode_lay_out, ode_forward, ode_adjoint};

#endif
