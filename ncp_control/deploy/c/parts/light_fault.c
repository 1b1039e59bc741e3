/* Tell whether 99 % of a frame's pixels are dark, or bright: every fourth pixel of every fourth
 * row. */
static int light_fault(const uint8_t *frame)
{
    int32_t count = 0, lit = 0, unlit = 0;
    for (int32_t y = 0; y < CONTROLLER_FRAME_HEIGHT; y += 4)
        for (int32_t x = 0; x < CONTROLLER_FRAME_WIDTH; x += 4) {
            const uint8_t *pixel = frame + (y * CONTROLLER_FRAME_WIDTH + x) * CONTROLLER_FRAME_CHANNELS;
            for (int k = 0; k < CONTROLLER_FRAME_CHANNELS; k++, count++) {
                lit += (float)pixel[k] > BLACK_BELOW;
                unlit += (float)pixel[k] < WHITE_ABOVE;
            }
        }
    if (lit <= count / 100) return CONTROLLER_FAULT_BLACK;
    return unlit <= count / 100 ? CONTROLLER_FAULT_WHITE : 0;
}
