/* Set result = start + the sum of x_i times row i of `weight`, which has a number for each output.
 * Eight outputs are taken together, so that their sums stay in registers. `start` may be `result`. */
#define DENSE_BLOCKS(SIZE, EACH)                                                  \
    for (; outputs - first >= SIZE; first += SIZE) {                              \
        const float *row = weight + first;                                        \
        float sum[SIZE];                                                          \
        EACH(sum[k] = start[first + k])                                           \
        for (int i = 0; i < inputs; i++, row += outputs) {                        \
            const float factor = x[i];                                            \
            EACH(sum[k] += factor * row[k])                                       \
        }                                                                         \
        EACH(result[first + k] = sum[k])                                          \
    }

static void dense(const float *weight, const float *start, const float *x, int inputs,
                  int outputs, float *result)
{
    int first = 0;
    DENSE_BLOCKS(8, FOR_8)
    DENSE_BLOCKS(1, FOR_1)
}
