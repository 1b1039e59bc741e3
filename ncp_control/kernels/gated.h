/* LSTM and GRU; the equations are those of torch.nn.LSTM and torch.nn.GRU.
 *
 * LSTM   matrix [U | W | b] over [h | inputs | 1], with the rows of i, f, g and o; state [h, c]
 *     c' = f c + i g   h' = o tanh c'
 *     With c̄ = c̄' + h̄' o (1 − tanh² c'): the rest is the product rule; c before the frame gets c̄ f.
 *
 * GRU    matrices [W | b] over [inputs | 1] and [U | b'] over [h | 1], rows of r, z and n
 *     n = tanh(x_n + r y_n)   h' = n + z (h − n), with x and y the products of the two matrices
 *
 * Option of both: whether elapsed time is an additional input.
 */

#ifndef NCP_GATED_H
#define NCP_GATED_H

#include "net.h"

#define SEES_TIME option[0]

/* The gates of a mixed memory or an LSTM; σ(o) tanh c is written to `shown`. Replace the four rows
 * of y by i, f, g and o, followed by c and tanh c'. */
static void remember(int units, vector *y, vector *memory, vector *shown, const int *order) {
    vector *i = y + order[0] * units, *f = y + order[1] * units, *g = y + order[2] * units;
    vector *o = y + order[3] * units, *c = y + 4 * units, *tanh_c = c + units;
    for (int k = 0; k < units; k++) {
        i[k] = sigmoid(i[k]);
        f[k] = sigmoid(f[k]);
        g[k] = hyperbolic_tangent(g[k]);
        o[k] = sigmoid(o[k]);
        c[k] = memory[k];
        memory[k] = f[k] * c[k] + i[k] * g[k];
        tanh_c[k] = hyperbolic_tangent(memory[k]);
        shown[k] = o[k] * tanh_c[k];
    }
}

static void remember_adjoint(int units, const vector *y, vector *memory_bar,
                             const vector *shown_bar, vector *bar, const int *order) {
    const vector *i = y + order[0] * units, *f = y + order[1] * units, *g = y + order[2] * units;
    const vector *o = y + order[3] * units, *c = y + 4 * units, *tanh_c = c + units;
    for (int k = 0; k < units; k++) {
        const vector c_bar =
            memory_bar[k] + shown_bar[k] * o[k] * (1 - tanh_c[k] * tanh_c[k]);
        bar[order[0] * units + k] = c_bar * g[k] * i[k] * (1 - i[k]);
        bar[order[1] * units + k] = c_bar * c[k] * f[k] * (1 - f[k]);
        bar[order[2] * units + k] = c_bar * i[k] * (1 - g[k] * g[k]);
        bar[order[3] * units + k] = shown_bar[k] * tanh_c[k] * o[k] * (1 - o[k]);
        memory_bar[k] = c_bar * f[k];
    }
}

static const int lstm_order[] = {0, 1, 2, 3};

static int lstm_lay_out(struct net *n) {
    n->sees_time = n->SEES_TIME != 0;
    const int units = n->width / 2, columns = units + count_seen(n) + 1;
    struct matrix *m = n->matrix;
    n->start = give(&n->record, columns + 6 * units);
    n->scratch = columns;
    if (n->matrices != 1) return 0;
    place_matrix(m, n->start, give(&n->bars, m->rows), led_back(n, units));
    m->blocks = 4;
    return n->width == 2 * units && m->rows == 4 * units && m->columns == columns;
}

static void lstm_forward(const struct net *n, struct frame *f) {
    const int units = n->width / 2;
    vector *x = f->record + n->start, *y = x + n->matrix->columns;
    join(n, f, f->state, units, x);
    apply(n->matrix, x, y);
    remember(units, y, f->state + units, f->state, lstm_order);
}

static void lstm_adjoint(const struct net *n, struct frame *f) {
    const int units = n->width / 2;
    const vector *y = f->record + n->start + n->matrix->columns;
    vector *bar = f->bars + n->matrix->y_bar;
    remember_adjoint(units, y, f->state_bar + units, f->state_bar, bar, lstm_order);
    lead_back(n->matrix, bar, f->scratch);
    memcpy(f->state_bar, f->scratch, units * sizeof(vector));
    add_input_bar(n, f, f->scratch + units);
}

static int lstm_spread(const struct net *n, struct spread *to) {
    const int units = n->width / 2, memory = spread_block(to->place, units, 0);
    return spread_block(to->place + units, units, memory);
}

static const struct cell lstm_cell = {lstm_lay_out, lstm_forward, lstm_adjoint, NULL, lstm_spread};

/* The record: [inputs | 1], [h | 1], then r, z, n and y_n. */
static int gru_lay_out(struct net *n) {
    if (n->matrices != 2) return 0;
    struct matrix *input = n->matrix, *state = input + 1;
    n->sees_time = n->SEES_TIME != 0;
    const int units = n->width, seen = count_seen(n);
    n->start = give(&n->record, seen + 1);
    place_matrix(input, n->start, give(&n->bars, 3 * units), led_back(n, 0));
    place_matrix(state, give(&n->record, units + 1), give(&n->bars, 3 * units), units);
    give(&n->record, 4 * units);
    input->blocks = state->blocks = 3;
    n->scratch = 3 * units > seen ? 3 * units : seen;
    return input->rows == 3 * units && input->columns == seen + 1 &&
           state->rows == 3 * units && state->columns == units + 1;
}

static void gru_forward(const struct net *n, struct frame *f) {
    const int units = n->width;
    vector *u = f->record + n->start, *h = f->record + n->matrix[1].x;
    vector *r = h + units + 1, *z = r + units, *new = z + units, *y_n = new + units;
    vector *x = f->scratch;
    join(n, f, NULL, 0, u);
    memcpy(h, f->state, units * sizeof(vector));
    h[units] = broadcast(1);
    apply(&n->matrix[0], u, x);
    apply(&n->matrix[1], h, r);
    for (int i = 0; i < units; i++) {
        y_n[i] = new[i];
        r[i] = sigmoid(r[i] + x[i]);
        z[i] = sigmoid(z[i] + x[units + i]);
        new[i] = hyperbolic_tangent(x[2 * units + i] + r[i] * y_n[i]);
        f->state[i] = new[i] + z[i] * (h[i] - new[i]);
    }
}

static void gru_adjoint(const struct net *n, struct frame *f) {
    const int units = n->width;
    const vector *h = f->record + n->matrix[1].x;
    const vector *r = h + units + 1, *z = r + units, *new = z + units, *y_n = new + units;
    vector *x_bar = f->bars + n->matrix[0].y_bar, *y_bar = f->bars + n->matrix[1].y_bar;
    for (int i = 0; i < units; i++) {
        const vector h_bar = f->state_bar[i];
        const vector n_bar = h_bar * (1 - z[i]) * (1 - new[i] * new[i]);
        x_bar[i] = y_bar[i] = n_bar * y_n[i] * r[i] * (1 - r[i]);
        x_bar[units + i] = y_bar[units + i] = h_bar * (h[i] - new[i]) * z[i] * (1 - z[i]);
        x_bar[2 * units + i] = n_bar;
        y_bar[2 * units + i] = n_bar * r[i];
    }
    lead_back(&n->matrix[1], y_bar, f->scratch);
    for (int i = 0; i < units; i++) f->state_bar[i] = f->state_bar[i] * z[i] + f->scratch[i];
    lead_back(&n->matrix[0], x_bar, f->scratch);
    add_input_bar(n, f, f->scratch);
}

static const struct cell gru_cell = {gru_lay_out, gru_forward, gru_adjoint};

#endif
