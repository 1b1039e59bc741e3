/* A conv head on one frame: pixels in, features out, in single precision.
 *
 *     x = (pixel - mean) / max(deviation, 1)                   over all pixels of the frame
 *     x_o(p) = max(0, b_o + sum over i of w_oi x_i(p))         each convolution, at place p
 *     f_mk = max(0, c_mk + sum over p of u_mpk x_m(p))         map m of the last, its feature k
 *
 * i runs over the kernel's rows and columns and the input's channels. Python passes the weights in
 * torch's layout. They are copied so that the outputs of a convolution are contiguous: a vector
 * holds some outputs of one place, and PLACES places share each weight that is read. A convolution
 * reads from a copy of its input with a border of zeros, so no place is a special case.
 *
 * Each call compares the current weights with those that it was prepared for, and prepares again if
 * one has changed, so it never runs with old weights. Each weight is used at hundreds of places, so
 * the comparison takes little of the time.
 */

#include "memory.h"
#include <math.h>

#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

enum { OK = 0, OUT_OF_MEMORY = 1 };

#define PLACES 8
#define MAPS 8
#define FEATURES_PER_MAP 4
#define MOST_CONVOLUTIONS 16

/* `head_step.py` mirrors these two structures field by field. A map has `channels` numbers per
 * place. */
struct convolution_sizes {
    int64_t in_height, in_width, in_channels, out_height, out_width, out_channels;
    int64_t kernel, stride, padding;
    const float *weight; /* (out channels, in channels, kernel, kernel) */
    const float *bias;   /* (out channels): a multiple of 4 */
};

struct head_sizes {
    int64_t convolutions;
    const float *feature_weight; /* (MAPS, places, FEATURES_PER_MAP) */
    const float *feature_bias;   /* (MAPS, FEATURES_PER_MAP) */
    float *features;             /* (MAPS, FEATURES_PER_MAP): filled by each call */
    struct convolution_sizes convolution[MOST_CONVOLUTIONS];
};

struct convolution {
    struct convolution_sizes sizes;
    int64_t inputs, blocks;     /* terms in the sum of an output; groups of PLACES places */
    int64_t row, padded_height; /* numbers in a row of the padded input; its rows */
    float *input;               /* padded */
    int32_t *from, *to;         /* (blocks, PLACES): read and write position of each place */
    float *known, *packed;      /* weights at the last call, and in blocks of outputs */
};

struct head {
    struct head_sizes sizes;
    struct convolution convolution[MOST_CONVOLUTIONS];
    float *maps; /* of the last convolution: (places, MAPS) */
};

static size_t count_weights(const struct convolution *c) {
    return c->sizes.out_channels * c->inputs;
}

