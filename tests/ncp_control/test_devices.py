"""Every circuit runs wherever its parameters are; the device that a setting names.

On torch's meta device tensors have no values, but an operation that mixes it with the CPU fails.
"""

import pytest
import torch

from ncp_control import LTC, NCP19, Circuit, auto_ncp
from ncp_control.cells import (
    CTGRU,
    CTRNN,
    GRU,
    LSTM,
    ODERNN,
    CfC,
    Feedforward,
    MixedMemory,
    NeuralODE,
    WiredCfC,
)
from ncp_control.devices import find_device
from ncp_control.integrators import INTEGRATORS
from ncp_control.learning.sequences import Sequences

SIZES = (6, 5, 2)
CELLS = {
    **{name: lambda name=name: LTC(NCP19, integrator=name) for name in INTEGRATORS},
    **{mode: lambda mode=mode: CfC(*SIZES, mode=mode) for mode in ("default", "pure", "no_gate")},
    "wired cfc": lambda: WiredCfC(auto_ncp(6, 12, 2)),
    "mixed memory": lambda: MixedMemory(LTC(NCP19)),
    **{x.__name__: lambda x=x: x(*SIZES) for x in (CTRNN, CTGRU, GRU, LSTM, NeuralODE, ODERNN)},
    "feedforward": lambda: Feedforward(*SIZES),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_circuit_stays_on_its_device(name):
    circuit = Circuit(CELLS[name]()).to("meta")
    with torch.device("cpu"):
        inputs = torch.empty(2, 3, circuit.cell.input_size, device="meta", requires_grad=True)
        reset = torch.empty(2, 3, dtype=torch.bool, device="meta")
        if isinstance(circuit.cell, GRU | LSTM):
            reset = None  # they read where the resets are
        for dt_s in (None, 0.03, torch.empty(2, device="meta")):
            outputs, state = circuit(inputs, dt_s=dt_s, reset=reset)
            assert outputs.is_meta and state.is_meta
        (outputs.sum() + state.sum()).backward()
        assert inputs.grad is not None and inputs.grad.is_meta
        activity = vars(circuit.record(inputs))
    assert all(value.is_meta for value in activity.values() if isinstance(value, torch.Tensor))


def test_sequences_move_with_all_they_hold():
    values = torch.zeros(4, 3, 2)
    moved = Sequences(
        inputs=values, targets=values, dt_s=values[..., 0], mask=values[..., 0] > 0
    ).to(torch.device("meta"))
    assert all(value.is_meta for value in vars(moved).values())


@pytest.mark.parametrize(("has_gpu", "device"), [(False, "cpu"), (True, "cuda")])
def test_auto_takes_a_gpu_where_there_is_one(has_gpu, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert find_device("auto") == torch.device(device)
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match=f"`device` must be .*got '{name}'. Leave it at auto"):
        find_device(name)
