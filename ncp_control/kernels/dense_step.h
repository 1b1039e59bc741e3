/* One control step of a dense cell on one sample, for use on a robot.
 *
 * The step is that of a sequence, on vectors that hold LANES numbers of the sample: see spread.h.
 * It compares the current parameters of the cell with those from which its weights were prepared,
 * and reports a change instead of running, so it never runs with old weights.
 */

#ifndef NCP_DENSE_STEP_H
#define NCP_DENSE_STEP_H

/* Arguments from Python; `native.py` mirrors this structure field by field. */
struct dense_control {
    struct dense_sequence sequence; /* of one sample and frame; `state` is advanced in place */
    int64_t outputs, parameters;
    const real *readout;      /* (outputs, S + 1): weights of the state, and the bias */
    real *output;             /* (outputs) */
    const char *const *live;  /* (parameters): address of each */
    int64_t *bytes;           /* (parameters): how many bytes to compare */
    const real *const *piece; /* (matrices, MOST_PIECES): address of its parameter, or NULL */
};

struct dense_step {
    struct dense_control control;
    struct dense_sequence sequence; /* the same, counted in vectors */
    struct job job;                 /* of that */
    struct spread spread;
    struct frame frame;
    vector *input;
    char *known;
    void *memory[2];
};

EXPORT void ncp_dense_free_step(struct dense_step *m) {
    free_plan(&m->spread.plan);
    release(m->memory[0]);
    release(m->memory[1]);
    release(m);
}

/* Find all positions, and make the sequence whose sizes are counted in vectors. `given` are the
 * matrices from Python; `place` has memory for the rows and columns of all of them. */
static int spread_sequence(struct dense_step *m, const struct job *narrow, int64_t *shape,
                           int *place) {
    const struct dense_sequence *q = &m->control.sequence;
    const int width = spread_state(&narrow->net, &m->spread);
    if (width < 0) return -width;
    m->sequence = *q;
    m->sequence.inputs = count_vectors((int)q->inputs);
    m->sequence.state_width = width;
    m->sequence.shape = shape;
    for (int k = 0; k < narrow->net.matrices; k++, shape += 1 + MOST_PIECES) {
        const struct matrix *given = &narrow->net.matrix[k];
        shape[0] = place_rows(given, &m->spread, place);
        for (int piece = 0; piece < MOST_PIECES; piece++)
            shape[1 + piece] = count_piece_vectors(given, &m->spread, piece);
        place_columns(given, &m->spread, place + given->rows);
        place += given->rows + given->columns;
    }
    return OK;
}

/* True if the rows of a matrix are read in place: it is used once per frame, and a piece of it is a
 * parameter of the cell. This parameter then needs no comparison. */
static int is_read_in_place(const struct dense_control *c, const struct matrix *given,
                            const struct matrix *own, int number) {
    const real *const *live = c->piece + number * MOST_PIECES;
    int is_live = 0;
    for (int piece = 0; piece < MOST_PIECES; piece++)
        is_live = is_live || (given->width[piece] > 1 && live[piece]);
    return is_live && own->uses == 1 && !own->is_summed;
}

static void read_in_place(struct dense_control *c, const struct matrix *given, struct dots *dots,
                          int number) {
    const real *const *live = c->piece + number * MOST_PIECES, *weight = given->weight;
    for (int piece = 0; piece < MOST_PIECES; piece++) {
        const int width = dots->width[piece] = given->width[piece];
        if (width > 1) dots->piece[piece] = live[piece] ? live[piece] : weight;
        for (int64_t k = 0; k < c->parameters && width > 1; k++)
            if ((const char *)live[piece] == c->live[k]) c->bytes[k] = 0;
        weight += given->rows * width;
    }
}

/* Fill the constant arrays; if `memory` is NULL, only count their vectors. */
static size_t fill_matrices(struct dense_step *m, const struct job *narrow, const int *place,
                            vector *memory) {
    vector *next = memory;
    for (int k = 0; k < m->job.net.matrices; k++) {
        const struct matrix *given = &narrow->net.matrix[k];
        struct matrix *own = &m->job.net.matrix[k];
        own->numbers = given->columns;
        own->at = place + given->rows;
        if (memory) pack_across(given, place, next);
        if (memory) own->across = next;
        next += own->rows * own->numbers;
        if (is_read_in_place(&m->control, given, own, k)) {
            int *row = (int *)(next + 1 + sizeof(struct dots) / sizeof(vector));
            struct dots *dots = (struct dots *)next;
            next = (vector *)row + own->rows * LANES * sizeof(int) / sizeof(vector) + 1;
            if (memory) {
                read_in_place(&m->control, given, dots, k);
                for (int i = 0; i < given->rows; i++) row[place[i]] = i;
                dots->row = row;
                dots->x = next;
                own->dots = dots;
            }
            for (int piece = 0; piece < MOST_PIECES; piece++)
                next += count_vectors(given->width[piece]);
        }
        place += given->rows + given->columns;
    }
    return next - memory;
}

