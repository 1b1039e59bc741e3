/* A circuit over a small batch: ltc.c with vectors half as wide, on processors with AVX-512.
 *
 * They need about half the time, and find the same bits: lanes do not mix, and a sum over lanes
 * begins with adding the upper half of the lanes, which are zeros where no sample is.
 */

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define NARROW
#include "ltc.c"
#endif
