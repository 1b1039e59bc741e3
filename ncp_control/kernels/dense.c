/* Cells of dense layers or of synapses over a sequence: forward and adjoint.
 *
 * This file holds the code shared by all cells: distribution of blocks of LANES samples over
 * threads, the tape, resets, elapsed times, and the gradients of all weights. A cell defines its
 * step, the step's adjoint, and the positions of its layers' inputs (`struct cell` in net.h).
 *
 * The tape holds a record for each block and frame: the inputs of every dense layer, and further
 * values that the adjoint of the step needs. In the backward pass, each frame stores derivatives of
 * the layers' outputs. After some frames, the gradients of the weights are computed from both as
 * one matrix product, while they are still in the cache. The gradients of synapses are not such a
 * product: their cell sums them up itself, lane by lane. The gradients of blocks are added in the
 * order of the blocks, so the result is bitwise independent of the number of threads.
 *
 * | file            | what it holds                                     |
 * |-----------------|---------------------------------------------------|
 * | `net.h`         | the arguments from Python; a cell; one frame      |
 * | `dense.h`       | dense layers on a block, and their gradients      |
 * | `activations.h` | tanh, sigmoid, and the activations of a backbone  |
 * | `cfc.h`, …      | the cells                                         |
 * | `synaptic.h`    | LTC, STC and LRC, with `links.h`, `equations.h`, `relaxation.h`, `synaptic_midpoint.h` |
 * | `spread.h`, `dense_step.h` | one control step of one sample         |
 */

#include "ltc.h"

#include "cfc.h"
#include "ctgru.h"
#include "ctrnn.h"
#include "gated.h"
#include "mixed_memory.h"
#include "neural_ode.h"
#include "ode_rnn.h"
#include "synaptic.h"
#include "wired_cfc.h"
#include "threads.h"

static const struct cell *const cells[] = {&cfc_cell, &ctrnn_cell, &lstm_cell, &gru_cell,
                                           &memory_cell, &wired_cfc_cell, &neural_ode_cell,
                                           &ode_rnn_cell, &ctgru_cell, &synaptic_cell};

static const struct cell *find_cell(int64_t kind) {
    return kind >= 0 && kind < COUNT(cells) ? cells[kind] : NULL;
}

/* Number of frames whose derivatives stay in the cache until weight gradients are computed. */
#define FRAMES_TOGETHER 16

struct job {
    const struct dense_sequence *sequence;
    struct extent extent;
    struct net net, inner[MOST_NESTED];
    int64_t weights;
    int64_t gradient_vectors;
    vector *gradient; /* of all matrices; NULL forwards */
};

/* Working memory of a thread. */
struct desk {
    vector *state, *state_bar, *record, *scratch, *frames, *frames_bar;
    vector *input, *input_bar, *states, *bars; /* of FRAMES_TOGETHER frames */
    vector *gradient;                          /* of a block */
};

static size_t cut_desk(const struct job *job, struct desk *desk, vector *memory) {
    const struct net *n = &job->net;
    const int is_adjoint = job->gradient != NULL;
    vector *next = memory;
    const struct { vector **array; size_t vectors; } wanted[] = {
        {&desk->state, n->width},
        {&desk->state_bar, n->width},
        {&desk->record, n->record},
        {&desk->scratch, n->scratch},
        {&desk->frames, FRAMES_TOGETHER},
        {&desk->frames_bar, FRAMES_TOGETHER},
        {&desk->input, FRAMES_TOGETHER * n->inputs},
        {&desk->input_bar, FRAMES_TOGETHER * n->inputs},
        {&desk->states, FRAMES_TOGETHER * n->width},
        {&desk->bars, is_adjoint ? FRAMES_TOGETHER * n->bars : 0},
        {&desk->gradient, is_adjoint ? job->gradient_vectors : 0},
    };
    for (int k = 0; k < COUNT(wanted); k++) {
        *wanted[k].array = next;
        next += wanted[k].vectors;
    }
    return next - memory;
}

static void *make_desk(struct team *team) {
    struct desk *desk = allocate(64 * ((sizeof *desk + 63) / 64) +
                                 cut_desk(team->task, &(struct desk){0}, NULL) * sizeof(vector));
    if (desk)
        cut_desk(team->task, desk, (vector *)((char *)desk + 64 * ((sizeof *desk + 63) / 64)));
    return desk;
}

