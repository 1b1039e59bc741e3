/* Put the elapsed time, in frames, behind the inputs. */
static const float *seen_with_time(workspace *w, const float *input, float dt_s)
{
    for (int k = 0; k < INPUTS; k++) w->seen[k] = input[k];
    w->seen[INPUTS] = dt_s / NOMINAL_FRAME_S;
    return w->seen;
}
