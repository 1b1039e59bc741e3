"""One control step: the circuit's own result, in a few microseconds, with weights never stale."""

import copy
import pickle

import numpy as np
import pytest
import torch

from ncp_control import LSTM, LTC, NCP19, Circuit
from ncp_control.kernels.step import FusedStep


def drive(step: FusedStep, features: torch.Tensor, dt_s: torch.Tensor) -> np.ndarray:
    frames = zip(features.numpy(), dt_s.tolist(), strict=True)
    return np.stack([step(frame, elapsed_s) for frame, elapsed_s in frames])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
def test_steps_are_the_sequence(cell, dtype, tolerance, tools):
    cell = cell.to(dtype)
    s = tools.random_sequence(cell, 1, 12, dtype)
    outputs, state = Circuit(cell)(s["inputs"], s["state"], dt_s=s["dt_s"])
    step = FusedStep(cell)
    step.state[:] = s["state"][0].numpy()
    found = drive(step, s["inputs"][0], s["dt_s"][0])
    np.testing.assert_allclose(found, outputs[0].detach().numpy(), rtol=0, atol=4 * tolerance)
    np.testing.assert_allclose(step.state, state[0].detach().numpy(), rtol=0, atol=tolerance)


def test_a_nan_goes_where_synapses_carry_it(cell, tools):
    features = torch.randn(1, 1, cell.input_size)
    features[..., 0] = torch.nan
    dt_s = torch.full((1, 1), 0.03)
    expected, _ = tools.by_reference(
        cell, inputs=features, state=torch.zeros(1, cell.state_size), dt_s=dt_s, reset=None
    )
    step = FusedStep(cell)
    step(features[0, 0].numpy(), 0.03)
    np.testing.assert_array_equal(np.isnan(step.state), expected[0, 0].isnan().numpy())


def test_zero_elapsed_time_changes_no_bit(cell):
    step = FusedStep(cell)
    step.state[:] = before = np.random.default_rng(0).normal(size=cell.state_size)
    step(np.ones(cell.input_size, np.float32), 0.0)
    np.testing.assert_array_equal(step.state, before.astype(np.float32))


def test_the_longest_times_lead_to_rest(cell):
    step, twin = FusedStep(cell), FusedStep(cell)
    features = np.random.default_rng(0).normal(size=cell.input_size).astype(np.float32)
    for _ in range(5):
        found, expected = step(features, 3e38), twin(features, 1e12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_reset_clears_the_state():
    step = FusedStep(LTC(NCP19))
    features = np.ones(32, np.float32)
    first = step(features, 0.03)
    assert not np.array_equal(step(features, 0.03), first)
    step.reset()
    assert np.array_equal(step(features, 0.03), first)


def train(cell):
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.5)
    cell.unroll(torch.ones(1, 3, 32), torch.zeros(1, 19), torch.full((1, 3), 0.03), None)[
        ..., -1
    ].sum().backward()
    optimizer.step()


def load(cell):
    cell.load_state_dict(LTC(NCP19).state_dict())


def assign(cell):
    cell.load_state_dict(LTC(NCP19).state_dict(), assign=True)


def write_data(cell):
    cell.threshold.data.add_(0.3)


def to_double(cell):
    cell.double()


@pytest.mark.parametrize("change", [train, load, assign, write_data, to_double])
def test_a_change_of_weights_takes_effect_at_once(change, tools):
    cell = tools.randomised(LTC(NCP19))
    step = FusedStep(cell)
    features = torch.randn(5, 32)
    stale = drive(step, features, torch.full((5,), 0.03))
    change(cell)
    step.reset()
    found = drive(step, features, torch.full((5,), 0.03))
    fresh = drive(FusedStep(cell), features, torch.full((5,), 0.03))
    np.testing.assert_array_equal(found, fresh)
    assert change is to_double or not np.array_equal(found, stale)


@pytest.mark.parametrize("is_refreshed", [True, False])
def test_one_exchanged_parameter_is_noticed(is_refreshed):
    cell = LTC(NCP19)
    step = FusedStep(cell)
    cell.threshold = torch.nn.Parameter(cell.threshold + 0.3)
    if is_refreshed:
        step.refresh()
    else:
        drive(step, torch.zeros(11, 32), torch.zeros(11))  # as many calls as parameters
    features = np.ones(32, np.float32)
    np.testing.assert_array_equal(step(features, 0.03), FusedStep(cell)(features, 0.03))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_its_own_way(duplicate):
    step = FusedStep(LTC(NCP19))
    features = np.ones(32, np.float32)
    step(features, 0.03)
    twin = duplicate(step)
    expected = step(features, 0.03)
    step(features, 0.03)
    np.testing.assert_array_equal(twin(features, 0.03), expected)


def test_features_of_another_type_or_layout():
    step, other = FusedStep(LTC(NCP19)), np.random.default_rng(0).normal(size=(32, 2))[:, 0]
    found = step(other, 0.03)
    step.reset()
    np.testing.assert_array_equal(step(other.astype(np.float32).copy(), 0.03), found)


def test_what_no_kernel_runs():
    wanted = LTC(NCP19), LTC(NCP19).double()
    others = LTC(NCP19, integrator="rk4"), LTC(NCP19).half(), LSTM(32, 8, 1)
    assert all(map(FusedStep.supports, wanted)) and not any(map(FusedStep.supports, others))
    with pytest.raises(ValueError, match="must be one that a kernel runs here, got .*'rk4'"):
        FusedStep(others[0])


def test_impossible_arguments():
    step = FusedStep(LTC(NCP19))
    with pytest.raises(ValueError, match=r"`features` must have shape \(32,\), got \(31,\)"):
        step(np.zeros(31, np.float32), 0.03)
    for dt_s in (-1.0, float("nan"), float("inf"), 1e39):
        with pytest.raises(ValueError, match="`dt_s` must be a finite time >= 0"):
            step(np.zeros(32, np.float32), dt_s)