static vector *find_tape(const struct job *job, int64_t block, int64_t step) {
    const int64_t frame = block * job->extent.steps + step;
    return (vector *)job->sequence->tape + frame * job->net.record;
}

static void forward_block(struct team *team, int64_t block, void *workspace) {
    const struct job *job = team->task;
    const struct dense_sequence *q = job->sequence;
    const struct net *n = &job->net;
    struct desk *desk = workspace;
    load_states(desk->state, q->state, find_place(job->extent, block, 0, 0, 0), n->width);
    for (int64_t step = 0; step < q->steps; step += FRAMES_TOGETHER) {
        const int steps = (int)(q->steps - step < FRAMES_TOGETHER ? q->steps - step
                                                                  : FRAMES_TOGETHER);
        const struct place p = find_place(job->extent, block, step, steps, steps);
        load_steps(desk->input, q->input, p, n->inputs);
        load_steps(desk->frames, q->frames, p, 1);
        for (int t = 0; t < steps; t++) {
            struct frame frame = {.state = desk->state, .input = desk->input + t * n->inputs,
                                  .frames = desk->frames[t], .scratch = desk->scratch,
                                  .record = q->tape ? find_tape(job, block, step + t)
                                                    : desk->record};
            clear_reset(q->reset, p, t, desk->state, n->width);
            n->cell->forward(n, &frame);
            memcpy(desk->states + t * n->width, desk->state, n->width * sizeof(vector));
        }
        store_steps(q->states, desk->states, p, n->width);
    }
}

/* Run the adjoint of some frames, from the last to the first. */
static void adjoint_frames(const struct job *job, struct desk *desk, int64_t block, int64_t step,
                           struct place p) {
    const struct dense_sequence *q = job->sequence;
    const struct net *n = &job->net;
    load_steps(desk->states, q->states_bar, p, n->width);
    load_steps(desk->frames, q->frames, p, 1);
    memset(desk->input_bar, 0, p.steps * n->inputs * sizeof(vector));
    for (int t = p.steps - 1; t >= 0; t--) {
        struct frame frame = {.state_bar = desk->state_bar, .frames = desk->frames[t],
                              .record = find_tape(job, block, step + t),
                              .bars = desk->bars + t * n->bars, .scratch = desk->scratch,
                              .input_bar = desk->input_bar + t * n->inputs,
                              .gradient = desk->gradient};
        for (int i = 0; i < n->width; i++) desk->state_bar[i] += desk->states[t * n->width + i];
        n->cell->adjoint(n, &frame);
        desk->frames_bar[t] = frame.frames_bar;
        clear_reset(q->reset, p, t, desk->state_bar, n->width);
    }
    store_steps(q->frames_bar, desk->frames_bar, p, 1);
    const struct frames frames = {find_tape(job, block, step), desk->bars, n->record, n->bars,
                                  p.steps};
    if (n->cell->finish) n->cell->finish(n, frames, desk->input_bar, desk->gradient);
    if (q->input_bar) store_steps(q->input_bar, desk->input_bar, p, n->inputs);
    for (int k = 0; k < n->matrices; k++)
        if (!n->matrix[k].is_summed)
            add_gradient(&n->matrix[k], frames, desk->gradient + n->matrix[k].gradient);
}

static void adjoint_block(struct team *team, int64_t block, void *workspace) {
    const struct job *job = team->task;
    const struct dense_sequence *q = job->sequence;
    struct desk *desk = workspace;
    memset(desk->state_bar, 0, job->net.width * sizeof(vector));
    memset(desk->gradient, 0, job->gradient_vectors * sizeof(vector));
    for (int64_t end = q->steps; end > 0; end -= FRAMES_TOGETHER) {
        const int64_t step = end < FRAMES_TOGETHER ? 0 : end - FRAMES_TOGETHER;
        const int steps = (int)(end - step);
        adjoint_frames(job, desk, block, step,
                       find_place(job->extent, block, step, steps, -steps));
    }
    store_states(q->state_bar, desk->state_bar, find_place(job->extent, block, 0, 0, 0),
                 job->net.width);
    begin_commit(team, block);
    for (int64_t k = 0; k < job->gradient_vectors; k++) job->gradient[k] += desk->gradient[k];
    end_commit(team);
}

