/* Print the largest errors of the functions of vector.h and activations.h, in units of rounding:
 * those of 1 - 2^z and of its kin relative, those of tanh and sigmoid absolute. */

#include "activations.h"

#include <stdio.h>

int main(void) {
    const double rounding = sizeof(real) == sizeof(double) ? 0x1p-53 : 0x1p-24;
    double worst[3] = {0};
    for (int i = -30000; i <= 30000; i++) {
        const double x = i ? 12.0 * i / 30000.0 + 1e-9 * i : 1e-8;
        const real z = (real)-fabs(x), y = (real)x;
        const double exact = -expm1((double)z * 0.693147180559945309);
        const double errors[3] = {fabs(one_minus_exp2(broadcast(z))[0] / exact - 1.0),
                                  fabs(hyperbolic_tangent(broadcast(y))[0] - tanh(y)),
                                  fabs(sigmoid(broadcast(y))[0] - 1.0 / (1.0 + exp(-(double)y)))};
        for (int k = 0; k < 3; k++)
            if (errors[k] > worst[k]) worst[k] = errors[k];
    }
    printf("%g %g %g\n", worst[0] / rounding, worst[1] / rounding, worst[2] / rounding);
    return 0;
}
