/* The conv head: a camera frame in, features out. Each layer keeps only the rows that the next
 * convolution still needs, so the frame runs through all layers row by row. */

/* Give the frame mean 0 and deviation 1 (at least that of one grey level): work out what each of
 * the 256 values of a pixel becomes. The sums are whole numbers, so nothing is rounded. */
static void standardize(workspace *w, const uint8_t *frame)
{
    uint64_t sum = 0, sum_of_squares = 0;
    for (int32_t k = 0; k < FRAME_PIXELS; k++) {
        const uint32_t pixel = frame[k];
        sum += pixel;
        sum_of_squares += pixel * pixel;
    }
    const float count = (float)FRAME_PIXELS, mean = (float)sum / count;
    const float variance =
        (float)(sum_of_squares * (uint64_t)FRAME_PIXELS - sum * sum) / count / count;
    const float deviation = square_root(variance < 1.0f ? 1.0f : variance);
    for (int value = 0; value < 256; value++)
        w->standardized[value] = ((float)value - mean) / deviation;
}

/* Copy what a convolution sees at one place: KERNEL rows of KERNEL pixels, 0 outside. */
static void gather(const workspace *w, const uint8_t *frame, const struct convolution *c, int y,
                   int x, float *patch)
{
    const int top = y * c->stride - c->padding, left = x * c->stride - c->padding;
    for (int row = top; row < top + c->kernel; row++)
        for (int column = left; column < left + c->kernel; column++, patch += c->in_channels) {
            if (row < 0 || row >= c->in_height || column < 0 || column >= c->in_width) {
                for (int k = 0; k < c->in_channels; k++) patch[k] = 0.0f;
            } else if (c->rows < 0) {
                const uint8_t *pixel = frame + ((int32_t)row * c->in_width + column) * c->in_channels;
                for (int k = 0; k < c->in_channels; k++) patch[k] = w->standardized[pixel[k]];
            } else {
                const float *pixel =
                    w->rows + c->rows +
                    ((int32_t)(row % c->kernel) * c->in_width + column) * c->in_channels;
                for (int k = 0; k < c->in_channels; k++) patch[k] = pixel[k];
            }
        }
}

/* Add the pixels of one place in the last maps to the features: each map has its own. */
static void add_features(const float *pixel, int place, float *features)
{
    for (int map = 0; map < MAPS; map++)
        for (int k = 0; k < FEATURES_PER_MAP; k++)
            features[map * FEATURES_PER_MAP + k] += pixel[map] * feature_weights[map][place][k];
}

/* Compute row y of what a convolution returns, and hand it on. */
static void convolve_row(workspace *w, const uint8_t *frame, int layer, int y, float *features)
{
    const struct convolution *c = &convolutions[layer], *next = c + 1;
    const int inputs = c->kernel * c->kernel * c->in_channels;
    int places;
    for (int x = 0; x < c->out_width; x += places) {
        float *pixels = w->pixels;
        places = c->out_width - x >= PLACES ? PLACES : 1;
        if (layer < CONVOLUTIONS - 1)
            pixels = w->rows + next->rows +
                     ((int32_t)(y % next->kernel) * c->out_width + x) * c->out_channels;
        for (int p = 0; p < places; p++) gather(w, frame, c, y, x + p, w->patch + p * inputs);
        CONVOLVE(w, c, inputs, places, pixels);
        rectify(pixels, places * c->out_channels);
        if (layer < CONVOLUTIONS - 1) continue;
        for (int p = 0; p < places; p++)
            add_features(pixels + p * MAPS, y * c->out_width + x + p, features);
    }
}

/* Return how many rows a convolution must have seen to compute its row y. */
static int rows_needed(const struct convolution *c, int y)
{
    const int needed = y * c->stride - c->padding + c->kernel;
    return needed < c->in_height ? needed : c->in_height;
}

/* Turn a frame into features. The last convolution that has enough rows computes its next one. */
static void see(workspace *w, const uint8_t *frame, float *features)
{
    int done[CONVOLUTIONS] = {0};
    standardize(w, frame);
    for (int k = 0; k < MAPS * FEATURES_PER_MAP; k++) features[k] = FIRST_FEATURE(k);
    while (done[CONVOLUTIONS - 1] < convolutions[CONVOLUTIONS - 1].out_height) {
        int layer = CONVOLUTIONS - 1;
        while (layer > 0 && rows_needed(&convolutions[layer], done[layer]) > done[layer - 1])
            layer--;
        convolve_row(w, frame, layer, done[layer], features);
        done[layer]++;
    }
    for (int k = 0; k < MAPS * FEATURES_PER_MAP; k++) features[k] = FINISH_FEATURE(features[k], k);
    rectify(features, MAPS * FEATURES_PER_MAP);
}
