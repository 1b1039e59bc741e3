/* Compare an observation's statistics with good driving. With wrong colours, it is nearer after red
 * and blue are swapped. */
static int likeness_fault(float *x, float *distance)
{
    *distance = profile_distance(x);
    if (x[STATISTICS - 2] < LEAST_SHARPNESS) return CONTROLLER_FAULT_BLURRED;
#ifdef SEEN_NUMBERS
    if (!are_within(x, seen_lowest, seen_highest, SEEN_NUMBERS)) return CONTROLLER_FAULT_FAR;
#endif
#if COLOURS == 3
    float *red = x + STATISTICS - 4 - 2 * BLOCK_ROWS, *blue = red + BLOCK_ROWS;
    for (int k = 0; k < BLOCK_ROWS; k++) {
        const float kept = red[k];
        red[k] = blue[k];
        blue[k] = kept;
    }
    const float swapped = profile_distance(x);
    const int is_nearer = *distance > SWAP_RATIO * swapped;
    const int is_clear = swapped <= FARTHEST || *distance > CLEARLY_FARTHER * swapped;
    if ((is_nearer && is_clear) || (swapped <= FARTHEST && *distance > FARTHEST))
        return CONTROLLER_FAULT_COLOURS;
#endif
    return *distance <= FARTHEST ? 0 : CONTROLLER_FAULT_FAR;
}
