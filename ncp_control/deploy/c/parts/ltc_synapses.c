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

/* Add up what stays the same over a step: the leak, and the synapses from the inputs. */
static void hold_inputs(workspace *w, const float *input)
{
    for (int i = 0, s = 0; i < NEURONS; i++) {
        const struct controller_flow leak = {ltc_neurons[i].leak, ltc_neurons[i].leak_drive};
        w->held[i] = add_synapses(leak, s, ltc_ends[i].sensory, input);
        s = ltc_ends[i].sensory;
    }
}

/* Where the synapses of neuron i from other neurons begin. */
static int first_inner(int i)
{
    return i == 0 ? ltc_ends[NEURONS - 1].sensory : ltc_ends[i - 1].inner;
}

/* Write the time constant C / a of each neuron [s], at the latest inputs. */
static void cell_time_constants(const workspace *w, const float *state, float *tau_s)
{
    for (int i = 0; i < NEURONS; i++) {
        const struct controller_flow sum =
            add_synapses(w->held[i], first_inner(i), ltc_ends[i].inner, state);
        tau_s[i] = ltc_neurons[i].capacitance_s / sum.conductance;
    }
}

/* Return the length of a sub-step [s]. */
static float sub_step(float dt_s)
{
    return dt_s / (float)UNFOLDS;
}
