/* Mixed memory around another cell; equations in ncp_control/cells/mixed_memory.py.
 *
 * The state is [v, c]. Matrices: [U | W | b] over [v | inputs | 1] with the rows of i, g, f and o,
 * then those of the inner cell, whose state v is replaced by σ(o) tanh c before its step.
 * Options: kind of the inner cell, then the options of the inner cell.
 */

#ifndef NCP_MIXED_MEMORY_H
#define NCP_MIXED_MEMORY_H

#include "gated.h"

static const int memory_order[] = {0, 2, 1, 3};

static const struct cell *find_cell(int64_t kind);

static int memory_lay_out(struct net *n) {
    const int units = n->width / 2, columns = units + n->inputs + 1;
    struct matrix *m = n->matrix;
    struct net *inner = n->inner;
    nest(n, find_cell(n->option[0]), units, 1, 1);
    if (n->matrices < 2 || !inner->cell || inner->cell->lay_out == memory_lay_out ||
        !inner->cell->lay_out(inner))
        return 0;
    n->record = inner->record;
    n->bars = inner->bars;
    n->start = give(&n->record, columns + 6 * units);
    n->scratch = inner->scratch > columns ? inner->scratch : columns;
    place_matrix(m, n->start, give(&n->bars, m->rows), led_back(n, units));
    m->order = AS_STATE;
    m->blocks = 4;
    m->sees_state = 1;
    return n->width == 2 * units && m->rows == 4 * units && m->columns == columns;
}

static void memory_forward(const struct net *n, struct frame *f) {
    const int units = n->width / 2;
    vector *x = f->record + n->start, *y = x + n->matrix->columns;
    join(n, f, f->state, units, x);
    apply(n->matrix, x, y);
    remember(units, y, f->state + units, f->state, memory_order);
    n->inner->cell->forward(n->inner, f);
}

static void memory_adjoint(const struct net *n, struct frame *f) {
    const int units = n->width / 2;
    const vector *y = f->record + n->start + n->matrix->columns;
    vector *bar = f->bars + n->matrix->y_bar;
    n->inner->cell->adjoint(n->inner, f);
    remember_adjoint(units, y, f->state_bar + units, f->state_bar, bar, memory_order);
    lead_back(n->matrix, bar, f->scratch);
    memcpy(f->state_bar, f->scratch, units * sizeof(vector));
    add_input_bar(n, f, f->scratch + units);
}

static void memory_finish(const struct net *n, struct frames f, vector *input_bar,
                          vector *gradient) {
    if (n->inner->cell->finish) n->inner->cell->finish(n->inner, f, input_bar, gradient);
}

/* Each entry of the memory has the lane of the inner cell's state entry to which it belongs. */
static int memory_spread(const struct net *n, struct spread *to) {
    const int units = n->width / 2, vectors = spread_state(n->inner, to);
    for (int i = 0; i < units && vectors >= 0; i++)
        to->place[units + i] = vectors * LANES + to->place[i];
    return vectors < 0 ? vectors : 2 * vectors;
}

static const struct cell memory_cell = {memory_lay_out, memory_forward, memory_adjoint,
                                        memory_finish, memory_spread};

#endif
