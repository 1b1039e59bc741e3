"""Building blocks of the Triton kernels of dense cells: activations, layers, memory access.

A value has one row per sample of a program, and one column per unit. `frame` is the index of each
sample's frame among all frames, −1 for a sample beyond the batch. Sizes in capitals are powers of
two.
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    """Return σ(x); exp may overflow to infinity, whose reciprocal is 0, the right limit."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """Return tanh x, computed with an exponential that cannot overflow."""
    e = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0.0, -size, size)


@triton.jit
def sign(x):
    """Return the slope of |x|, 0 at 0."""
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, 0.0)).to(x.dtype)


@triton.jit
def activate(x, ACTIVATION: tl.constexpr):
    """Return the activation and its slope; ACTIVATION is a number as in activations.h."""
    if ACTIVATION == 0:
        y = tanh(0.666 * x)
        return 1.7159 * y, 1.7159 * 0.666 * (1.0 - y * y)
    elif ACTIVATION == 1:
        y = tanh(x)
        return y, 1.0 - y * y
    elif ACTIVATION == 2:
        slope = tl.where(x > 0.0, 1.0, 0.0).to(x.dtype)
        return tl.where(x <= 0.0, 0.0, x).to(x.dtype), slope
    elif ACTIVATION == 3:
        s = sigmoid(x)
        return x * s, s + x * s * (1.0 - s)
    else:
        share = 0.5 * (1.0 + tl.erf(0.7071067811865476 * x))
        return x * share, share + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)


@triton.jit
def load(base, frame, width, first, count, SIZE: tl.constexpr):
    """Load `count` numbers of each frame, starting at `first`; zeros where `frame` is −1."""
    i = tl.arange(0, SIZE)
    mask = (frame >= 0)[:, None] & (i < count)[None, :]
    return tl.load(base + (frame * width + first)[:, None] + i[None, :], mask=mask, other=0.0)


@triton.jit
def store(base, frame, WIDTH: tl.constexpr, first, count, value):
    """Store `count` numbers of each frame, starting at `first`; nothing if WIDTH is 0."""
    if WIDTH > 0:
        i = tl.arange(0, value.shape[1])
        mask = (frame >= 0)[:, None] & (i < count)[None, :]
        tl.store(base + (frame * WIDTH + first)[:, None] + i[None, :], value, mask=mask)


@triton.jit
def _matrix(weight, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    r, c = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    return tl.load(weight + r * columns + c, mask=(r < rows) & (c < columns), other=0.0)


@triton.jit
def times(x, weight, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return W x for each sample."""
    matrix = _matrix(weight, rows, columns, ROWS, COLUMNS)
    return tl.dot(x, tl.trans(matrix), input_precision="ieee", out_dtype=x.dtype)


@triton.jit
def back(bar, weight, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return Wᵀ ȳ for each sample."""
    matrix = _matrix(weight, rows, columns, ROWS, COLUMNS)
    return tl.dot(bar, matrix, input_precision="ieee", out_dtype=bar.dtype)


@triton.jit
def row(vector, count, SIZE: tl.constexpr):
    """Load parameters of units as one row, the same for all samples."""
    i = tl.arange(0, SIZE)
    return tl.load(vector + i, mask=i < count, other=0.0)[None, :]
