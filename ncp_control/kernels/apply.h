/* The product of a matrix and a vector: for a block of samples, or for the one sample of a control
 * step, which is spread over the lanes (spread.h).
 *
 * In a control step, a matrix that is used several times per frame is stored with LANES rows side
 * by side. A matrix that is used once is read directly from the cell's own weights: these are
 * always up to date, and no copy must be compared with them before every step.
 */

#ifndef NCP_APPLY_H
#define NCP_APPLY_H

#include "dense.h"

/* Number of independent sums, so that no addition waits for the one before it: of GROUPS groups of
 * LANES rows, or of fewer groups with separate sums over every second or fourth column. */
#define GROUPS 8

static inline __attribute__((always_inline)) void multiply_groups(const struct matrix *m, int group,
                                                                  const real *x, vector *y,
                                                                  const int groups,
                                                                  const int parts) {
    const vector *w = m->across + group * m->numbers;
    vector sum[GROUPS] = {0};
    int k = 0;
    for (; k + parts <= m->numbers; k += parts)
        UNROLL for (int i = 0; i < groups * parts; i++) {
            const int column = k + i / groups;
            sum[i] += w[i % groups * m->numbers + column] * broadcast(x[m->at[column]]);
        }
    for (; k < m->numbers; k++)
        UNROLL for (int g = 0; g < groups; g++)
            sum[g] += w[g * m->numbers + k] * broadcast(x[m->at[k]]);
    UNROLL for (int i = groups; i < groups * parts; i++) sum[i % groups] += sum[i];
    UNROLL for (int g = 0; g < groups; g++) y[group + g] = sum[g];
}

/* y = W x of one sample that is spread over the lanes: LANES rows at a time. */
static void apply_to_one(const struct matrix *m, const vector *in, vector *y) {
    const real *x = (const real *)in;
    int group = 0;
    for (; group + GROUPS <= m->rows; group += GROUPS) multiply_groups(m, group, x, y, GROUPS, 1);
    switch (m->rows - group) {
    case 1: multiply_groups(m, group, x, y, 1, 4); break;
    case 2: multiply_groups(m, group, x, y, 2, 4); break;
    case 3: multiply_groups(m, group, x, y, 3, 2); break;
    case 4: multiply_groups(m, group, x, y, 4, 1); break;
    case 5: multiply_groups(m, group, x, y, 5, 1); break;
    case 6: multiply_groups(m, group, x, y, 6, 1); break;
    case 7: multiply_groups(m, group, x, y, 7, 1); break;
    }
}

/* Arguments of a product with rows that are stored one after another. */
struct dots {
    const real *piece[MOST_PIECES]; /* each (rows, width); NULL if it is stored across the lanes */
    int width[MOST_PIECES];         /* in numbers */
    const int *row;  /* row of each lane; arbitrary in unused lanes */
    vector *x;       /* memory for the numbers of each piece, each piece in new vectors */
};

/* Return W x of the rows in the lanes of a vector, without pieces stored across the lanes. */
static inline vector multiply_lanes(const struct dots *d, const int *row) {
    const vector *x = d->x;
    vector sum[LANES] = {0};
    for (int piece = 0; piece < MOST_PIECES; piece++) {
        const real *weight = d->piece[piece];
        const int width = d->width[piece];
        if (!weight) continue;
        for (int left = width; left > 0; left -= LANES, weight += LANES, x++) {
            if (left >= LANES)
                UNROLL for (int k = 0; k < LANES; k++)
                    sum[k] += load(weight + row[k] * width) * *x;
            else
                UNROLL for (int k = 0; k < LANES; k++)
                    sum[k] += load_some(weight + row[k] * width, left) * *x;
        }
    }
    return sums_over_lanes(sum);
}

static void apply_rows(const struct matrix *m, const vector *in, vector *y) {
    const real *x = (const real *)in;
    const struct dots *d = m->dots;
    vector *to = d->x;
    for (int piece = 0, k = 0; piece < MOST_PIECES; k += d->width[piece++]) {
        if (!d->piece[piece]) continue;
        for (int i = 0; i < d->width[piece]; i++) ((real *)to)[i] = x[m->at[k + i]];
        to += (d->width[piece] + LANES - 1) / LANES;
    }
    for (int group = 0; group < m->rows; group++) {
        y[group] = multiply_lanes(d, d->row + group * LANES);
        for (int piece = 0, k = 0; piece < MOST_PIECES; k += d->width[piece++])
            for (int i = k; i < k + d->width[piece] && !d->piece[piece]; i++)
                y[group] += m->across[group * m->numbers + i] * x[m->at[i]];
    }
}

/* y = W x */
static void apply(const struct matrix *m, const vector *x, vector *y) {
    if (m->dots)
        apply_rows(m, x, y);
    else if (m->across)
        apply_to_one(m, x, y);
    else
        multiply(m->packed, m->rows, m->columns, x, y);
}

#endif
