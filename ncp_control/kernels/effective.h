/* The effective parameters of a circuit, in the form of the inner loops.
 *
 *     s(x; μ, γ) = 1 / (1 + exp(−γ(x − μ))) = 1 / (1 + 2^(rate x + shift))
 *     rate = −γ α log₂e     shift = γ (μ − β) log₂e     gain = γ α w
 *
 * with the input's scale α and offset β for a sensory synapse, 1 and 0 for an inner one, so that x
 * is the raw input or the potential. C, g, w and |E| are softplus of free parameters; C is also
 * multiplied by the frame interval.
 */

#ifndef NCP_EFFECTIVE_H
#define NCP_EFFECTIVE_H

#include <math.h>

#include "circuit.h"

static real softplus(real x) {
    if (x > 20) return x; /* torch's threshold */
    return sizeof(real) == sizeof(float) ? (real)log1pf(expf((float)x)) : (real)log1p(exp(x));
}

static real softplus_slope(real x) {
    if (x > 20) return 1;
    return 1 / (1 + (sizeof(real) == sizeof(float) ? (real)expf((float)-x) : (real)exp(-x)));
}

static void map_parameters(struct circuit *c, const struct sequence *q) {
    const double log2_e = 1.4426950408889634;
    for (int s = 0; s < c->synapses; s++) {
        struct synapse *synapse = &c->synapse[s];
        const int is_sensory = s < c->sensory_synapses;
        const double scale = is_sensory ? q->input_scale[synapse->source] : 1;
        const double offset = is_sensory ? q->input_offset[synapse->source] : 0;
        synapse->rate = (real)(-log2_e * q->slope[s] * scale);
        synapse->shift = (real)(log2_e * q->slope[s] * (q->threshold[s] - offset));
        synapse->weight = softplus(q->raw_weight[s]);
        synapse->reversal = q->sign[s] * softplus(q->raw_reversal[s]);
        synapse->weighted_reversal = synapse->weight * synapse->reversal;
        synapse->gain = (real)(synapse->weight * q->slope[s] * scale);
    }
    for (int i = 0; i < c->neurons; i++) {
        struct neuron *neuron = &c->neuron[i];
        neuron->capacitance_s = (real)q->frame_s * softplus(q->raw_capacitance[i]);
        neuron->reciprocal_c = 1 / neuron->capacitance_s;
        neuron->leak = softplus(q->raw_leak_conductance[i]);
        neuron->leak_drive = neuron->leak * q->leak_potential[i];
    }
}

/* Build the circuit of a sequence; call `free_circuit` later if the status is OK. */
static int make_circuit(struct circuit *c, const struct sequence *q) {
    const int status = make_wiring(c, q);
    if (status == OK) map_parameters(c, q);
    return status;
}

#endif
