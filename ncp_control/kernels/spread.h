/* Distribution of the one sample of a control step over the lanes: LANES units side by side.
 *
 * A cell is written for vectors that hold LANES samples of one number. In a control step, the same
 * code runs on vectors that hold LANES numbers of one sample, so all sizes are counted in vectors:
 * each block of units (state, inputs, each gate) begins with a new vector, and its last vector may
 * have unused lanes. The constant 1 and the elapsed time are in every lane.
 *
 * Synapses have a plan (plan.h) that gives each neuron a lane.
 */

#ifndef NCP_SPREAD_H
#define NCP_SPREAD_H

#include "dense.h"
#include "plan.h"

struct spread {
    int *place;       /* position of each entry of the state, counted in numbers */
    struct plan plan; /* of the synapses, if there are any */
};

/* Number of vectors that hold `numbers` numbers. */
static inline int count_vectors(int numbers) { return (numbers + LANES - 1) / LANES; }

/* Place units one after another, from the vector `first` on; return the next free vector. */
static inline int spread_block(int *place, int units, int first) {
    for (int i = 0; i < units; i++) place[i] = first * LANES + i;
    return first + count_vectors(units);
}

/* Number of vectors that hold the first entries of the state. */
static inline int count_state_vectors(const struct spread *s, int entries) {
    int last = -1;
    for (int i = 0; i < entries; i++)
        if (s->place[i] > last) last = s->place[i];
    return last / LANES + (last >= 0);
}

/* Set the positions of the rows of a matrix, counted in numbers; return the number of vectors. */
static int place_rows(const struct matrix *m, const struct spread *s, int *place) {
    if (m->order == AS_SYNAPSES) {
        for (int k = 0; k < s->plan.rows * LANES; k++)
            if (s->plan.synapse[k] >= 0) place[s->plan.synapse[k]] = k;
        return s->plan.rows;
    }
    const int units = m->rows / m->blocks;
    const int vectors = m->order == AS_STATE ? count_state_vectors(s, units) : count_vectors(units);
    for (int row = 0; row < m->rows; row++) {
        const int i = row % units;
        place[row] = row / units * vectors * LANES + (m->order == AS_STATE ? s->place[i] : i);
    }
    return m->blocks * vectors;
}

/* Number of vectors that hold the x of a piece. */
static int count_piece_vectors(const struct matrix *m, const struct spread *s, int piece) {
    if (m->is_summed) return m->width[piece]; /* no x */
    if (piece == 0 && m->sees_state) return count_state_vectors(s, m->width[0]);
    return count_vectors(m->width[piece]);
}

/* Set the position of the number of each column. */
static void place_columns(const struct matrix *m, const struct spread *s, int *place) {
    for (int piece = 0, first = 0; piece < MOST_PIECES; piece++) {
        for (int k = 0; k < m->width[piece]; k++)
            *place++ = piece == 0 && m->sees_state ? s->place[k] : first * LANES + k;
        first += count_piece_vectors(m, s, piece);
    }
}

static void pack_across(const struct matrix *m, const int *row_place, vector *to) {
    const real *weight = m->weight;
    for (int piece = 0, first = 0; piece < MOST_PIECES; first += m->width[piece++])
        for (int row = 0; row < m->rows; row++)
            for (int column = first; column < first + m->width[piece]; column++) {
                const int group = row_place[row] / LANES, lane = row_place[row] % LANES;
                to[group * m->columns + column][lane] = *weight++;
            }
}

#endif
