/* Structures of all dense cells: the arguments from Python, a cell's layers, a frame of a block. */

#ifndef NCP_NET_H
#define NCP_NET_H

#include "activations.h"
#include "apply.h"
#include "rows.h"
#include "spread.h"

#define MOST_OPTIONS 4
#define MOST_NESTED 2

/* Arguments from Python; `native.py` mirrors this structure field by field. Arrays are dense and in
 * C order; B batch, T steps, I inputs, S width of the state. `x_bar` is the derivative of the loss
 * with respect to the array `x`. */
struct dense_sequence {
    int64_t kind, batch, steps, inputs, state_width, matrices, threads;
    int64_t option[MOST_OPTIONS]; /* explained in the file of the cell */
    int64_t wiring_length;

    const int64_t *shape; /* (matrices, 1 + MOST_PIECES): rows, and columns of each piece */
    const real *weights;  /* the pieces of all matrices, concatenated */

    const real *input;    /* (B, T, I) */
    const real *state;    /* (B, S): before the first step */
    const real *frames;   /* (B, T): elapsed time */
    const uint8_t *reset; /* (B, T), or NULL */
    const int64_t *wiring; /* (wiring_length), or NULL; explained in the file of the cell */

    real *states; /* (B, T, S): after every step */
    real *tape;   /* values for the adjoint, or NULL */

    const real *states_bar;
    real *input_bar; /* or NULL if it is not wanted */
    real *state_bar, *frames_bar, *weights_bar;
};

/* A cell with its layers, and the positions of their inputs and outputs. */
struct net {
    const struct dense_sequence *sequence;
    const struct cell *cell;
    int inputs, width; /* of the state */
    int sees_time;     /* whether elapsed time is an additional, last input */
    int sensory;       /* synapses from inputs */
    int matrices;
    struct matrix *matrix;
    int64_t option[MOST_OPTIONS];
    int record, bars; /* number of vectors per frame that are assigned so far */
    int scratch;      /* number of temporary vectors that one frame needs */
    int start;        /* position at which the cell's own record begins */
    const struct spread *spread; /* of a control step, or NULL */
    struct net *inner; /* the cell inside this cell; after it, room for a further inner cell */
};

/* One frame of a block. In the forward pass, a cell replaces the state before the frame in `state`
 * by the state after it, and fills the record. In the backward pass, it replaces `state_bar` in
 * reverse, fills `bars` from the record, and adds to `input_bar`, to `frames_bar`, and to the
 * `gradient` of matrices whose gradients it sums up itself. */
struct frame {
    vector *state, *record, *scratch;
    const vector *input;
    vector frames;
    vector *state_bar, *bars, *input_bar, *gradient;
    vector frames_bar;
};

struct cell {
    int (*lay_out)(struct net *); /* returns true if the matrices are those of the cell */
    void (*forward)(const struct net *, struct frame *);
    void (*adjoint)(const struct net *, struct frame *);
    /* Or NULL. Adjoint of the parts outside the recursion, for several frames at once: from their
     * records and `bars`, add to `input_bar`, one row of inputs per frame, and to `gradient`. */
    void (*finish)(const struct net *, struct frames, vector *input_bar, vector *gradient);
    /* Or NULL. Set the position of each entry of the state in a control step. Return the number of
     * vectors, or an error as a negative number. If NULL, the entries are contiguous. */
    int (*spread)(const struct net *, struct spread *);
};

static int spread_state(const struct net *n, struct spread *to) {
    if (n->cell->spread) return n->cell->spread(n, to);
    return spread_block(to->place, n->width, 0);
}

/* Assign vectors of the record or of the derivatives; return the position of the first. */
static int give(int *taken, int vectors) {
    const int first = *taken;
    *taken += vectors;
    return first;
}

/* Set the positions of x and ȳ of a matrix that is used once per frame. */
static void place_matrix(struct matrix *m, int x, int y_bar, int led_back) {
    m->x = x;
    m->y_bar = y_bar;
    m->led_back = led_back;
    m->uses = 1;
}

/* A vector of parameters is a matrix of one column: its gradient is that of a bias. */
static int place_parameters(struct net *n, struct matrix *m, int width, int one) {
    place_matrix(m, one, give(&n->bars, m->rows), 0);
    m->order = AS_STATE;
    return m->rows == width && m->columns == 1;
}

/* Make the inner cell of a cell, from the matrices and options after the given numbers of them. */
static void nest(const struct net *n, const struct cell *cell, int width, int matrices,
                 int options) {
    struct net *inner = n->inner;
    *inner = *n;
    inner->cell = cell;
    inner->inner = inner + 1;
    inner->width = width;
    inner->matrix += matrices;
    inner->matrices -= matrices;
    for (int k = 0; k < MOST_OPTIONS; k++)
        inner->option[k] = k + options < MOST_OPTIONS ? n->option[k + options] : 0;
}

/* Number of inputs of a layer, with elapsed time if it is an input. */
static int count_seen(const struct net *n) { return n->inputs + n->sees_time; }

/* Number of columns of [units | inputs | 1] that have a derivative. */
static int led_back(const struct net *n, int units) {
    return n->sequence->input_bar || n->sees_time ? units + count_seen(n) : units;
}

/* Write [units | inputs | 1], with elapsed time after the inputs if it is an input. */
static void join(const struct net *n, const struct frame *f, const vector *units, int count,
                 vector *x) {
    if (count) memcpy(x, units, count * sizeof(vector));
    memcpy(x + count, f->input, n->inputs * sizeof(vector));
    x[count + n->inputs] = f->frames; /* otherwise the next line overwrites it */
    x[count + count_seen(n)] = broadcast(1);
}

/* Add the parts of x̄ of [units | inputs | 1] that belong to inputs and elapsed time. */
static void add_input_bar(const struct net *n, struct frame *f, const vector *bar) {
    for (int k = 0; k < n->inputs && n->sequence->input_bar; k++) f->input_bar[k] += bar[k];
    if (n->sees_time) f->frames_bar += bar[n->inputs];
}

#endif
