/* Dense layers on a block of samples: y = W x, its adjoint, and the gradient of W.
 *
 * A vector holds one number of LANES samples, so x and y are arrays of vectors, and each weight is
 * broadcast. In memory, W consists of several pieces side by side, in torch's format (for example
 * [state | inputs | bias]); if the last piece is a bias, the last entry of x is 1.
 *
 * Weights are packed once per call into the order in which `multiply` reads them: ROWS rows at a
 * time, column by column, so that ROWS sums stay in registers. The last rows form a smaller group.
 */

#ifndef NCP_DENSE_H
#define NCP_DENSE_H

#include "memory.h"
#include "vector.h"

#define ROWS 8
#define MOST_PIECES 4

struct dots;

struct matrix {
    int rows, columns;
    int width[MOST_PIECES];             /* columns of each piece */
    const real *weight;                 /* the pieces, concatenated, each (rows, width) */
    int led_back;                       /* number of columns whose x has a derivative */
    const real *packed, *packed_adjoint; /* W, and the transpose of those columns */
    int is_summed; /* whether the cell sums up the gradient itself, one vector per weight */
    int gradient;  /* position of the gradient among those of all matrices */

    /* Position of x in the record of a frame, and of ȳ among its derivatives; for a matrix that is
     * used several times per frame, the next ones follow at these distances [vectors]. */
    int x, y_bar, uses, x_step, y_bar_step;

    /* Order of rows and columns in the lanes of a control step; see spread.h. */
    enum { IN_BLOCKS, AS_STATE, AS_SYNAPSES } order; /* of the rows */
    int blocks;            /* number of blocks of equal size, such as the gates of an LSTM */
    int sees_state;        /* whether the first piece has a column for each entry of the state */
    const vector *across;  /* W with LANES rows side by side; NULL for a block of samples */
    const int *at;         /* position of the number of each column; `numbers` is their count */
    int numbers;
    const struct dots *dots; /* if rows are read where the cell keeps them, else NULL */
};

/* Position of a packed weight by output and input: ROWS outputs at a time, input by input. */
static inline int find_packed(int output, int input, int outputs, int inputs) {
    const int first = output / ROWS * ROWS, left = outputs - first;
    return first * inputs + input * (left < ROWS ? left : ROWS) + output - first;
}

/* Pack W and, if `adjoint` is not NULL, the transpose of the columns that have a derivative. */
static void pack(const struct matrix *m, real *to, real *adjoint) {
    const real *weight = m->weight;
    for (int piece = 0, first = 0; piece < MOST_PIECES; first += m->width[piece++])
        for (int row = 0; row < m->rows; row++)
            for (int column = first; column < first + m->width[piece]; column++, weight++) {
                to[find_packed(row, column, m->rows, m->columns)] = *weight;
                if (adjoint && column < m->led_back)
                    adjoint[find_packed(column, row, m->led_back, m->rows)] = *weight;
            }
}

static inline __attribute__((always_inline)) void multiply_rows(const real *packed, int columns,
                                                                const vector *x, vector *y,
                                                                const int rows) {
    vector sum[ROWS] = {0};
    for (int k = 0; k < columns; k++, packed += rows)
        UNROLL for (int r = 0; r < rows; r++) sum[r] += packed[r] * x[k];
    UNROLL for (int r = 0; r < rows; r++) y[r] = sum[r];
}

/* y = W x with packed weights. */
static void multiply(const real *packed, int rows, int columns, const vector *x, vector *y) {
    int row = 0;
    for (; row + ROWS <= rows; row += ROWS)
        multiply_rows(packed + row * columns, columns, x, y + row, ROWS);
    packed += row * columns;
    y += row;
    switch (rows - row) {
    case 1: multiply_rows(packed, columns, x, y, 1); break;
    case 2: multiply_rows(packed, columns, x, y, 2); break;
    case 3: multiply_rows(packed, columns, x, y, 3); break;
    case 4: multiply_rows(packed, columns, x, y, 4); break;
    case 5: multiply_rows(packed, columns, x, y, 5); break;
    case 6: multiply_rows(packed, columns, x, y, 6); break;
    case 7: multiply_rows(packed, columns, x, y, 7); break;
    }
}

/* An entry of a matrix of parameters (not a layer), broadcast to all samples, or of LANES rows. */
static inline vector entry(const struct matrix *m, int row, int column) {
    return m->across ? m->across[row * m->numbers + column]
                     : broadcast(m->weight[row * m->columns + column]);
}

/* x̄ = Wᵀ ȳ for the columns that have a derivative. */
static void lead_back(const struct matrix *m, const vector *y_bar, vector *x_bar) {
    multiply(m->packed_adjoint, m->led_back, m->rows, y_bar, x_bar);
}

