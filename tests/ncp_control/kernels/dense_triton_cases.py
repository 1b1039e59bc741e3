"""The kernels of dense cells for GPUs against plain torch; run by `test_ltc_triton.py`.

Under TRITON_INTERPRET=1 they run on the CPU, slowly, so everything here is tiny. Without it the
same cases need a GPU. Triton reads that variable once, hence the process of its own.
"""

import os

import pytest
import torch

from ncp_control import CTGRU, GRU, LSTM, CfC, MixedMemory
from ncp_control.kernels import dense_triton, ltc_op
from ncp_control.kernels.dispatch import run_dense
from tests.ncp_control.kernels.dense_cells import CELLS, randomised

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
FAST = (
    "cfc, two layers",
    "cfc, pure",
    "ct-rnn",
    "lstm",
    "gru that sees time",
    "wired cfc, no gate",
    "neural ode, one sub-step",
    "ct-gru",
    "memory and gru that sees time",
    "stc, explicit",
    "lrc, asymmetric",
    "memory and small ltc",
)
SLOW = (
    "cfc",
    "cfc, no backbone",
    "cfc, wide backbone",
    "cfc, relu",
    "cfc, tanh",
    "cfc, gelu",
    "cfc, pure, no backbone",
    "ct-rnn, one sub-step",
    "lstm that sees time",
    "gru",
    "wired cfc",
    "wired cfc, pure",
    "neural ode",
    "ode-rnn",
    "ct-gru, one scale",
    "memory and cfc",
    "memory and pure cfc",
    "memory and ct-rnn",
    "memory and wired cfc",
    "memory and ode-rnn",
    "stc",
    "stc, layered",
    "lrc",
    "lrc, semi-implicit",
    "lrc, layered",
    "lrcu",
    "ltc, exponential",
    "memory and ltc",
    "memory and layered ltc",
    "memory and lrc",
)
slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def _to_triton(monkeypatch):
    monkeypatch.setattr(ltc_op, "TRITON_DEVICES", {DEVICE})
    with torch.device(DEVICE):
        yield


@pytest.fixture
def make():
    def build(name, dtype=torch.float64):
        torch.manual_seed(0)
        return randomised(CELLS[name]().to(DEVICE)).to(dtype)

    return build


def sequence(cell, batch, steps):
    """Return the arguments of `Cell.unroll`, with uneven times, one of them 0, and a reset."""
    torch.manual_seed(1)
    dtype = next(cell.parameters()).dtype
    dt_s = 0.06 * torch.rand(batch, steps, dtype=dtype)
    reset = torch.zeros(batch, steps, dtype=torch.bool)
    if batch and steps:
        dt_s[0, 0], reset[-1, -1] = 0.0, True
    inputs = torch.randn(batch, steps, cell.input_size, dtype=dtype)
    return inputs, 0.4 * torch.randn(batch, cell.state_size, dtype=dtype), dt_s, reset


def results_and_gradients(run, cell, given):
    leaves = [x.clone().requires_grad_() for x in given[:3]]
    states = run(cell, *leaves, given[3])
    own = {n: p for n, p in cell.named_parameters() if not n.startswith("output")}
    names = ["inputs", "state", "dt_s", *own]
    loss = (states * torch.linspace(0.5, 1.5, states.numel()).view_as(states)).sum()
    found = torch.autograd.grad(
        loss, [*leaves, *own.values()], allow_unused=True, materialize_grads=True
    )
    return {"states": states.detach()} | dict(zip(names, found, strict=True))


def by_kernel(cell, *given):
    states = run_dense(cell, *given)
    assert states is not None
    return states


def by_torch(cell, *given):
    return cell._loop(*given)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), pytest.param(torch.float32, 5e-6, marks=slow)],
)
@pytest.mark.parametrize("name", [*FAST, *(pytest.param(x, marks=slow) for x in SLOW)])
def test_states_and_every_gradient_are_those_of_plain_torch(name, dtype, tolerance, make):
    cell = make(name, dtype)
    given = sequence(cell, 2, 3)
    found = results_and_gradients(by_kernel, cell, given)
    for key, expected in results_and_gradients(by_torch, cell, given).items():
        scale = expected.abs().max().clamp(min=1.0)
        assert (found[key] - expected).abs().max() <= tolerance * scale, key


@slow
def test_batches_of_several_programs(make):
    cell = make("cfc, no backbone")
    given = sequence(cell, 2 * dense_triton.BATCH + 3, 2)
    found = results_and_gradients(by_kernel, cell, given)
    for key, expected in results_and_gradients(by_torch, cell, given).items():
        torch.testing.assert_close(found[key], expected, rtol=1e-12, atol=1e-12)


def test_without_a_tape_the_states_are_the_same(make):
    cell = make("lstm")
    given = sequence(cell, 2, 2)
    with torch.no_grad():
        states = by_kernel(cell, *given)
    assert torch.equal(states, by_kernel(cell, *given))


def test_nan_stays_in_its_sample_until_a_reset(make):
    cell = make("gru")
    inputs, state, dt_s, reset = sequence(cell, 3, 3)
    reset[:] = False
    healthy = by_kernel(cell, inputs, state, dt_s, reset)
    inputs[1, 0] = torch.nan
    reset[1, 2] = True
    states = by_kernel(cell, inputs, state, dt_s, reset)
    assert torch.equal(states[[0, 2]], healthy[[0, 2]])
    assert states[1, :2].isnan().all() and states[1, 2].isfinite().all()


@pytest.mark.parametrize(("batch", "steps"), [(0, 2), (2, 0)])
def test_nothing_in_nothing_out(batch, steps, make):
    cell = make("ct-rnn")
    given = sequence(cell, batch, steps)
    states = by_kernel(cell, *given)
    assert states.shape == (batch, steps, cell.state_size)
    states.sum().backward()
    assert not cell.raw_timescale.grad.any()


def test_large_cells_and_other_kinds_take_the_reference():
    large = LSTM(3, 129, 1), CfC(3, 4, 1, backbone_units=129), GRU(3, 200, 1), CTGRU(3, 65, 1)
    unlike = CTGRU(3, 4, 1, num_scales=3), MixedMemory(LSTM(3, 4, 1)), MixedMemory(CTGRU(3, 4, 1))
    for cell in (*large, *unlike):
        cell = cell.to(DEVICE).double()
        assert run_dense(cell, *sequence(cell, 1, 1)) is None
