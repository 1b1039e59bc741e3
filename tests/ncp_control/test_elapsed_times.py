"""Elapsed times: what is none is refused, compiled too; after the longest all is finite."""

import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, Circuit
from ncp_control.kernels.step import FusedStep
from tests.ncp_control.every_cell import CELLS

LONGEST_S = [1e20, 3e38]


@pytest.mark.parametrize(
    ("dt_s", "message"),
    [
        (-0.1, "`dt_s` must be a finite time >= 0 in seconds, got -0.1"),
        (float("nan"), "`dt_s` must be a finite time >= 0 in seconds, got nan"),
        (1e39, "`dt_s` must be a finite time >= 0 in seconds, got inf"),
        (torch.tensor([0.1, -2.0]), "got -2.0"),
        (torch.rand(3), r"shape \(2,\) or \(2, 5\), got shape \(3,\)"),
    ],
)
def test_impossible_times_are_refused(dt_s, message):
    with pytest.raises(ValueError, match=message):
        Circuit(LTC(NCP19))(torch.randn(2, 5, 32), dt_s=dt_s)


@pytest.mark.parametrize(
    "dt_s", [True, "soon", np.True_, torch.tensor([True, False]), 0.1j, {"dt_s": 0.1}]
)
def test_what_is_no_time_is_refused(dt_s):
    with pytest.raises(ValueError, match="`dt_s` must be times in seconds, got .*Give numbers"):
        Circuit(LTC(NCP19))(torch.randn(2, 5, 32), dt_s=dt_s)


def test_a_truth_value_is_no_time_of_a_control_step():
    with pytest.raises(ValueError, match="`dt_s` must be a finite time >= 0 in seconds, got True"):
        FusedStep(LTC(NCP19))(np.zeros(32, np.float32), True)


def test_lists_and_arrays_of_numbers_are_times_and_keep_their_digits():
    circuit, inputs = Circuit(LTC(NCP19)).double(), torch.randn(2, 5, 32).double()
    expected = circuit(inputs, dt_s=torch.tensor([0.1, 0.2], dtype=torch.float64))[0]
    for dt_s in ([0.1, 0.2], (0.1, 0.2), np.array([0.2, 0.1])[::-1]):
        assert not torch.equal(circuit(inputs, dt_s=[0.1, 0.1])[0], expected)
        assert torch.equal(circuit(inputs, dt_s=dt_s)[0], expected)


def test_an_exported_circuit_refuses_impossible_times():
    circuit, inputs, dt_s = Circuit(LTC(NCP19)), torch.randn(2, 3, 32), torch.full((2, 3), 0.1)
    exported = torch.export.export(circuit, (inputs,), {"dt_s": dt_s}).module()
    torch.testing.assert_close(exported(inputs, dt_s=dt_s), circuit(inputs, dt_s=dt_s))
    for bad in (-0.1, torch.nan, torch.inf):
        dt_s[1, 2] = bad
        with pytest.raises(RuntimeError, match="`dt_s` must be a finite time >= 0 in seconds"):
            exported(inputs, dt_s=dt_s)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("dt_s", LONGEST_S)
@pytest.mark.parametrize("name", CELLS)
def test_after_the_longest_times_all_is_finite(name, dt_s, kernels, monkeypatch):
    monkeypatch.setenv("NCP_CONTROL_KERNELS", kernels)
    circuit = Circuit(CELLS[name]())
    times = torch.full((3, 4), dt_s, requires_grad=True)
    outputs, state = circuit(torch.randn(3, 4, 32), dt_s=times)
    outputs.sum().backward()
    assert outputs.isfinite().all() and state.isfinite().all()
    for parameter in (times, *circuit.parameters()):
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_a_single_step_takes_a_number_and_refuses_impossible_times():
    cell, inputs = LTC(NCP19), torch.randn(2, 32)
    state = cell.initial_state(2)
    after = cell(inputs, state, torch.full((2,), 0.1))
    assert torch.equal(cell(inputs, state, 0.1), after)
    for dt_s, message in ((-0.1, "got -0.1"), (torch.tensor([0.1, -2.0]), "got -2.0"),
                          (torch.rand(3), r"got shape \(3,\)")):  # fmt: skip
        with pytest.raises(ValueError, match=f"`dt_s` must be .*{message}"):
            cell(inputs, state, dt_s)
