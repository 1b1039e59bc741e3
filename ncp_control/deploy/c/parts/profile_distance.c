/* Return the Mahalanobis distance of an observation's statistics from good driving, about 1 for
 * usual ones; 1e15 if it is larger. `whitening` holds the rows of a lower triangular matrix. */
static float profile_distance(const float *x)
{
    const float *factor = whitening;
    float sum = 0.0f;
    for (int row = 0; row < STATISTICS; row++) {
        float part = 0.0f;
        for (int k = 0; k <= row; k++) part += *factor++ * (x[k] - profile_mean[k]);
        sum += part * part;
    }
    if (!(sum <= 1e30f)) return 1e15f;
    return sum > 1e-30f ? square_root(sum) : 0.0f;
}
