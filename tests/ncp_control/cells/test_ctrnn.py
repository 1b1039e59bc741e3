"""CT-RNN and neural ODEs against SciPy and closed forms."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ncp_control import CTRNN, ODERNN, NeuralODE

FRAME_S = 0.05


def solve(rate, state, end):
    """Integrate dv/dt = rate(v) to the end, to ten digits."""
    solution = solve_ivp(lambda _, v: rate(v), (0.0, end), state, rtol=1e-11, atol=1e-12)
    return solution.y[:, -1]


def field_of(cell, inputs):
    """Return tanh(W u + U v + b) as a NumPy function of v."""
    held = cell.input_map(inputs).detach().numpy()[0]
    weight = cell.state_map.weight.detach().numpy()
    return lambda v: np.tanh(held + weight @ v)


def test_ctrnn_converges_to_scipy_with_order_one():
    cell = CTRNN(3, 5, 2, frame_s=FRAME_S).double()
    cell.raw_timescale.data.uniform_(-1.0, 2.0)
    inputs, state = torch.randn(1, 3).double(), torch.randn(1, 5).double()
    field, tau_s = field_of(cell, inputs), cell.time_constants_s().detach().numpy()
    expected = solve(lambda v: (field(v) - v) / tau_s, state.numpy()[0], 0.08)
    errors = []
    for unfolds in (16, 32, 64, 1024):
        cell.unfolds = unfolds
        end = cell(inputs, state, torch.tensor([0.08]).double()).detach().numpy()[0]
        errors.append(np.abs(end - expected).max())
    assert errors[-1] < 1e-3
    orders = np.log2(np.array(errors[:2]) / errors[1:3])
    np.testing.assert_allclose(orders, 1.0, atol=0.15)


def test_ctrnn_without_feedback_relaxes_exactly():
    cell = CTRNN(3, 5, 2, unfolds=1, frame_s=FRAME_S).double()
    cell.state_map.weight.data.zero_()
    inputs, state = torch.randn(2, 3).double(), torch.randn(2, 5).double()
    dt_s, tau_s = torch.tensor([0.0, 0.3]).double(), cell.timescales(inputs, state)
    rest = torch.tanh(cell.input_map(inputs))
    expected = rest + (state - rest) * torch.exp(-dt_s[:, None] / tau_s)
    torch.testing.assert_close(cell(inputs, state, dt_s), expected)


def test_ctrnn_time_constant_is_a_frame_at_first():
    cell = CTRNN(3, 5, 2, frame_s=FRAME_S)
    torch.testing.assert_close(cell.time_constants_s(), torch.full((5,), FRAME_S))


def test_neural_ode_agrees_with_scipy():
    cell = NeuralODE(3, 5, 2, frame_s=FRAME_S).double()
    inputs, state = torch.randn(1, 3).double(), torch.randn(1, 5).double()
    field = field_of(cell, inputs)
    expected = solve(lambda v: field(v) / FRAME_S, state.numpy()[0], 0.08)
    end = cell(inputs, state, torch.tensor([0.08]).double())
    np.testing.assert_allclose(end.detach().numpy()[0], expected, atol=1e-5)


def test_ode_rnn_drifts_between_frames_and_is_a_gru_at_them():
    cell = ODERNN(3, 5, 2, frame_s=FRAME_S).double()
    inputs, state = torch.randn(1, 3).double(), torch.randn(1, 5).double()
    at_once = cell(inputs, state, torch.zeros(1).double())
    torch.testing.assert_close(at_once, cell.gru(inputs, state))

    def rate(v):
        return cell.field(torch.from_numpy(v)[None]).detach().numpy()[0] / FRAME_S

    drifted = torch.from_numpy(solve(rate, state.numpy()[0], 0.08))[None]
    later = cell(inputs, state, torch.tensor([0.08]).double())
    torch.testing.assert_close(later, cell.gru(inputs, drifted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [CTRNN, NeuralODE, ODERNN])
def test_impossible_settings_are_refused(make):
    with pytest.raises(ValueError, match="`unfolds` must be a whole number of at least 1, got 0"):
        make(3, 5, 2, unfolds=0)
    with pytest.raises(
        ValueError, match="`hidden_size` must be a whole number of at least 1, got -2"
    ):
        make(3, -2, 2)
