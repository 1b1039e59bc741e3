/* The liquid time-constant circuit:
 *
 *     C dv_i/dt = b_i - a_i v_i,  a_i = g + sum of w s(x_j),  b_i = g V + sum of w E s(x_j)
 *     s(x) = 1 / (1 + 2^(rate (x - centre)))
 *
 * x_j is an input or the potential of the neuron that the synapse comes from. C is in seconds. */

/* Add the synapses from `first` to before `end`, all of one neuron, to a and b. */
static struct controller_flow add_synapses(struct controller_flow sum, int first, int end,
                                           const float *signal)
{
    for (int s = first; s < end; s++) {
        const struct ltc_synapse *synapse = &ltc_synapses[s];
        const float opening =
            sigmoid_of_log2((signal[ltc_sources[s]] - synapse->centre) * synapse->rate);
        sum.conductance += opening * synapse->weight;
        sum.drive += opening * synapse->weighted_reversal;
    }
    return sum;
}

/* What the leak adds to a and b of neuron i. */
static struct controller_flow leak_of(int i)
{
    const struct controller_flow leak = {ltc_neurons[i].leak, ltc_neurons[i].leak_drive};
    return leak;
}

/* The sums are a and b themselves. */
static struct controller_flow flow_of(int i, struct controller_flow sum)
{
    (void)i;
    return sum;
}
