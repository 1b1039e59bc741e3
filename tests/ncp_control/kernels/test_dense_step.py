"""One control step of a dense cell: what the circuit does, with weights never stale."""

import copy
import pickle

import numpy as np
import pytest
import torch

from ncp_control import (
    CTGRU,
    CTRNN,
    LRC,
    LSTM,
    LTC,
    NCP19,
    STC,
    CfC,
    Circuit,
    MixedMemory,
    WiredCfC,
    auto_ncp,
)
from ncp_control.cells import Cell
from ncp_control.kernels.dense_step import DenseStep
from tests.ncp_control.kernels.dense_cells import CELLS, randomised

FEATURES = np.linspace(-1.0, 1.0, 5, dtype=np.float32)


@pytest.fixture(params=CELLS)
def cell(request) -> Cell:
    torch.manual_seed(0)
    return randomised(CELLS[request.param]())


def drive(step: DenseStep, calls: int = 5) -> np.ndarray:
    return np.stack([step(FEATURES, 0.03 * k) for k in range(calls)])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
def test_steps_are_the_sequence(cell, dtype, tolerance, tools, monkeypatch):
    cell = cell.to(dtype)
    s = tools.random_sequence(cell, 1, 12, dtype)
    step = cell.control_step()
    assert isinstance(step, DenseStep)
    monkeypatch.setenv("NCP_CONTROL_KERNELS", "reference")
    outputs, state = Circuit(cell)(s["inputs"], s["state"], dt_s=s["dt_s"])
    step.state[:] = s["state"][0].numpy()
    frames = zip(s["inputs"][0].numpy(), s["dt_s"][0].tolist(), strict=True)
    found = np.stack([step(frame, elapsed_s) for frame, elapsed_s in frames])
    np.testing.assert_allclose(found, outputs[0].detach().numpy(), rtol=0, atol=4 * tolerance)
    np.testing.assert_allclose(step.state, state[0].detach().numpy(), rtol=0, atol=tolerance)


def train(cell):
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.5)
    Circuit(cell)(torch.ones(1, 3, 5))[0].sum().backward()
    optimizer.step()


def other_weights(cell):
    learned = {name: value.detach() + 0.1 for name, value in cell.named_parameters()}
    return cell.state_dict() | learned


def load(cell):
    cell.load_state_dict(other_weights(cell))


def assign(cell):
    cell.load_state_dict(other_weights(cell), assign=True)


def write_the_bias_of_the_readout(cell):
    names = "output.bias", "output_offset"
    next(p for name, p in cell.named_parameters() if name.endswith(names)).data.add_(0.3)


def write_the_last_row_of_every_matrix(cell):
    for parameter in cell.parameters():
        if parameter.ndim == 2:
            parameter.data[-1] += 0.3


def to_double(cell):
    cell.double()


@pytest.mark.parametrize(
    "change",
    [
        train,
        load,
        assign,
        write_the_bias_of_the_readout,
        write_the_last_row_of_every_matrix,
        to_double,
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: CTRNN(5, 7, 2),
        lambda: MixedMemory(CfC(5, 7, 2)),
        lambda: LRC(auto_ncp(5, 9, 2), reads="command"),
        lambda: MixedMemory(LTC(auto_ncp(5, 9, 2))),
        lambda: CTGRU(5, 7, 2),
        lambda: LSTM(5, 7, 2, sees_time=True),
        lambda: MixedMemory(WiredCfC(auto_ncp(5, 9, 2))),
    ],
)
def test_a_change_of_weights_takes_effect_at_once(make, change):
    cell = make()
    step = DenseStep(cell)
    stale = drive(step)
    change(cell)
    step.reset()
    found = drive(step)
    np.testing.assert_array_equal(found, drive(DenseStep(cell)))
    assert change is to_double or not np.array_equal(found, stale)


def test_a_layer_that_is_read_twice_takes_effect_at_once():
    cell = LSTM(5, 7, 7)  # its readout reads the map of the state, too
    cell.output.weight = torch.nn.Parameter(torch.zeros(7, 7))
    cell.lstm.weight_hh_l0.data[:7] = cell.output.weight.data
    cell.output.weight.data = cell.lstm.weight_hh_l0.data[:7]
    step = DenseStep(cell)
    drive(step)
    cell.output.weight.data += 1.0
    step.reset()
    np.testing.assert_array_equal(drive(step), drive(DenseStep(cell)))


def test_another_setting_makes_it_out_of_date():
    cell = CTRNN(5, 7, 2)
    step = DenseStep(cell)
    assert step.is_current
    cell.unfolds = 2
    assert not step.is_current


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_its_own_way(duplicate):
    step = DenseStep(LSTM(5, 7, 2))
    step(FEATURES, 0.03)
    twin = duplicate(step)
    expected = step(FEATURES, 0.03)
    step(FEATURES, 0.03)
    np.testing.assert_array_equal(twin(FEATURES, 0.03), expected)


def test_what_no_kernel_runs():
    assert not DenseStep.supports(STC(NCP19, integrator="rk4"))
    assert not DenseStep.supports(LSTM(5, 7, 2).half())
    with pytest.raises(ValueError, match="must be one that a kernel runs here, got LSTM"):
        DenseStep(LSTM(5, 7, 2).half())


def test_impossible_arguments():
    step = DenseStep(LSTM(5, 7, 2))
    with pytest.raises(ValueError, match=r"`features` must have shape \(5,\), got \(6,\)"):
        step(np.zeros(6, np.float32), 0.03)
    for dt_s in (-1.0, float("nan"), float("inf"), True):
        with pytest.raises(ValueError, match="`dt_s` must be a finite time >= 0"):
            step(FEATURES, dt_s)
