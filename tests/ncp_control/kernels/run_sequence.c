/* Run the LTC kernel on a sequence read from stdin, for processors that Python is not running on.
 *
 * In: the sizes and frame_s of `struct sequence`; then for each array its bytes (0 for NULL) and
 * its contents, zeros for results. Out: all arrays after a forward and an adjoint pass, then the
 * state of the first sample after a control step with its first frame.
 */

#include <stddef.h>
#include <stdio.h>

#include "ltc.c"

#define ARRAYS ((sizeof(struct sequence) - offsetof(struct sequence, input)) / sizeof(void *))

static int read_all(void *to, size_t bytes) { return fread(to, 1, bytes, stdin) == bytes; }

int main(void) {
    struct sequence q = {0};
    struct step *step;
    int64_t bytes[ARRAYS];
    void **array = (void **)&q.input;
    if (!read_all(&q, offsetof(struct sequence, input))) return 1;
    for (size_t k = 0; k < ARRAYS; k++) {
        if (!read_all(&bytes[k], sizeof bytes[k])) return 2;
        if (bytes[k] && !(array[k] = allocate(bytes[k]))) return 3;
        if (bytes[k] && !read_all(array[k], bytes[k])) return 4;
    }
    if (ncp_ltc_forward(&q) != OK || ncp_ltc_adjoint(&q) != OK) return 5;
    for (size_t k = 0; k < ARRAYS; k++) fwrite(array[k], 1, bytes[k], stdout);
    if (ncp_ltc_make_step(&q, &step) != OK) return 6;
    ncp_ltc_step(step);
    fwrite(q.state, sizeof(real), q.neurons, stdout);
    ncp_ltc_free_step(step);
    return 0;
}
