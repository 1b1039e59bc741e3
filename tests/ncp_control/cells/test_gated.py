"""LSTM and GRU against torch, CT-GRU against the paper's equations term by term."""

import math

import pytest
import torch

from ncp_control import CTGRU, GRU, LSTM, Circuit

FRAME_S = 0.05


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_equals_torch(make):
    circuit, inputs = Circuit(make(5, 7, 2)), torch.randn(4, 9, 5)
    theirs = getattr(circuit.cell, make.__name__.lower())
    hidden, last = theirs(inputs)
    outputs, state = circuit(inputs)
    torch.testing.assert_close(outputs, circuit.cell.output(hidden))
    last = last if isinstance(last, tuple) else (last,)
    torch.testing.assert_close(state, torch.cat(last, dim=-1)[0])


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_fused_runs_between_resets_equal_frame_after_frame(make):
    cell, inputs = make(5, 7, 2).double(), torch.randn(4, 12, 5).double()
    reset = torch.rand(4, 12) < 0.15
    reset[0, 0] = reset[1, 11] = True
    state, dt_s = torch.randn(4, cell.state_size).double(), torch.ones(4, 12).double()
    outputs, end = cell.sequence(inputs, state, dt_s, reset)
    states = cell.unroll(inputs, state, dt_s, reset)
    torch.testing.assert_close(outputs, cell.readout(states))
    torch.testing.assert_close(end, states[:, -1])


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_elapsed_time_in_frames_is_one_more_input_where_it_is_seen(make):
    cell, inputs = make(5, 7, 2, frame_s=FRAME_S, sees_time=True), torch.randn(4, 9, 5)
    dt_s, reset = torch.rand(4, 9), torch.rand(4, 9) < 0.2
    blind = make(6, 7, 2)
    blind.load_state_dict(cell.state_dict())
    outputs, state = Circuit(cell)(inputs, dt_s=dt_s, reset=reset)
    frames = (dt_s / FRAME_S)[..., None]
    expected, end = Circuit(blind)(torch.cat([inputs, frames], dim=2), reset=reset)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(state, end)
    seen = torch.cat([inputs, frames], dim=2)[:, 0]
    next_state = cell(inputs[:, 0], state, dt_s[:, 0])
    torch.testing.assert_close(next_state, blind(seen, state, dt_s[:, 0]))
    assert make(**cell.settings()).sees_time


def reference_ctgru(cell, inputs, dt_s):
    """Follow Mozer et al. 2017 number by number; return h just after each event, unit by unit."""
    units, scales = cell.hidden_size, cell.num_scales
    tau = [FRAME_S * 10.0 ** (m / 2) for m in range(scales)]
    w, b = cell.input_map.weight.tolist(), cell.input_map.bias.tolist()
    u, u_event = cell.scale_map.weight.tolist(), cell.event_map.weight.tolist()
    traces = [[0.0] * scales for _ in range(units)]
    history = []

    def choose(unit, row, x, h):
        log_tau = b[row] + sum(p * q for p, q in zip(w[row], x, strict=True))
        log_tau += sum(p * q for p, q in zip(u[row], h, strict=True))
        weights = [math.exp(-((log_tau - math.log(t / FRAME_S)) ** 2)) for t in tau]
        return [weight / sum(weights) for weight in weights]

    for x, elapsed_s in zip(inputs, dt_s, strict=True):
        traces = [
            [v * math.exp(-elapsed_s / t) for v, t in zip(row, tau, strict=True)] for row in traces
        ]
        h = [sum(row) for row in traces]
        retrieval = [choose(i, i, x, h) for i in range(units)]
        storage = [choose(i, units + i, x, h) for i in range(units)]
        read = [
            sum(p * q for p, q in zip(retrieval[i], traces[i], strict=True)) for i in range(units)
        ]
        for i in range(units):
            row = 2 * units + i
            total = b[row] + sum(p * q for p, q in zip(w[row], x, strict=True))
            event = math.tanh(total + sum(p * q for p, q in zip(u_event[i], read, strict=True)))
            traces[i] = [
                (1.0 - s) * v + s * event for s, v in zip(storage[i], traces[i], strict=True)
            ]
        history.append([sum(row) for row in traces])
    return history


def test_ctgru_follows_the_papers_equations():
    cell = CTGRU(3, 4, 2, num_scales=5, frame_s=FRAME_S).double()
    inputs, dt_s = torch.randn(1, 7, 3).double(), torch.rand(1, 7).double() * 0.4
    reference = reference_ctgru(cell, inputs[0].tolist(), dt_s[0].tolist())
    hidden = torch.tensor(reference, dtype=torch.float64)
    outputs, _ = Circuit(cell)(inputs, dt_s=dt_s)
    torch.testing.assert_close(outputs[0], cell.output(hidden), rtol=1e-12, atol=1e-12)


def test_ctgru_traces_fade_at_their_time_constants():
    cell = CTGRU(3, 4, 2, num_scales=5, frame_s=FRAME_S).double()
    names = cell.neuron_names
    tau_s = cell.timescales(torch.zeros(1, 3).double(), torch.zeros(1, 20).double())[0]
    assert names[7] == "unit_1_scale_2" and tau_s[7].item() == pytest.approx(10 * FRAME_S)
