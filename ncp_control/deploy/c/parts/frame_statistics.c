/* Describe a frame, or the latest one of a stack, by FRAME_STATISTICS numbers: the grey of each
 * block of a grid, the colours of each row of blocks, and the logarithms of mean, deviation and
 * sharpness, and of sharpness per deviation. */
static void frame_statistics(const uint8_t *frame, float *x)
{
    const uint8_t *latest = frame + CONTROLLER_FRAME_CHANNELS - COLOURS;
    float bands[BLOCK_ROWS][COLOURS], *grey = x;
    for (int row = 0; row < BLOCK_ROWS; row++) {
        for (int k = 0; k < COLOURS; k++) bands[row][k] = 0.0f;
        for (int column = 0; column < BLOCK_COLUMNS; column++, grey++) {
            const int16_t *ys = block_rows[row], *xs = block_columns[column];
            uint32_t sums[COLOURS] = {0};
            for (int32_t y = ys[0]; y < ys[1]; y++)
                for (int32_t at = xs[0]; at < xs[1]; at++)
                    for (int k = 0; k < COLOURS; k++)
                        sums[k] += latest[(y * CONTROLLER_FRAME_WIDTH + at) *
                                              CONTROLLER_FRAME_CHANNELS + k];
            const float pixels = (float)((int32_t)(ys[1] - ys[0]) * (xs[1] - xs[0]));
            *grey = 0.0f;
            for (int k = 0; k < COLOURS; k++) {
                *grey += (float)sums[k] / pixels / COLOURS;
                bands[row][k] += (float)sums[k] / pixels / BLOCK_COLUMNS;
            }
        }
    }

    const uint8_t *one = latest + COLOURS / 2; /* green, the sharpest of most cameras */
    const float height = CONTROLLER_FRAME_HEIGHT, width = CONTROLLER_FRAME_WIDTH;
    uint64_t sum = 0, sum_of_squares = 0, differences = 0;
    for (int32_t y = 0; y < CONTROLLER_FRAME_HEIGHT; y++) {
        int32_t last = one[0];
        for (int32_t at = 0; at < CONTROLLER_FRAME_WIDTH; at++, one += CONTROLLER_FRAME_CHANNELS) {
            const int32_t pixel = *one;
            sum += (uint64_t)pixel;
            sum_of_squares += (uint64_t)(pixel * pixel);
            differences += (uint64_t)(pixel > last ? pixel - last : last - pixel);
            last = pixel;
        }
    }
    const uint64_t spread =
        sum_of_squares * CONTROLLER_FRAME_HEIGHT * CONTROLLER_FRAME_WIDTH - sum * sum;
    const float deviation = spread > 0 ? square_root((float)spread) / (height * width) : 0.0f;

    float mean = 0.0f;
    for (int k = 0; k < BLOCK_ROWS * BLOCK_COLUMNS; k++) mean += x[k] / (BLOCK_ROWS * BLOCK_COLUMNS);
    for (int k = 0; k < BLOCK_ROWS * BLOCK_COLUMNS; k++) x[k] = (x[k] - mean) / (deviation + 1.0f);
#if COLOURS == 3
    for (int row = 0; row < BLOCK_ROWS; row++) {
        const float *band = bands[row], total = band[0] + band[1] + band[2] + 1.0f;
        grey[row] = (band[0] - band[1]) / total;
        grey[BLOCK_ROWS + row] = (band[2] - band[1]) / total;
    }
    grey += 2 * BLOCK_ROWS;
#endif
    grey[0] = natural_logarithm((float)sum / (height * width) + 1.0f);
    grey[1] = natural_logarithm(deviation + 1.0f);
    grey[2] = natural_logarithm((float)differences / (height * (width - 1.0f)) + 0.1f);
    grey[3] = grey[2] - grey[1];
}
