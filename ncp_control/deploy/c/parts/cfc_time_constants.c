/* Write the time constant of each neuron [s], at the latest inputs. */
static void cell_time_constants(workspace *w, const float *state, float *tau_s)
{
    closed_form_time_constants(cell_heads(w, state), 0, NEURONS, tau_s);
}
