/* A circuit over a small batch: ltc.c with vectors half as wide, on processors with AVX-512.
 *
 * They need about half the time and give bitwise the same results: lanes do not mix, and a sum over
 * lanes begins by adding the upper half of the lanes, which is zero where there are no samples.
 */

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define NARROW
#include "ltc.c"
#endif
