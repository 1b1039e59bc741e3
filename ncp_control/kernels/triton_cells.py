"""What CfC, LSTM, GRU and CT-RNN do in one frame, in Triton, and its adjoint.

Equations and symbols are those of cfc.h, gated.h and ctrnn.h; x̄ is the derivative with respect
to x. `triton_dense.py` walks from frame to frame.

| KIND  | a frame of the tape holds                               | a frame of `bars` holds        |
|-------|---------------------------------------------------------|--------------------------------|
| lstm  | i, f, g, o                                              | those of the four, before σ    |
| gru   | r, z, n, y_n                                            | r, z, n, y_n, before σ         |
| ctrnn | v and y of each sub-step                                | U v of each sub-step           |
| cfc   | slope and x of each layer, then f, g, a, b (pure: f)    | each layer's, then the heads'  |

and behind that on the tape the state before the frame.
"""
# Kernels are Triton, not Python; and Triton is optional.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
# pyright: reportAssignmentType=false

import triton
import triton.language as tl


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    e = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0.0, -size, size)


@triton.jit
def _sign(x):
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, 0.0)).to(x.dtype)


@triton.jit
def _activate(x, ACTIVATION: tl.constexpr):
    """Return the activation and its slope; numbers as in activations.h."""
    if ACTIVATION == 0:
        y = _tanh(0.666 * x)
        return 1.7159 * y, 1.7159 * 0.666 * (1.0 - y * y)
    elif ACTIVATION == 1:
        y = _tanh(x)
        return y, 1.0 - y * y
    elif ACTIVATION == 2:
        slope = tl.where(x > 0.0, 1.0, 0.0).to(x.dtype)
        return tl.where(x <= 0.0, 0.0, x).to(x.dtype), slope
    elif ACTIVATION == 3:
        s = _sigmoid(x)
        return x * s, s + x * s * (1.0 - s)
    else:
        share = 0.5 * (1.0 + tl.erf(0.7071067811865476 * x))
        return x * share, share + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)


@triton.jit
def load(base, frame, width, first, count, SIZE: tl.constexpr):
    """Load `count` numbers of each frame, from the one at `first` on; `frame` is −1 without one."""
    i = tl.arange(0, SIZE)
    mask = (frame >= 0)[:, None] & (i < count)[None, :]
    return tl.load(base + (frame * width + first)[:, None] + i[None, :], mask=mask, other=0.0)


@triton.jit
def store(base, frame, WIDTH: tl.constexpr, first, count, value):
    """Store so many numbers of each frame; nothing where frames have no width."""
    if WIDTH > 0:
        i = tl.arange(0, value.shape[1])
        mask = (frame >= 0)[:, None] & (i < count)[None, :]
        tl.store(base + (frame * WIDTH + first)[:, None] + i[None, :], value, mask=mask)


