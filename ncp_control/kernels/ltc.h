/* Arguments of the kernel from Python. `native.py` mirrors this structure field by field.
 *
 * Arrays are dense and in C order; B batch, T steps, I inputs, N neurons, O outputs, S synapses.
 * `x_bar` is the derivative of the loss with respect to the array `x`. Free ("raw") parameters are
 * those that the optimiser changes.
 */

#ifndef NCP_LTC_H
#define NCP_LTC_H

#include "vector.h"

enum { SEMI_IMPLICIT_EULER = 0, LAYERED_MIDPOINT = 1 };

struct sequence {
    int64_t batch, steps, inputs, neurons, synapses, layers, outputs, unfolds, integrator, threads;
    double frame_s;

    const real *input; /* (B, T, I) */
    real *state;       /* (B, N): before the first step; the control step advances it */
    const real *dt_s;  /* (B, T) */

    const real *raw_capacitance, *raw_leak_conductance, *leak_potential; /* (N) */
    const real *raw_weight, *threshold, *slope, *raw_reversal;           /* (S) */
    const real *input_scale, *input_offset;                              /* (I) */
    const real *output_scale, *output_offset;                            /* (O) */

    const uint8_t *reset; /* (B, T), or NULL */

    /* Wiring: sensory synapses first, then by target. A source is an input 0 … I − 1 or the neuron
     * source − I; a target is a neuron. A layer is {first neuron, end, is recurrent}. */
    const int64_t *source, *target; /* (S) */
    const real *sign;               /* (S): -1 or 1 */
    const int64_t *layer;           /* (layers, 3) */

    real *states; /* (B, T, N): after every step */
    real *output; /* (B, T, O): the last neurons, scaled and shifted */
    real *tape;   /* values for the adjoint, or NULL */

    const real *states_bar, *output_bar; /* either may be NULL: the loss does not depend on it */
    real *input_bar, *state_bar, *dt_s_bar;
    real *raw_capacitance_bar, *raw_leak_conductance_bar, *leak_potential_bar;
    real *raw_weight_bar, *threshold_bar, *slope_bar, *raw_reversal_bar;
    real *input_scale_bar, *input_offset_bar, *output_scale_bar, *output_offset_bar;
};

#define EXPORT __attribute__((visibility("default")))

enum { OK = 0, OUT_OF_MEMORY = 1, BAD_WIRING = 2 };

#endif
