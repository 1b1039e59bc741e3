"""Half precision: a circuit answers in its own type, with what its float32 twin finds."""

import copy

import numpy as np
import pytest
import torch

from ncp_control import LSTM, LTC, NCP19, CfC, Circuit
from ncp_control.policy import load
from ncp_control.replay import show
from tests.ncp_control.every_cell import CELLS

HALVES = [torch.bfloat16, torch.float16]


@pytest.fixture(params=CELLS, ids=list(CELLS))
def circuit(request):
    torch.manual_seed(3)
    return Circuit(CELLS[request.param]())


def given(circuit, dtype):
    """Return inputs, a state, and elapsed times that half precision would round."""
    inputs, state = torch.randn(3, 4, 32), 0.3 * torch.randn(3, circuit.cell.state_size)
    return inputs.to(dtype), state.to(dtype), 0.1 * torch.rand(3, 4)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_half_circuit_rounds_what_its_float32_twin_finds(circuit, dtype):
    circuit.to(dtype)
    twin = copy.deepcopy(circuit).float()
    inputs, state, dt_s = given(circuit, dtype)
    reset = torch.rand(3, 4) < 0.3
    outputs, last = circuit(inputs, state, dt_s=dt_s, reset=reset)
    expected, expected_last = twin(inputs.float(), state.float(), dt_s=dt_s, reset=reset)
    assert torch.equal(outputs, expected.to(dtype)) and torch.equal(last, expected_last.to(dtype))
    assert circuit(inputs, last)[0].dtype == dtype  # the state is accepted back

    outputs.sum().backward()
    expected.sum().backward()
    for parameter, other in zip(circuit.parameters(), twin.parameters(), strict=True):
        assert isinstance(parameter, torch.nn.Parameter) and parameter.dtype == dtype
        if parameter.grad is not None:
            assert torch.equal(parameter.grad, other.grad.to(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_inputs_of_the_other_precision_are_converted(circuit, dtype):
    inputs, state, dt_s = given(circuit, dtype)
    outputs, last = circuit(inputs, state, dt_s=dt_s)
    expected, expected_last = circuit(inputs.float(), state.float(), dt_s=dt_s)
    assert torch.equal(outputs, expected) and torch.equal(last, expected_last)
    circuit.to(dtype)
    outputs, last = circuit(inputs.float(), state.float(), dt_s=dt_s)
    expected, expected_last = circuit(inputs, state, dt_s=dt_s)
    assert torch.equal(outputs, expected) and torch.equal(last, expected_last)
    with pytest.raises(ValueError, match=rf"`inputs` must be {dtype} as the circuit is, got"):
        circuit(inputs.double())


def test_a_record_has_the_types_of_forward(circuit):
    circuit.bfloat16()
    inputs, state, dt_s = given(circuit, torch.bfloat16)
    activity = circuit.record(inputs, state, dt_s=dt_s)
    outputs, last = circuit(inputs, state, dt_s=dt_s)
    assert torch.equal(activity.outputs, outputs) and torch.equal(activity.states[:, -1], last)
    assert activity.dt_s.dtype == torch.float32
    if activity.timescales_s is not None:
        assert activity.timescales_s.dtype == torch.float32
    if activity.synaptic_currents is not None:
        assert activity.synaptic_currents.dtype == torch.bfloat16


def test_the_weights_come_back_after_a_failure():
    circuit = Circuit(LTC(NCP19)).bfloat16()
    before = dict(circuit.named_parameters())
    circuit.cell.target = circuit.cell.target.flip(0)
    with pytest.raises(ValueError, match="Rebuild the cell from its wiring"):
        circuit(torch.randn(1, 2, 32))
    assert all(p is before[name] for name, p in circuit.named_parameters())
    assert circuit.cell.sign.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "make_cell", [lambda: LTC(NCP19), lambda: CfC(32, 5, 2), lambda: LSTM(32, 5, 2)]
)
def test_a_half_policy_acts(flat_policy, make_cell, dtype):
    policy = flat_policy(Circuit(make_cell())).to(dtype).eval()
    frames = np.random.default_rng(0).standard_normal((3, 32))
    actions = np.stack([policy.act(frame, 0.05) for frame in frames])
    assert actions.dtype == np.float32
    with torch.no_grad():
        expected = policy(torch.from_numpy(frames[None]).to(dtype), dt_s=0.05)[0][0]
    np.testing.assert_allclose(actions, expected.float().clamp(-1, 1), atol=0.02)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_half_policy_is_looked_into_in_single_precision(dtype):
    policy = load("halfcheetah-ltc").to(dtype)
    seen, dt_s = np.random.default_rng(0).normal(size=(4, 17)), np.full(4, 0.05)
    episode, expected = show(policy, seen, dt_s), show(copy.deepcopy(policy).float(), seen, dt_s)
    assert episode.recorded_activity.states.dtype == torch.float32
    assert torch.equal(episode.recorded_activity.states, expected.recorded_activity.states)
    np.testing.assert_array_equal(episode.actions, expected.actions)
    assert next(policy.parameters()).dtype == dtype, "the policy itself stays as it is"


def test_functional_call_reaches_a_half_circuit():
    circuit, inputs = Circuit(LSTM(32, 5, 2)).bfloat16(), torch.randn(2, 3, 32)
    doubled = {name: 2.0 * p.detach() for name, p in circuit.named_parameters()}
    found = torch.func.functional_call(circuit, doubled, (inputs,))[0]
    circuit.load_state_dict(doubled)
    assert torch.equal(found, circuit(inputs)[0])


def test_a_half_circuit_can_be_exported():
    circuit, inputs = Circuit(CfC(32, 4, 1)).bfloat16(), torch.randn(2, 3, 32).bfloat16()
    exported = torch.export.export(circuit, (inputs,)).module()
    assert torch.equal(exported(inputs)[0], circuit(inputs)[0])
    assert all(isinstance(p, torch.nn.Parameter) for p in circuit.parameters())
