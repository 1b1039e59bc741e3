/* Add up what stays the same over a step: the leak, and the synapses from the inputs. */
static void hold_inputs(workspace *w, const float *input)
{
    for (int i = 0, s = 0; i < NEURONS; i++) {
        w->held[i] = add_synapses(leak_of(i), s, ltc_ends[i].sensory, input);
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
            flow_of(i, add_synapses(w->held[i], first_inner(i), ltc_ends[i].inner, state));
        tau_s[i] = ltc_neurons[i].capacitance_s / sum.conductance;
    }
}

/* Return the length of a sub-step [s]. */
static float sub_step(float dt_s)
{
    return dt_s / (float)UNFOLDS;
}
