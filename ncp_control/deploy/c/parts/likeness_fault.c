/* Compare an observation's statistics with good driving. */
static int likeness_fault(float *x, float *distance)
{
    *distance = profile_distance(x);
#ifdef SEEN_NUMBERS
    if (!are_within(x, seen_lowest, seen_highest, SEEN_NUMBERS)) return CONTROLLER_FAULT_FAR;
#endif
    return *distance <= FARTHEST ? 0 : CONTROLLER_FAULT_FAR;
}