/* Size of a tile of weights whose gradients are summed up together, in registers. */
#define TILE_ROWS (VECTOR_BYTES == 64 ? 4 : 2)
#define TILE_COLUMNS 4
#define TILE_VECTORS ((TILE_ROWS * TILE_COLUMNS + LANES - 1) / LANES * LANES)

/* Number of columns whose x stays in the nearest cache while all rows are processed. */
#define PANEL_COLUMNS (4 * TILE_COLUMNS)

/* Positions of the data of some frames, and their distances from frame to frame. */
struct frames {
    const vector *record, *bars;
    int64_t record_step, bars_step;
    int count;
};

/* Add Σ ȳ x of some frames to the gradient of a tile. If W ends inside the tile, the last row or
 * column is computed again and dropped: for whole tiles, the compiler knows all distances. */
static inline __attribute__((always_inline)) void add_tile_gradient(const struct matrix *m, int row,
                                                                    int column, struct frames f,
                                                                    vector *gradient,
                                                                    const int is_whole) {
    vector sum[TILE_VECTORS] = {0};
    int r[TILE_ROWS], c[TILE_COLUMNS];
    for (int i = 0; i < TILE_ROWS; i++)
        r[i] = is_whole || row + i < m->rows ? i : m->rows - 1 - row;
    for (int k = 0; k < TILE_COLUMNS; k++)
        c[k] = is_whole || column + k < m->columns ? k : m->columns - 1 - column;
    for (int use = 0; use < m->uses; use++) {
        const vector *from_x = f.record + m->x + use * m->x_step + column;
        const vector *from_y_bar = f.bars + m->y_bar + use * m->y_bar_step + row;
        for (int t = 0; t < f.count; t++, from_x += f.record_step, from_y_bar += f.bars_step) {
            /* Four variables: from an array, GCC would load each x again for every row. */
            const vector x0 = from_x[c[0]], x1 = from_x[c[1]], x2 = from_x[c[2]], x3 = from_x[c[3]];
            UNROLL for (int i = 0; i < TILE_ROWS; i++) {
                const vector y_bar = from_y_bar[r[i]];
                vector *s = sum + i * TILE_COLUMNS;
                s[0] += y_bar * x0;
                s[1] += y_bar * x1;
                s[2] += y_bar * x2;
                s[3] += y_bar * x3;
            }
        }
    }
    for (int k = 0; k < TILE_VECTORS; k += LANES) gradient[k / LANES] += sums_over_lanes(sum + k);
}

static int count_tiles(int size, int tile) { return (size + tile - 1) / tile; }

/* Number of vectors for the gradient of a matrix, tile by tile or weight by weight. */
static int count_gradient_vectors(const struct matrix *m) {
    if (m->is_summed) return m->rows * m->columns;
    return count_tiles(m->rows, TILE_ROWS) * count_tiles(m->columns, TILE_COLUMNS) *
           (TILE_VECTORS / LANES);
}

static void add_gradient(const struct matrix *m, struct frames f, vector *gradient) {
    const int tiles = count_tiles(m->columns, TILE_COLUMNS);
    for (int panel = 0; panel < m->columns; panel += PANEL_COLUMNS)
        for (int row = 0; row < m->rows; row += TILE_ROWS)
            for (int column = panel; column < panel + PANEL_COLUMNS && column < m->columns;
                 column += TILE_COLUMNS) {
                const int tile = row / TILE_ROWS * tiles + column / TILE_COLUMNS;
                vector *to = gradient + tile * (TILE_VECTORS / LANES);
                if (row + TILE_ROWS <= m->rows && column + TILE_COLUMNS <= m->columns)
                    add_tile_gradient(m, row, column, f, to, 1);
                else
                    add_tile_gradient(m, row, column, f, to, 0);
            }
}

/* Copy the gradient from tiles to pieces; a matrix with `is_summed` has one piece. */
static void write_gradient(const struct matrix *m, const vector *gradient, real *to) {
    for (int k = 0; k < m->rows * m->columns && m->is_summed; k++)
        to[k] = sum_of_lanes(gradient[k]);
    if (m->is_summed) return;
    const int tiles = count_tiles(m->columns, TILE_COLUMNS);
    const real *from = (const real *)gradient;
    for (int piece = 0, first = 0; piece < MOST_PIECES; first += m->width[piece++])
        for (int row = 0; row < m->rows; row++)
            for (int column = first; column < first + m->width[piece]; column++) {
                const int tile = row / TILE_ROWS * tiles + column / TILE_COLUMNS;
                *to++ = from[tile * TILE_VECTORS + row % TILE_ROWS * TILE_COLUMNS +
                             column % TILE_COLUMNS];
            }
}

#endif
