/* What the dense cells share: what Python hands over, a cell's layers, and one frame of a block. */

#ifndef NCP_NET_H
#define NCP_NET_H

#include "activations.h"
#include "apply.h"
#include "rows.h"
#include "spread.h"

#define MOST_OPTIONS 4
#define MOST_NESTED 2

/* What Python hands over; `dense_op.py` mirrors this structure field by field. Arrays are dense and
 * in C order; B batch, T steps, I inputs, S width of the state. A name that ends in `_bar` is the
 * derivative of the loss with respect to the array of that name. */
struct dense_sequence {
    int64_t kind, batch, steps, inputs, state_width, matrices, threads;
    int64_t option[MOST_OPTIONS]; /* what they mean is told by the cell */
    int64_t wiring_length;

    const int64_t *shape; /* (matrices, 1 + MOST_PIECES): rows, and columns of each piece */
    const real *weights;  /* the pieces of all matrices one after another */

    const real *input;    /* (B, T, I) */
    const real *state;    /* (B, S): before the first step */
    const real *frames;   /* (B, T): elapsed time */
    const uint8_t *reset; /* (B, T), or NULL */
    const int64_t *wiring; /* (wiring_length), or NULL: what it means is told by the cell */

    real *states; /* (B, T, S): after every step */
    real *tape;   /* what the adjoint needs, or NULL */

    const real *states_bar;
    real *input_bar; /* or NULL: nobody asks for it */
    real *state_bar, *frames_bar, *weights_bar;
};

/* A cell with its layers, and where they find and leave their numbers. */
struct net {
    const struct dense_sequence *sequence;
    const struct cell *cell;
    int inputs, width; /* of the state */
    int sees_time;     /* whether elapsed time is one more input, behind the others */
    int sensory;       /* synapses from inputs */
    int matrices;
    struct matrix *matrix;
    int64_t option[MOST_OPTIONS];
    int record, bars; /* vectors of a frame, as far as they are given away */
    int scratch;      /* vectors that one frame needs for a while */
    int start;        /* where the cell's own record begins */
    const struct spread *spread; /* of a control step, or NULL */
    struct net *inner; /* the cell within a cell; behind it, room for the one within that */
};

/* One frame of a block. Forwards a cell turns `state` from the one before into the one after, and
 * fills the record. Backwards it does so with `state_bar`, from the record fills `bars`, and adds to
 * `input_bar` and `frames_bar`, and to the `gradient` of matrices that it sums up itself. */
struct frame {
    vector *state, *record, *scratch;
    const vector *input;
    vector frames;
    vector *state_bar, *bars, *input_bar, *gradient;
    vector frames_bar;
};

struct cell {
    int (*lay_out)(struct net *); /* returns whether the matrices are those of the cell */
    void (*forward)(const struct net *, struct frame *);
    void (*adjoint)(const struct net *, struct frame *);
    /* Or NULL. Lead back what is no part of the recursion, once for some frames: from their records
     * and `bars` add to `input_bar`, a row of inputs a frame, and to `gradient`. */
    void (*finish)(const struct net *, struct frames, vector *input_bar, vector *gradient);
    /* Or NULL. Say where the entries of the state stand in a control step, and return in how many
     * vectors, or an error as a negative number. Without it they stand one after another. */
    int (*spread)(const struct net *, struct spread *);
};

static int spread_state(const struct net *n, struct spread *to) {
    if (n->cell->spread) return n->cell->spread(n, to);
    return spread_block(to->place, n->width, 0);
}

/* Give away vectors of the record or of the derivatives. */
static int give(int *taken, int vectors) {
    const int first = *taken;
    *taken += vectors;
    return first;
}

/* Say where a matrix finds x and leaves ȳ, and that it is used once a frame. */
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

/* Make the cell within a cell, of the matrices and options behind so many. */
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

/* Inputs of a layer, with elapsed time if it is seen. */
static int count_seen(const struct net *n) { return n->inputs + n->sees_time; }

/* Columns of [units | inputs | 1] that are led back. */
static int led_back(const struct net *n, int units) {
    return n->sequence->input_bar || n->sees_time ? units + count_seen(n) : units;
}

/* Write [units | inputs | 1], with elapsed time behind the inputs if it is seen. */
static void join(const struct net *n, const struct frame *f, const vector *units, int count,
                 vector *x) {
    if (count) memcpy(x, units, count * sizeof(vector));
    memcpy(x + count, f->input, n->inputs * sizeof(vector));
    x[count + n->inputs] = f->frames; /* or else the next line writes over it */
    x[count + count_seen(n)] = broadcast(1);
}

/* Add what x̄ of [units | inputs | 1] says of the inputs and of elapsed time. */
static void add_input_bar(const struct net *n, struct frame *f, const vector *bar) {
    for (int k = 0; k < n->inputs && n->sequence->input_bar; k++) f->input_bar[k] += bar[k];
    if (n->sees_time) f->frames_bar += bar[n->inputs];
}

#endif
