/* Compare an observation's statistics with good driving. */
static int likeness_fault(float *x, float *distance)
{
    *distance = profile_distance(x);
    return *distance <= FARTHEST ? 0 : CONTROLLER_FAULT_FAR;
}