/* Sum up one block of outputs at PLACES places. Negative sums become 0; a NaN stays. */
#define CONVOLVE_BLOCK(WIDTH)                                                                  \
    typedef float row_of_##WIDTH __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias)); \
    typedef int32_t mask_of_##WIDTH __attribute__((vector_size(4 * WIDTH), aligned(4)));        \
    static void convolve_##WIDTH(const struct convolution *c, const float *packed,             \
                                 const float *bias, const int32_t *from, const int32_t *to,    \
                                 float *output) {                                              \
        const int run = (int)(c->sizes.kernel * c->sizes.in_channels);                         \
        const row_of_##WIDTH *weight = (const row_of_##WIDTH *)packed;                         \
        const float *seen[PLACES];                                                             \
        row_of_##WIDTH sum[PLACES];                                                            \
        UNROLL for (int p = 0; p < PLACES; p++) seen[p] = c->input + from[p];                  \
        UNROLL for (int p = 0; p < PLACES; p++) sum[p] = *(const row_of_##WIDTH *)bias;        \
        for (int64_t row = 0; row < c->sizes.kernel; row++) {                                  \
            for (int i = 0; i < run; i++, weight++) {                                          \
                UNROLL for (int p = 0; p < PLACES; p++) sum[p] += seen[p][i] * *weight;        \
            }                                                                                  \
            UNROLL for (int p = 0; p < PLACES; p++) seen[p] += c->row;                         \
        }                                                                                      \
        UNROLL for (int p = 0; p < PLACES; p++) {                                              \
            const mask_of_##WIDTH negative = sum[p] < 0;                                       \
            *(row_of_##WIDTH *)(output + to[p]) =                                              \
                (row_of_##WIDTH)(~negative & (mask_of_##WIDTH)sum[p]);                         \
        }                                                                                      \
    }

#define CONVOLVE_OUTPUTS(WIDTH)                                                                \
    for (; c->sizes.out_channels - first >= WIDTH; first += WIDTH)                             \
        for (int64_t block = 0; block < c->blocks; block++)                                    \
            convolve_##WIDTH(c, c->packed + first * c->inputs, c->sizes.bias + first,          \
                             c->from + block * PLACES, c->to + block * PLACES, output + first);

#if VECTOR_BYTES >= 64
CONVOLVE_BLOCK(16)
#endif
#if VECTOR_BYTES >= 32
CONVOLVE_BLOCK(8)
#endif
CONVOLVE_BLOCK(4)

static void convolve(const struct convolution *c, float *output) {
    int64_t first = 0;
#if VECTOR_BYTES >= 64
    CONVOLVE_OUTPUTS(16)
#endif
#if VECTOR_BYTES >= 32
    CONVOLVE_OUTPUTS(8)
#endif
    CONVOLVE_OUTPUTS(4)
}

/* Return how many outputs, from `first` on, `convolve` computes together. */
static int64_t block_width(const struct convolution *c, int64_t first) {
    int64_t width = VECTOR_BYTES / 4;
    while (c->sizes.out_channels - first < width) width /= 2;
    return width;
}

static void pack(struct convolution *c) {
    const struct convolution_sizes *s = &c->sizes;
    const int64_t area = s->kernel * s->kernel;
    memcpy(c->known, s->weight, count_weights(c) * sizeof(float));
    for (int64_t first = 0, width; first < s->out_channels; first += width) {
        width = block_width(c, first);
        float *packed = c->packed + first * c->inputs;
        for (int64_t at = 0; at < area; at++)
            for (int64_t channel = 0; channel < s->in_channels; channel++)
                for (int64_t k = 0; k < width; k++)
                    *packed++ = s->weight[((first + k) * s->in_channels + channel) * area + at];
    }
}

typedef uint8_t pixels_of_16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint32_t whole_of_16 __attribute__((vector_size(64)));
typedef float real_of_16 __attribute__((vector_size(64), aligned(4), may_alias));

/* Copy the frame into the first convolution's input, standardised to mean 0 and deviation 1 (a
 * deviation below one grey level counts as 1). The sums are integers, so they are exact. */
static void standardize(const struct convolution *c, const uint8_t *frame) {
    const struct convolution_sizes *s = &c->sizes;
    const int64_t width = s->in_width * s->in_channels, count = s->in_height * width;
    uint64_t sum = 0, sum_of_squares = 0;
    int64_t k = 0;
    while (count - k >= 16) {
        whole_of_16 sums = {0}, squares = {0};
        for (int step = 0; step < 4096 && count - k >= 16; step++, k += 16) {
            const pixels_of_16 pixels = *(const pixels_of_16 *)(frame + k);
            const whole_of_16 x = __builtin_convertvector(pixels, whole_of_16);
            sums += x;
            squares += x * x;
        }
        for (int lane = 0; lane < 16; lane++) sum += sums[lane], sum_of_squares += squares[lane];
    }
    for (; k < count; k++) sum += frame[k], sum_of_squares += (uint64_t)frame[k] * frame[k];
    const double mean = (double)sum / count, variance = (double)sum_of_squares / count - mean * mean;
    const float shift = (float)mean, scale = variance < 1 ? 1 : (float)(1 / sqrt(variance));
    for (int64_t y = 0; y < s->in_height; y++, frame += width) {
        float *to = c->input + (y + s->padding) * c->row + s->padding * s->in_channels;
        for (k = 0; width - k >= 16; k += 16) {
            const pixels_of_16 pixels = *(const pixels_of_16 *)(frame + k);
            const real_of_16 x = __builtin_convertvector(pixels, real_of_16);
            *(real_of_16 *)(to + k) = (x - shift) * scale;
        }
        for (; k < width; k++) to[k] = (frame[k] - shift) * scale;
    }
}

/* Each map has a dense layer of its own. */
static void find_features(const struct head *h) {
    const struct convolution_sizes *last = &h->convolution[h->sizes.convolutions - 1].sizes;
    const int64_t places = last->out_height * last->out_width;
    row_of_4 sum[MAPS];
    UNROLL for (int m = 0; m < MAPS; m++)
        sum[m] = *(const row_of_4 *)(h->sizes.feature_bias + m * FEATURES_PER_MAP);
    for (int64_t p = 0; p < places; p++) {
        const float *weight = h->sizes.feature_weight + p * FEATURES_PER_MAP;
        UNROLL for (int m = 0; m < MAPS; m++)
            sum[m] += h->maps[p * MAPS + m] *
                      *(const row_of_4 *)(weight + m * places * FEATURES_PER_MAP);
    }
    UNROLL for (int m = 0; m < MAPS; m++) {
        const mask_of_4 negative = sum[m] < 0;
        *(row_of_4 *)(h->sizes.features + m * FEATURES_PER_MAP) =
            (row_of_4)(~negative & (mask_of_4)sum[m]);
    }
}

/* Turn a frame (height, width, channels) into features. */
EXPORT void ncp_head_see(struct head *h, const uint8_t *frame) {
    for (int k = 0; k < h->sizes.convolutions; k++) {
        struct convolution *c = &h->convolution[k];
        if (memcmp(c->known, c->sizes.weight, count_weights(c) * sizeof(float))) pack(c);
    }
    standardize(&h->convolution[0], frame);
    for (int k = 0; k < h->sizes.convolutions; k++) {
        const int is_last = k == h->sizes.convolutions - 1;
        convolve(&h->convolution[k], is_last ? h->maps : h->convolution[k + 1].input);
    }
    find_features(h);
}

EXPORT void ncp_head_free(struct head *h) {
    for (int k = 0; k < h->sizes.convolutions; k++) {
        struct convolution *c = &h->convolution[k];
        release(c->input), release(c->from), release(c->known);
    }
    release(h->maps);
    release(h);
}

/* Store the read and write position of each place. The last block repeats the last place. */
static void find_places(struct convolution *c, const struct convolution *next) {
    const struct convolution_sizes *s = &c->sizes;
    const int64_t margin = next ? next->sizes.padding : 0, last = s->out_height * s->out_width - 1;
    const int64_t row = next ? next->row : s->out_width * s->out_channels;
    for (int64_t k = 0; k < c->blocks * PLACES; k++) {
        const int64_t place = k < last ? k : last, y = place / s->out_width, x = place % s->out_width;
        c->from[k] = (int32_t)(y * s->stride * c->row + x * s->stride * s->in_channels);
        c->to[k] = (int32_t)((y + margin) * row + (x + margin) * s->out_channels);
    }
}

/* Make a head that keeps the addresses in `q`; free it with `ncp_head_free` if the status is OK. */
EXPORT int ncp_head_make(const struct head_sizes *q, struct head **made) {
    struct head *h = allocate(sizeof *h);
    if (!h) return OUT_OF_MEMORY;
    h->sizes = *q;
    int is_complete = 1;
    for (int k = 0; k < q->convolutions; k++) {
        struct convolution *c = &h->convolution[k];
        const struct convolution_sizes *s = &q->convolution[k];
        c->sizes = *s;
        c->inputs = s->kernel * s->kernel * s->in_channels;
        c->blocks = (s->out_height * s->out_width + PLACES - 1) / PLACES;
        c->row = (s->in_width + 2 * s->padding) * s->in_channels;
        c->padded_height = s->in_height + 2 * s->padding;
        c->input = allocate(c->padded_height * c->row * sizeof(float));
        c->from = allocate(2 * c->blocks * PLACES * sizeof(int32_t));
        c->known = allocate((2 * count_weights(c) + 16) * sizeof(float));
        is_complete &= c->input && c->from && c->known;
    }
    const struct convolution_sizes *last = &q->convolution[q->convolutions - 1];
    h->maps = allocate(last->out_height * last->out_width * MAPS * sizeof(float));
    if (!is_complete || !h->maps) {
        ncp_head_free(h);
        return OUT_OF_MEMORY;
    }
    for (int k = 0; k < q->convolutions; k++) {
        struct convolution *c = &h->convolution[k];
        c->to = c->from + c->blocks * PLACES;
        c->packed = c->known + (count_weights(c) + 15) / 16 * 16; /* at a cache line */
        find_places(c, k + 1 < q->convolutions ? c + 1 : NULL);
        pack(c);
    }
    *made = h;
    return OK;
}
