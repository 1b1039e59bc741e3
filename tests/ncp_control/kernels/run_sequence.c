/* Run a kernel on a sequence read from stdin, for processors that Python is not running on: that of
 * dense cells with -DDENSE, or else that of the LTC.
 *
 * In: the sizes and settings of the kernel's structure; then for each array its bytes (0 for NULL)
 * and its contents, zeros for results. Out: all arrays after a forward and an adjoint pass; of an LTC
 * then the state of the first sample after a control step with its first frame.
 */

#include <stddef.h>
#include <stdio.h>

#ifdef DENSE
#include "dense.c"
typedef struct dense_sequence task;
#define FIRST_ARRAY shape
#define FORWARD ncp_dense_forward
#define ADJOINT ncp_dense_adjoint
#else
#include "ltc.c"
typedef struct sequence task;
#define FIRST_ARRAY input
#define FORWARD ncp_ltc_forward
#define ADJOINT ncp_ltc_adjoint
#endif

#define ARRAYS ((sizeof(task) - offsetof(task, FIRST_ARRAY)) / sizeof(void *))

static int read_all(void *to, size_t bytes) { return fread(to, 1, bytes, stdin) == bytes; }

int main(void) {
    task q = {0};
    int64_t bytes[ARRAYS];
    void **array = (void **)&q.FIRST_ARRAY;
    if (!read_all(&q, offsetof(task, FIRST_ARRAY))) return 1;
    for (size_t k = 0; k < ARRAYS; k++) {
        if (!read_all(&bytes[k], sizeof bytes[k])) return 2;
        const size_t lines = (bytes[k] + 63) / 64 * 64;
        if (bytes[k] && !(array[k] = lines == bytes[k] ? aligned_alloc(64, lines) : malloc(bytes[k])))
            return 3;
        if (bytes[k] && !read_all(array[k], bytes[k])) return 4;
    }
    if (FORWARD(&q) != OK || ADJOINT(&q) != OK) return 5;
    for (size_t k = 0; k < ARRAYS; k++)
        if (bytes[k]) fwrite(array[k], 1, bytes[k], stdout);
#ifndef DENSE
    struct step *step;
    if (ncp_ltc_make_step(&q, &step) != OK) return 6;
    ncp_ltc_step(step);
    fwrite(q.state, sizeof(real), q.neurons, stdout);
    ncp_ltc_free_step(step);
#endif
    for (size_t k = 0; k < ARRAYS; k++) free(array[k]);
    return 0;
}