/* Place all arrays in one allocation, and fill the constant ones. */
static int fill_dense_step(struct dense_step *m, const struct job *narrow, const int *place) {
    const struct dense_control *c = &m->control;
    const struct net *n = &m->job.net;
    const size_t own = n->width + n->record + n->scratch + n->inputs + 2;
    size_t bytes = 0, filled = fill_matrices(m, narrow, place, NULL);
    for (int64_t k = 0; k < c->parameters; k++) bytes += c->bytes[k];
    m->memory[1] = allocate((own + filled) * sizeof(vector) + bytes);
    if (!m->memory[1]) return OUT_OF_MEMORY;
    m->frame.state = m->memory[1];
    m->frame.record = m->frame.state + n->width;
    m->frame.scratch = m->frame.record + n->record;
    m->frame.input = m->input = m->frame.scratch + n->scratch;
    vector *matrices = m->input + n->inputs + 2; /* tables are read as 2 LANES */
    fill_matrices(m, narrow, place, matrices);
    char *known = m->known = (char *)(matrices + filled);
    for (int64_t k = 0; k < c->parameters; known += c->bytes[k++])
        if (c->bytes[k]) memcpy(known, c->live[k], c->bytes[k]);
    return OK;
}

static int prepare_dense_step(struct dense_step *m) {
    const struct dense_sequence *q = &m->control.sequence;
    struct job narrow;
    int64_t places = q->state_width;
    for (int64_t k = 0; k < q->matrices * (1 + MOST_PIECES); k++) places += q->shape[k];
    struct matrix *given = allocate(q->matrices * sizeof *given);
    const size_t shapes = q->matrices * (1 + MOST_PIECES) * sizeof(int64_t);
    struct matrix *own = m->memory[0] =
        allocate(q->matrices * sizeof *own + shapes + places * sizeof(int));
    int status = given && own ? lay_out(&narrow, q, given, NULL) : OUT_OF_MEMORY;
    if (status == OK) {
        int64_t *shape = (int64_t *)(own + q->matrices);
        int *place = (int *)((char *)shape + shapes);
        m->spread.place = place;
        place += q->state_width;
        status = spread_sequence(m, &narrow, shape, place);
        if (status == OK) status = lay_out(&m->job, &m->sequence, own, &m->spread);
        if (status == OK) status = fill_dense_step(m, &narrow, place);
    }
    release(given);
    return status;
}

/* Make a step that keeps the addresses in `c`; free it with `ncp_dense_free_step` if it is OK. */
EXPORT int ncp_dense_make_step(const struct dense_control *c, struct dense_step **made) {
    struct dense_step *m = allocate(sizeof *m);
    if (!m) return OUT_OF_MEMORY;
    m->control = *c;
    const int status = prepare_dense_step(m);
    if (status == OK)
        *made = m;
    else
        ncp_dense_free_step(m);
    return status;
}

static int has_dense_changed(const struct dense_step *m) {
    const struct dense_control *c = &m->control;
    const char *known = m->known;
    for (int64_t k = 0; k < c->parameters; known += c->bytes[k++])
        if (c->bytes[k] && memcmp(known, c->live[k], c->bytes[k])) return 1;
    return 0;
}

/* Advance `state` with constant `input`, and write `output`. If a parameter has changed since the
 * step was made, do nothing and return 1. */
EXPORT int ncp_dense_step(struct dense_step *m) {
    const struct dense_control *c = &m->control;
    const struct dense_sequence *q = &c->sequence;
    const int width = (int)q->state_width, *place = m->spread.place;
    if (has_dense_changed(m)) return 1;
    real *state = (real *)q->state, *spread = (real *)m->frame.state;
    for (int i = 0; i < width; i++) spread[place[i]] = state[i];
    memcpy(m->input, q->input, q->inputs * sizeof(real));
    m->frame.frames = broadcast(*q->frames);
    m->job.net.cell->forward(&m->job.net, &m->frame);
    for (int i = 0; i < width; i++) state[i] = spread[place[i]];
    const real *weight = c->readout;
    for (int64_t k = 0; k < c->outputs; k++, weight += width + 1) {
        vector sum = {0};
        int i = 0;
        for (; i + LANES <= width; i += LANES) sum += load(weight + i) * load(state + i);
        real output = sum_of_lanes(sum) + weight[width];
        for (; i < width; i++) output += weight[i] * state[i];
        c->output[k] = output;
    }
    return 0;
}

#endif
