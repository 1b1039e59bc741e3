/* Apply the weights of a convolution to the patch. */
static void convolve_float32(const workspace *w, const struct convolution *c, int32_t inputs,
                             float *pixel)
{
    dense(c->weight, c->bias, w->patch, (int)inputs, c->out_channels, pixel);
}
