/* Return 1 / (1 + exp(-x)). */
static float sigmoid(float x)
{
    return sigmoid_of_log2(x * -1.44269504f);
}