/* Read the shapes of the matrices and call the cell's function that places them. */
static int lay_out(struct job *job, const struct dense_sequence *q, struct matrix *matrix,
                   const struct spread *spread) {
    *job = (struct job){.sequence = q, .extent = {q->batch, q->steps}};
    job->net = (struct net){.sequence = q, .inputs = (int)q->inputs,
                            .width = (int)q->state_width, .matrices = (int)q->matrices,
                            .matrix = matrix, .spread = spread};
    memcpy(job->net.option, q->option, sizeof q->option);
    for (int k = 0; k < q->matrices; k++) {
        const int64_t *shape = q->shape + k * (1 + MOST_PIECES);
        struct matrix *m = &matrix[k];
        m->rows = (int)shape[0];
        m->blocks = 1;
        m->weight = q->weights + job->weights;
        for (int piece = 0; piece < MOST_PIECES; piece++)
            m->columns += m->width[piece] = (int)shape[1 + piece];
        job->weights += m->rows * m->columns;
    }
    job->net.cell = find_cell(q->kind);
    job->net.inner = job->inner;
    if (!job->net.cell || !job->net.cell->lay_out(&job->net)) return BAD_WIRING;
    for (int k = 0; k < q->matrices; k++) {
        matrix[k].gradient = (int)job->gradient_vectors;
        job->gradient_vectors += count_gradient_vectors(&matrix[k]);
    }
    return OK;
}

static void pack_all(struct job *job, real *packed, int is_adjoint) {
    for (int k = 0; k < job->net.matrices; k++) {
        struct matrix *m = &job->net.matrix[k];
        real *adjoint = is_adjoint ? packed + job->weights : NULL;
        pack(m, packed, adjoint);
        m->packed = packed;
        m->packed_adjoint = adjoint;
        packed += m->rows * m->columns;
    }
}

static void write_gradients(const struct job *job, real *to) {
    for (int k = 0; k < job->net.matrices; k++) {
        const struct matrix *m = &job->net.matrix[k];
        write_gradient(m, job->gradient + m->gradient, to);
        to += m->rows * m->columns;
    }
}

static int run(const struct dense_sequence *q, int is_adjoint) {
    struct matrix *matrix = allocate(q->matrices * sizeof *matrix);
    struct job job;
    int status = matrix ? lay_out(&job, q, matrix, NULL) : OUT_OF_MEMORY;
    void *memory = NULL;
    if (status == OK) {
        const size_t vectors = is_adjoint ? job.gradient_vectors : 0;
        memory = allocate(vectors * sizeof(vector) + 2 * job.weights * sizeof(real));
        if (!memory) status = OUT_OF_MEMORY;
        if (is_adjoint) job.gradient = memory;
        if (memory) pack_all(&job, (real *)((vector *)memory + vectors), is_adjoint);
    }
    if (status == OK) {
        struct team team = {.work = is_adjoint ? adjoint_block : forward_block,
                            .make_workspace = make_desk, .task = &job,
                            .parts = count_blocks(job.extent)};
        status = run_team(&team, q->threads) ? OK : OUT_OF_MEMORY;
    }
    if (status == OK && is_adjoint) write_gradients(&job, q->weights_bar);
    release(memory);
    release(matrix);
    return status;
}

/* Return how many numbers the tape holds per sample and frame, or -1 if the matrices are not those
 * of the cell. */
EXPORT int64_t ncp_dense_record(const struct dense_sequence *q) {
    struct matrix *matrix = allocate(q->matrices * sizeof *matrix);
    struct job job;
    const int64_t numbers = matrix && lay_out(&job, q, matrix, NULL) == OK ? job.net.record : -1;
    release(matrix);
    return numbers;
}

/* Fill `states`, and `tape` if there is one. */
EXPORT int ncp_dense_forward(const struct dense_sequence *q) { return run(q, 0); }

/* Fill all other arrays named `…_bar` from `states_bar` and the tape. */
EXPORT int ncp_dense_adjoint(const struct dense_sequence *q) { return run(q, 1); }

#include "dense_step.h"
