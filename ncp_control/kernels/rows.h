/* Conversion between arrays (batch, time, …) and vectors of samples. */

#ifndef NCP_ROWS_H
#define NCP_ROWS_H

#include "vector.h"

/* Position of the samples of a block. */
struct place {
    int64_t sample, samples; /* the first, and how many */
    int64_t frame;           /* first sample and step, counted in (batch, time) */
    int64_t frames;          /* from one sample to the next */
    int steps, ahead;        /* steps processed together, and distance to the next ones [steps] */
};

/* A batch of sequences of equal length. */
struct extent {
    int64_t batch, steps;
};

static int64_t count_blocks(struct extent e) { return (e.batch + LANES - 1) / LANES; }

static struct place find_place(struct extent e, int64_t block, int64_t step, int steps,
                               int ahead) {
    const int64_t sample = block * LANES, left = e.batch - sample;
    const int64_t samples = left < LANES ? left : LANES;
    return (struct place){sample, samples, sample * e.steps + step, e.steps, steps, ahead};
}

/* Clear the lanes whose sample is reset before step t of the place; `reset` may be NULL. */
static void clear_reset(const uint8_t *reset, struct place p, int t, vector *state,
                        int64_t width) {
    bit_vector keep;
    if (!reset) return;
    for (int lane = 0; lane < LANES; lane++) {
        const int is_reset = lane < p.samples && reset[p.frame + t + lane * p.frames];
        keep[lane] = is_reset ? 0 : ~(bits)0;
    }
    for (int64_t i = 0; i < width; i++) state[i] = (vector)(keep & (bit_vector)state[i]);
}

/* Read one vector of each sample, `row` numbers apart, and prefetch those `ahead`: rows are too far
 * apart for the processor's own prefetching. Lanes without a sample are 0, so they stay bounded. */
static inline void load_square(vector *square, const real *from, int64_t row, int64_t ahead,
                               int samples) {
    UNROLL for (int lane = 0; lane < LANES; lane++) {
        square[lane] = lane < samples ? load(from + lane * row) : (vector){0};
        if (lane < samples) __builtin_prefetch(from + lane * row + ahead, 0, 2);
    }
    transpose(square);
}

static inline void store_square(real *to, vector *square, int64_t row, int64_t ahead,
                                int samples) {
    transpose(square);
    UNROLL for (int lane = 0; lane < LANES; lane++) {
        if (lane >= samples) break;
        store(to + lane * row, square[lane]);
        __builtin_prefetch(to + lane * row + ahead, 1, 2);
    }
}

/* Convert `width` numbers of each sample to vectors of samples. A last incomplete square overlaps
 * the one before. A full block is handled separately, so that loops over lanes unroll. */
static void load_rows(vector *to, const real *from, int64_t row, int64_t ahead, int64_t samples,
                      int width) {
    if (width < LANES) {
        if (samples < LANES) memset(to, 0, width * sizeof(vector));
        for (int64_t lane = 0; lane < samples; lane++)
            for (int k = 0; k < width; k++) to[k][lane] = from[lane * row + k];
        return;
    }
    for (int left = width; left > 0; left -= LANES) {
        const int column = left < LANES ? width - LANES : width - left;
        vector square[LANES];
        if (samples == LANES)
            load_square(square, from + column, row, ahead, LANES);
        else
            load_square(square, from + column, row, ahead, (int)samples);
        memcpy(to + column, square, sizeof square);
    }
}

static void store_rows(real *to, const vector *from, int64_t row, int64_t ahead, int64_t samples,
                       int width) {
    if (width < LANES) {
        for (int64_t lane = 0; lane < samples; lane++)
            for (int k = 0; k < width; k++) to[lane * row + k] = from[k][lane];
        return;
    }
    for (int left = width; left > 0; left -= LANES) {
        const int column = left < LANES ? width - LANES : width - left;
        vector square[LANES];
        memcpy(square, from + column, sizeof square);
        if (samples == LANES)
            store_square(to + column, square, row, ahead, LANES);
        else
            store_square(to + column, square, row, ahead, (int)samples);
    }
}

/* The steps of a place in an array (batch, time, width). */
static void load_steps(vector *to, const real *from, struct place p, int width) {
    load_rows(to, from + p.frame * width, p.frames * width, (int64_t)p.ahead * width, p.samples,
              p.steps * width);
}

static void store_steps(real *to, const vector *from, struct place p, int width) {
    store_rows(to + p.frame * width, from, p.frames * width, (int64_t)p.ahead * width, p.samples,
               p.steps * width);
}

/* The samples of a place in an array (batch, width). */
static void load_states(vector *to, const real *from, struct place p, int width) {
    load_rows(to, from + p.sample * width, width, 0, p.samples, width);
}

static void store_states(real *to, const vector *from, struct place p, int width) {
    store_rows(to + p.sample * width, from, width, 0, p.samples, width);
}

#endif