@triton.jit
def _matrix(weight, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    r, c = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    return tl.load(weight + r * columns + c, mask=(r < rows) & (c < columns), other=0.0)


@triton.jit
def _times(x, weight, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return W x of each sample."""
    matrix = _matrix(weight, rows, columns, ROWS, COLUMNS)
    return tl.dot(x, tl.trans(matrix), input_precision="ieee", out_dtype=x.dtype)


@triton.jit
def _back(bar, weight, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return Wᵀ ȳ of each sample."""
    matrix = _matrix(weight, rows, columns, ROWS, COLUMNS)
    return tl.dot(bar, matrix, input_precision="ieee", out_dtype=bar.dtype)


@triton.jit
def _row(vector, count, SIZE: tl.constexpr):
    i = tl.arange(0, SIZE)
    return tl.load(vector + i, mask=i < count, other=0.0)[None, :]


@triton.jit
def lstm(v, c, held, frame, units, recurrent, tape, tape_width: tl.constexpr, UNITS: tl.constexpr):
    """Return h and c after a frame."""
    square = units * units
    i = load(held, frame, 4 * units, 0, units, UNITS)
    f = load(held, frame, 4 * units, units, units, UNITS)
    g = load(held, frame, 4 * units, 2 * units, units, UNITS)
    o = load(held, frame, 4 * units, 3 * units, units, UNITS)
    i = _sigmoid(i + _times(v, recurrent, units, units, UNITS, UNITS))
    f = _sigmoid(f + _times(v, recurrent + square, units, units, UNITS, UNITS))
    g = _tanh(g + _times(v, recurrent + 2 * square, units, units, UNITS, UNITS))
    o = _sigmoid(o + _times(v, recurrent + 3 * square, units, units, UNITS, UNITS))
    store(tape, frame, tape_width, 0, units, i)
    store(tape, frame, tape_width, units, units, f)
    store(tape, frame, tape_width, 2 * units, units, g)
    store(tape, frame, tape_width, 3 * units, units, o)
    c = f * c + i * g
    return o * _tanh(c), c


@triton.jit
def lstm_adjoint(
    v_bar, c_bar, frame, units, recurrent, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of h and c before a frame."""
    square = units * units
    i = load(tape, frame, tape_width, 0, units, UNITS)
    f = load(tape, frame, tape_width, units, units, UNITS)
    g = load(tape, frame, tape_width, 2 * units, units, UNITS)
    o = load(tape, frame, tape_width, 3 * units, units, UNITS)
    c = load(tape, frame, tape_width, 5 * units, units, UNITS)
    tanh_c = _tanh(f * c + i * g)
    c_bar += v_bar * o * (1.0 - tanh_c * tanh_c)
    i_bar = c_bar * g * i * (1.0 - i)
    f_bar = c_bar * c * f * (1.0 - f)
    g_bar = c_bar * i * (1.0 - g * g)
    o_bar = v_bar * tanh_c * o * (1.0 - o)
    store(bars, frame, bars_width, 0, units, i_bar)
    store(bars, frame, bars_width, units, units, f_bar)
    store(bars, frame, bars_width, 2 * units, units, g_bar)
    store(bars, frame, bars_width, 3 * units, units, o_bar)
    v_bar = _back(i_bar, recurrent, units, units, UNITS, UNITS)
    v_bar += _back(f_bar, recurrent + square, units, units, UNITS, UNITS)
    v_bar += _back(g_bar, recurrent + 2 * square, units, units, UNITS, UNITS)
    v_bar += _back(o_bar, recurrent + 3 * square, units, units, UNITS, UNITS)
    return v_bar, c_bar * f


@triton.jit
def gru(v, held, frame, units, recurrent, tape, tape_width: tl.constexpr, UNITS: tl.constexpr):
    """Return h after a frame."""
    square, bias = units * units, recurrent + 3 * units * units
    r = load(held, frame, 3 * units, 0, units, UNITS) + _row(bias, units, UNITS)
    z = load(held, frame, 3 * units, units, units, UNITS) + _row(bias + units, units, UNITS)
    n = load(held, frame, 3 * units, 2 * units, units, UNITS)
    r = _sigmoid(r + _times(v, recurrent, units, units, UNITS, UNITS))
    z = _sigmoid(z + _times(v, recurrent + square, units, units, UNITS, UNITS))
    y_n = _times(v, recurrent + 2 * square, units, units, UNITS, UNITS)
    y_n += _row(bias + 2 * units, units, UNITS)
    n = _tanh(n + r * y_n)
    store(tape, frame, tape_width, 0, units, r)
    store(tape, frame, tape_width, units, units, z)
    store(tape, frame, tape_width, 2 * units, units, n)
    store(tape, frame, tape_width, 3 * units, units, y_n)
    return n + z * (v - n)


@triton.jit
def gru_adjoint(
    v_bar, frame, units, recurrent, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the derivative of h before a frame."""
    square = units * units
    r = load(tape, frame, tape_width, 0, units, UNITS)
    z = load(tape, frame, tape_width, units, units, UNITS)
    n = load(tape, frame, tape_width, 2 * units, units, UNITS)
    y_n = load(tape, frame, tape_width, 3 * units, units, UNITS)
    v = load(tape, frame, tape_width, 4 * units, units, UNITS)
    n_bar = v_bar * (1.0 - z) * (1.0 - n * n)
    r_bar = n_bar * y_n * r * (1.0 - r)
    z_bar = v_bar * (v - n) * z * (1.0 - z)
    y_bar = n_bar * r
    store(bars, frame, bars_width, 0, units, r_bar)
    store(bars, frame, bars_width, units, units, z_bar)
    store(bars, frame, bars_width, 2 * units, units, n_bar)
    store(bars, frame, bars_width, 3 * units, units, y_bar)
    v_bar = v_bar * z + _back(r_bar, recurrent, units, units, UNITS, UNITS)
    v_bar += _back(z_bar, recurrent + square, units, units, UNITS, UNITS)
    return v_bar + _back(y_bar, recurrent + 2 * square, units, units, UNITS, UNITS)


@triton.jit
def ctrnn(
    v, held, share, frame, units, recurrent, tape, tape_width: tl.constexpr,
    UNFOLDS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return v after a frame; `share` is s."""
    x = load(held, frame, units, 0, units, UNITS)
    s = load(share, frame, units, 0, units, UNITS)
    for k in tl.static_range(UNFOLDS):
        y = _tanh(x + _times(v, recurrent, units, units, UNITS, UNITS))
        store(tape, frame, tape_width, 2 * k * units, units, v)
        store(tape, frame, tape_width, (2 * k + 1) * units, units, y)
        v += s * (y - v)
    return v


@triton.jit
def ctrnn_adjoint(
    v_bar, share, frame, units, recurrent, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr,
    UNFOLDS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of v before a frame, and of s."""
    s = load(share, frame, units, 0, units, UNITS)
    s_bar = tl.zeros_like(s)
    for i in tl.static_range(UNFOLDS):
        k = UNFOLDS - 1 - i
        v = load(tape, frame, tape_width, 2 * k * units, units, UNITS)
        y = load(tape, frame, tape_width, (2 * k + 1) * units, units, UNITS)
        x_bar = v_bar * s * (1.0 - y * y)
        s_bar += v_bar * (y - v)
        store(bars, frame, bars_width, k * units, units, x_bar)
        v_bar = v_bar * (1.0 - s) + _back(x_bar, recurrent, units, units, UNITS, UNITS)
    return v_bar, s_bar


@triton.jit
def _head(
    k, x, held, frame, units, hidden, recurrent, last, NUM_HEADS: tl.constexpr,
    LAYERS: tl.constexpr, UNITS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Return what one head makes of the last features, or of the state if there is no layer."""
    if LAYERS > 0:
        bias = last + NUM_HEADS * units * hidden + k * units
        y = _times(x, last + k * units * hidden, units, hidden, UNITS, HIDDEN)
        return y + _row(bias, units, UNITS)
    y = load(held, frame, NUM_HEADS * units, k * units, units, UNITS)
    return y + _times(x, recurrent + k * units * units, units, units, UNITS, UNITS)


@triton.jit
def cfc(
    v, held, elapsed, frame, units, hidden, recurrent, deep, closing,
    tape, tape_width: tl.constexpr,
    MODE: tl.constexpr, ACTIVATION: tl.constexpr, LAYERS: tl.constexpr,
    UNITS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Return v after a frame."""
    NUM_HEADS: tl.constexpr = 1 if MODE == 2 else 4
    x, first = v, LAYERS * 2 * hidden
    if LAYERS > 0:
        pre = load(held, frame, hidden, 0, hidden, HIDDEN)
        pre += _times(v, recurrent, hidden, units, HIDDEN, UNITS)
        x, slope = _activate(pre, ACTIVATION)
        store(tape, frame, tape_width, 0, hidden, slope)
        store(tape, frame, tape_width, hidden, hidden, x)
        for k in tl.static_range(1, LAYERS):
            pre = _times(x, deep, hidden, hidden, HIDDEN, HIDDEN)
            pre += _row(deep + hidden * hidden, hidden, HIDDEN)
            deep += hidden * hidden + hidden
            x, slope = _activate(pre, ACTIVATION)
            store(tape, frame, tape_width, 2 * k * hidden, hidden, slope)
            store(tape, frame, tape_width, (2 * k + 1) * hidden, hidden, x)
    f = _head(0, x, held, frame, units, hidden, recurrent, deep, NUM_HEADS, LAYERS, UNITS, HIDDEN)
    store(tape, frame, tape_width, first, units, f)
    if MODE == 2:
        leak, most = _row(closing, units, UNITS), _row(closing + units, units, UNITS)
        decay = tl.exp(-(tl.abs(leak) + tl.abs(f)) * elapsed[:, None])
        return most - most * decay * f
    g = _head(1, x, held, frame, units, hidden, recurrent, deep, NUM_HEADS, LAYERS, UNITS, HIDDEN)
    a = _head(2, x, held, frame, units, hidden, recurrent, deep, NUM_HEADS, LAYERS, UNITS, HIDDEN)
    b = _head(3, x, held, frame, units, hidden, recurrent, deep, NUM_HEADS, LAYERS, UNITS, HIDDEN)
    store(tape, frame, tape_width, first + units, units, g)
    store(tape, frame, tape_width, first + 2 * units, units, a)
    store(tape, frame, tape_width, first + 3 * units, units, b)
    p, q, s = _tanh(f), _tanh(g), _sigmoid(a * elapsed[:, None] + b)
    return p + s * (q - p) if MODE == 0 else p + s * q


@triton.jit
def _lead_head_back(
    k, bar, frame, units, hidden, recurrent, last, bars, bars_width: tl.constexpr,
    LAYERS: tl.constexpr, UNITS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Keep the derivative of a head, and return that of what it sees."""
    store(bars, frame, bars_width, LAYERS * hidden + k * units, units, bar)
    if LAYERS > 0:
        return _back(bar, last + k * units * hidden, units, hidden, UNITS, HIDDEN)
    return _back(bar, recurrent + k * units * units, units, units, UNITS, UNITS)


@triton.jit
def cfc_adjoint(
    v_bar, elapsed, frame, units, hidden, recurrent, deep, closing, tape, tape_width: tl.constexpr,
    bars, bars_width: tl.constexpr, MODE: tl.constexpr, LAYERS: tl.constexpr,
    UNITS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Return the derivatives of v before a frame, and of the elapsed time."""
    first = LAYERS * 2 * hidden
    last = deep
    if LAYERS > 1:
        last = deep + (LAYERS - 1) * (hidden * hidden + hidden)
    t, f = elapsed[:, None], load(tape, frame, tape_width, first, units, UNITS)
    if MODE == 2:
        leak, most = _row(closing, units, UNITS), _row(closing + units, units, UNITS)
        rate = tl.abs(leak) + tl.abs(f)
        scaled = v_bar * most * tl.exp(-rate * t)
        f_bar = scaled * f * t * _sign(f) - scaled
        elapsed_bar = tl.sum(scaled * f * rate, 1)
        x_bar = _lead_head_back(
            0, f_bar, frame, units, hidden, recurrent, last, bars, bars_width,
            LAYERS, UNITS, HIDDEN,
        )  # fmt: skip
    else:
        g = load(tape, frame, tape_width, first + units, units, UNITS)
        a = load(tape, frame, tape_width, first + 2 * units, units, UNITS)
        b = load(tape, frame, tape_width, first + 3 * units, units, UNITS)
        p, q, s = _tanh(f), _tanh(g), _sigmoid(a * t + b)
        kept = 1.0 if MODE == 0 else 0.0
        b_bar = v_bar * (q - kept * p) * s * (1.0 - s)
        elapsed_bar = tl.sum(b_bar * a, 1)
        x_bar = _lead_head_back(
            0, v_bar * (1.0 - kept * s) * (1.0 - p * p), frame, units, hidden, recurrent, last,
            bars, bars_width, LAYERS, UNITS, HIDDEN,
        )  # fmt: skip
        x_bar += _lead_head_back(
            1, v_bar * s * (1.0 - q * q), frame, units, hidden, recurrent, last,
            bars, bars_width, LAYERS, UNITS, HIDDEN,
        )  # fmt: skip
        x_bar += _lead_head_back(
            2, b_bar * t, frame, units, hidden, recurrent, last, bars, bars_width,
            LAYERS, UNITS, HIDDEN,
        )  # fmt: skip
        x_bar += _lead_head_back(
            3, b_bar, frame, units, hidden, recurrent, last, bars, bars_width,
            LAYERS, UNITS, HIDDEN,
        )  # fmt: skip
    for i in tl.static_range(LAYERS):
        k = LAYERS - 1 - i
        bar = x_bar * load(tape, frame, tape_width, 2 * k * hidden, hidden, HIDDEN)
        store(bars, frame, bars_width, k * hidden, hidden, bar)
        if k > 0:
            matrix = deep + (k - 1) * (hidden * hidden + hidden)
            x_bar = _back(bar, matrix, hidden, hidden, HIDDEN, HIDDEN)
        else:
            x_bar = _back(bar, recurrent, hidden, units, HIDDEN, UNITS)
    return x_bar, elapsed_bar
