/* Return the square root of a number from 1e-30 to 1e30: Newton's method from a first guess that
 * halves the exponent. */
static float square_root(float x)
{
    union { float number; uint32_t bits; } guess;
    guess.number = x;
    guess.bits = (guess.bits >> 1) + 0x1fbd1df5u;
    for (int k = 0; k < 4; k++) guess.number = 0.5f * (guess.number + x / guess.number);
    return guess.number;
}
