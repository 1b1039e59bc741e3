/* The saturated liquid circuit:
 *
 *     C dv_i/dt = elastance_i (e tanh(update_i) - sigmoid(forget_i) v_i)
 *     forget_i = g + sum of w s(x_j),  update_i = g + sum of k s(x_j),  logit_i = p + sum of o x_j
 *     s(x) = 1 / (1 + 2^(rate (x - centre)))
 *
 * x_j is an input or the potential of the neuron that the synapse comes from. C is in seconds. The
 * elastance is 1 (ELASTANCE 0), sigmoid(logit) (1), or sigmoid(logit + h) - sigmoid(logit - h) (2).
 */

/* Add the synapses from `first` to before `end`, all of one neuron, to its sums. */
static struct controller_sums add_synapses(struct controller_sums sum, int first, int end,
                                           const float *signal)
{
    for (int s = first; s < end; s++) {
        const struct ltc_synapse *synapse = &ltc_synapses[s];
        const float x = signal[ltc_sources[s]];
        const float opening = sigmoid_of_log2((x - synapse->centre) * synapse->rate);
        sum.forget += opening * synapse->weight;
        sum.update += opening * synapse->update_weight;
#if ELASTANCE
        sum.logit += x * synapse->elastance_weight;
#endif
    }
    return sum;
}

/* What the leak adds to the sums of neuron i. */
static struct controller_sums leak_of(int i)
{
    struct controller_sums sum;
    sum.forget = ltc_neurons[i].leak;
    sum.update = ltc_neurons[i].leak;
#if ELASTANCE
    sum.logit = ltc_neurons[i].elastance_bias;
#endif
    return sum;
}

/* Return conductance and drive of neuron i. */
static struct controller_flow flow_of(int i, struct controller_sums sum)
{
    struct controller_flow flow;
    flow.conductance = sigmoid(sum.forget);
    flow.drive = ltc_neurons[i].leak_potential * hyperbolic_tangent(sum.update);
#if ELASTANCE
    {
        const float y = sum.logit < -LARGEST_LOGIT  ? -LARGEST_LOGIT
                        : sum.logit > LARGEST_LOGIT ? LARGEST_LOGIT
                                                    : sum.logit;
#if ELASTANCE == 1
        const float share = sigmoid(y);
#else
        /* The difference as a product, which loses no digits; the span is 1 - exp(-2 h). */
        const float h = ltc_neurons[i].elastance_width;
        const float share = sigmoid(h + y) * sigmoid(h - y) * ltc_neurons[i].elastance_span;
#endif
        flow.conductance *= share;
        flow.drive *= share;
    }
#endif
    return flow;
}
