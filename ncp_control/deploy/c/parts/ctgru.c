/* A continuous-time gated recurrent unit. Each unit keeps a trace for each of SCALES time
 * constants. The traces fade, are read at one scale, and an event is stored at another. */

/* Write the softmax over the scales of -(log_scale - log of the time constant)^2. */
static void scale_shares(float log_scale, float *share)
{
    float most = 0.0f, total = 0.0f;
    for (int m = 0; m < SCALES; m++) {
        share[m] = (2.0f * log_scale - ctgru_scales[m].logarithm) * ctgru_scales[m].logarithm;
        if (m == 0 || share[m] > most) most = share[m];
    }
    for (int m = 0; m < SCALES; m++) {
        share[m] = exp2_limited((share[m] - most) * 1.44269504f);
        total += share[m];
    }
    for (int m = 0; m < SCALES; m++) share[m] /= total;
}

static void cell_step(workspace *w, const float *input, float *state, float dt_s)
{
    dense(ctgru_input_map, ctgru_bias, input, INPUTS, 3 * UNITS, w->projected);
    for (int i = 0; i < UNITS; i++) {
        w->units[i] = 0.0f;
        for (int m = 0; m < SCALES; m++) {
            float *trace = &state[i * SCALES + m];
            *trace *= exp2_limited(dt_s / ctgru_scales[m].time_s * -1.44269504f);
            w->units[i] += *trace;
        }
    }
    dense(ctgru_scale_map, w->projected, w->units, UNITS, 2 * UNITS, w->projected);
    for (int i = 0; i < UNITS; i++) {
        scale_shares(w->projected[i], w->share);
        w->units[i] = 0.0f;
        for (int m = 0; m < SCALES; m++) w->units[i] += w->share[m] * state[i * SCALES + m];
    }
    dense(ctgru_event_map, w->projected + 2 * UNITS, w->units, UNITS, UNITS,
          w->projected + 2 * UNITS);
    for (int i = 0; i < UNITS; i++) {
        const float event = hyperbolic_tangent(w->projected[2 * UNITS + i]);
        scale_shares(w->projected[UNITS + i], w->share);
        for (int m = 0; m < SCALES; m++) {
            float *trace = &state[i * SCALES + m];
            *trace += w->share[m] * (event - *trace);
        }
    }
}

/* Write the time constant of each trace [s]. */
static void cell_time_constants(const workspace *w, const float *state, float *tau_s)
{
    (void)w;
    (void)state;
    for (int k = 0; k < UNITS * SCALES; k++) tau_s[k] = ctgru_scales[k % SCALES].time_s;
}
