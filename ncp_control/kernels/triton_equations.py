"""Neurons with conductances in Triton: their equations, and one sub-step of an integrator.

Equations and symbols are those of equations.h and synaptic.h; x_bar is the gradient of x.

| symbol   | meaning                                             |
|----------|-----------------------------------------------------|
| sums     | f, u, y of each neuron                              |
| a, b     | total conductance, drive                            |
| own      | e, h and E of each neuron, if its equation has them |
| v, c     | potential, capacitance; h: sub-step, in the same unit of time |
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false

import triton
import triton.language as tl

from ncp_control.kernels.triton_math import sigmoid, tanh

LONGEST = tl.constexpr(1e15)
"""Longest sub-step, as in `ncp_control.integrators` [s] and in synaptic.h [frames]."""
LARGEST_LOGIT = tl.constexpr(30.0)
STC, LRC, SYMMETRIC_LRC = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
"""Numbers of the equations, as in equations.h; 0 is that of an LTC."""
EXPLICIT, EXPONENTIAL = tl.constexpr(1), tl.constexpr(2)
"""Numbers of the integrators, as in synaptic.h; 0 is semi-implicit Euler."""


@triton.jit
def sub_step(time, unfolds):
    """Return h, at most LONGEST; NaN stays NaN."""
    h = time / unfolds
    return tl.where(h > LONGEST, LONGEST, h)


@triton.jit
def _elastance(y, own, EQUATION: tl.constexpr):
    """Return ε, its slope, A and B."""
    logit = tl.where(y > LARGEST_LOGIT, LARGEST_LOGIT, y)
    logit = tl.where(logit < -LARGEST_LOGIT, -LARGEST_LOGIT, logit).to(y.dtype)
    if EQUATION == SYMMETRIC_LRC:
        inner, outer = sigmoid(own[1] + logit), sigmoid(own[1] - logit)
        share = inner * outer * own[2]
        slope = share * (outer - inner)
    else:
        share = sigmoid(logit)
        slope, inner, outer = share * (1.0 - share), share, share
    slope = tl.where((y > LARGEST_LOGIT) | (y < -LARGEST_LOGIT), 0.0, slope).to(y.dtype)
    return share, slope, inner, outer


@triton.jit
def close(sums, own, EQUATION: tl.constexpr):
    """Return a and b of each neuron."""
    a, b, y = sums
    if EQUATION > 0:
        a, b = sigmoid(a), own[0] * tanh(b)
    if EQUATION > STC:
        share, _, _, _ = _elastance(y, own, EQUATION)
        a, b = share * a, share * b
    return a, b


@triton.jit
def close_adjoint(sums, a_bar, b_bar, own, own_bar, EQUATION: tl.constexpr):
    """Return the gradients of f, u and y, and add one term to those of e, h and E."""
    f, u, y = sums
    e_bar, width_bar, most_bar = own_bar
    y_bar = tl.zeros_like(a_bar)
    if EQUATION > 0:
        p, q = sigmoid(f), tanh(u)
        if EQUATION != STC:
            share, slope, inner, outer = _elastance(y, own, EQUATION)
            share_bar = a_bar * p + b_bar * own[0] * q
            y_bar = share_bar * slope
            if EQUATION == SYMMETRIC_LRC:
                width_bar += share_bar * share * (2.0 - inner - outer)
                most_bar += share_bar * inner * outer
            a_bar, b_bar = a_bar * share, b_bar * share
        e_bar += b_bar * q
        a_bar = a_bar * p * (1.0 - p)
        b_bar = b_bar * own[0] * (1.0 - q * q)
    return (a_bar, b_bar, y_bar), (e_bar, width_bar, most_bar)


@triton.jit
def _approach(x):
    """Return 1 - exp(-x) for x >= 0, accurate for small x too: Taylor series below 1/2."""
    series = tl.zeros_like(x)
    for i in tl.static_range(15):
        series = 1.0 - x * series / (16.0 - i)
    return tl.where(x < 0.5, x * series, 1.0 - tl.exp(-x))


@triton.jit
def relax(v, a, b, time_per_c):
    """Return v after an exact relaxation with constant a and b."""
    return v + (b / a - v) * _approach(time_per_c * a)


@triton.jit
def relax_adjoint(v, a, b, time_per_c, end_bar):
    """Return the gradients of v, a, b and time_per_c."""
    resting, approach = b / a, _approach(time_per_c * a)
    decay = 1.0 - approach
    resting_bar = end_bar * approach
    exponent_bar = end_bar * (resting - v) * decay
    a_bar = exponent_bar * time_per_c - resting_bar * resting / a
    return end_bar * decay, a_bar, resting_bar / a, exponent_bar * a


@triton.jit
def advance(v, a, b, h, c, INTEGRATOR: tl.constexpr):
    """Return v after a sub-step of one of the Euler methods."""
    if INTEGRATOR == EXPONENTIAL:
        return relax(v, a, b, h / c)
    elif INTEGRATOR == EXPLICIT:
        z = h / c * a
        return v + tl.where(z > 1.0, 1.0, z) * (b / a - v)
    else:
        return v + h * (b - a * v) / (c + h * a)


@triton.jit
def advance_adjoint(v, a, b, h, c, end_bar, INTEGRATOR: tl.constexpr):
    """Return the gradients of v, a, b, h (for each neuron) and c."""
    if INTEGRATOR == EXPONENTIAL:
        v_bar, a_bar, b_bar, per_c_bar = relax_adjoint(v, a, b, h / c, end_bar)
        return v_bar, a_bar, b_bar, per_c_bar / c, -per_c_bar * h / (c * c)
    elif INTEGRATOR == EXPLICIT:
        z = h / c * a
        is_free = z <= 1.0
        share, resting = tl.where(z > 1.0, 1.0, z), b / a
        share_bar = tl.where(is_free, end_bar * (resting - v), 0.0)
        b_bar = end_bar * share / a
        a_bar = share_bar * h / c - b_bar * resting
        h_bar = share_bar * a / c
        return end_bar - end_bar * share, a_bar, b_bar, h_bar, -h_bar * h / c
    else:
        end = v + h * (b - a * v) / (c + h * a)
        change_bar = end_bar / (c + h * a)
        h_bar, c_bar = (b - a * end) * change_bar, (v - end) * change_bar
        return c * change_bar, -h * end * change_bar, h * change_bar, h_bar, c_bar


@triton.jit
def load_own(own, num_neurons, n, is_neuron, OWN: tl.constexpr):
    """Load e, h and E of every neuron, as many as OWN says."""
    e = tl.zeros((n.shape[0],), own.dtype.element_ty)
    width, most = e, e
    if OWN > 0:
        e = tl.load(own + n, mask=is_neuron, other=0.0)
    if OWN == 3:
        width = tl.load(own + num_neurons + n, mask=is_neuron, other=0.0)
        most = tl.load(own + 2 * num_neurons + n, mask=is_neuron, other=1.0)
    return e, width, most
