"""What every cell owes a sequence: batch = singles, split = whole, reset = fresh."""

import json

import pytest
import torch
from safetensors.torch import load, save

from ncp_control import LSTM, LTC, NCP19, Circuit, WiredCfC
from ncp_control import cells as cells_module
from ncp_control.cells import cell_from_config, cell_to_config
from ncp_control.wiring_rules import ncp19
from tests.ncp_control.every_cell import CELLS

BLIND_TO_TIME = {"gru", "lstm", "feedforward", "stacked"}


@pytest.fixture(params=CELLS, ids=list(CELLS))
def circuit(request):
    torch.manual_seed(3)
    return Circuit(CELLS[request.param]()).double()


def sequence(batch=4, time=9):
    return torch.randn(batch, time, 32, dtype=torch.float64)


def test_batch_with_its_own_times_equals_the_samples_one_by_one(circuit):
    inputs, dt_s = sequence(), torch.rand(4, 9, dtype=torch.float64) * 0.2
    together, state = circuit(inputs, dt_s=dt_s)
    for i in range(4):
        alone, alone_state = circuit(inputs[i : i + 1], dt_s=dt_s[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)
        torch.testing.assert_close(state[i : i + 1], alone_state)


def test_split_sequence_equals_the_whole(circuit):
    inputs, dt_s = sequence(), torch.rand(4, 9, dtype=torch.float64) * 0.2
    whole, end = circuit(inputs, dt_s=dt_s)
    first, state = circuit(inputs[:, :4], dt_s=dt_s[:, :4])
    second, state = circuit(inputs[:, 4:], state, dt_s=dt_s[:, 4:])
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(state, end)


def test_reset_equals_a_fresh_state(circuit):
    inputs = sequence()
    reset = torch.zeros(4, 9, dtype=torch.bool)
    reset[1, 5] = reset[2, 0] = True
    start = torch.rand(4, circuit.cell.state_size, dtype=torch.float64)
    outputs, _ = circuit(inputs, start, reset=reset)
    fresh, _ = circuit(inputs[1:2, 5:])
    torch.testing.assert_close(outputs[1:2, 5:], fresh)
    fresh, _ = circuit(inputs[2:3])
    torch.testing.assert_close(outputs[2:3], fresh)
    undisturbed, _ = circuit(inputs[3:], start[3:])
    torch.testing.assert_close(outputs[3:], undisturbed)


def test_times_may_be_given_once_a_sample_or_once_for_all(circuit):
    inputs = sequence()
    by_frame, _ = circuit(inputs, dt_s=torch.full((4, 9), 0.05, dtype=torch.float64))
    by_sample, _ = circuit(inputs, dt_s=torch.full((4,), 0.05))
    by_number, _ = circuit(inputs, dt_s=0.05)
    torch.testing.assert_close(by_sample, by_frame, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(by_number, by_frame)


def test_frame_interval_is_assumed_where_no_time_is_given(circuit):
    inputs = sequence()
    torch.testing.assert_close(circuit(inputs)[0], circuit(inputs, dt_s=circuit.frame_s)[0])


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("time", [0, 1, 9])
def test_the_state_is_a_tensor_of_its_own(circuit, kernels, time, monkeypatch):
    monkeypatch.setenv("NCP_CONTROL_KERNELS", kernels)
    start = torch.rand(4, circuit.cell.state_size, dtype=torch.float64)
    before = start.clone()
    outputs, state = circuit(sequence(time=time), start)
    assert state.untyped_storage().nbytes() == state.numel() * state.element_size()
    with torch.no_grad():
        state.zero_()  # as a caller who begins anew may do
    (outputs.square().sum() + state.sum()).backward()
    assert torch.equal(start, before)


def test_record_agrees_with_forward(circuit):
    inputs, start = sequence(), torch.rand(4, circuit.cell.state_size, dtype=torch.float64)
    given = {"dt_s": torch.rand(4, 9, dtype=torch.float64) * 0.2, "reset": torch.rand(4, 9) < 0.2}
    outputs, state = circuit(inputs, start, **given)
    activity = circuit.record(inputs, start, **given)
    torch.testing.assert_close(activity.outputs, outputs)
    torch.testing.assert_close(activity.states[:, -1], state)
    assert len(activity.neuron_names) == circuit.cell.state_size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_gradients_are_finite_for_extreme_times_and_inputs(circuit, dtype, size):
    inputs = (sequence() * size).to(dtype).requires_grad_()
    dt_s = torch.tensor([0.0, 1e-6, 1.0, 1e3], dtype=dtype)
    outputs, _ = circuit.to(dtype)(inputs, dt_s=dt_s)
    outputs.sum().backward()
    assert torch.isfinite(outputs).all() and torch.isfinite(inputs.grad).all()
    for parameter in circuit.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


def test_a_copy_from_its_settings_and_weights_gives_equal_bits(circuit):
    config = json.loads(json.dumps(cell_to_config(circuit.cell)))
    copy = Circuit(cell_from_config(config)).double()
    copy.load_state_dict(load(save(circuit.state_dict())))
    inputs = sequence()
    assert torch.equal(copy(inputs)[0], circuit(inputs)[0])


def test_every_parameter_takes_part(circuit):
    circuit(sequence(), dt_s=0.03)[0].sum().backward()
    for name, parameter in circuit.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0.0, name


def test_every_registered_cell_is_tested():
    known = {known.cls for known in cells_module.CELLS.values()}
    known = {
        cls for cls in known if cls.__module__.startswith("ncp_control.")
    }  # not a recipe's own
    assert known == {type(make()) for make in CELLS.values()}


@pytest.mark.parametrize("name", CELLS)
def test_elapsed_time_matters_to_all_but_the_blind(name):
    circuit, inputs = Circuit(CELLS[name]()), torch.randn(2, 5, 32)
    slow, fast = circuit(inputs, dt_s=0.1)[0], circuit(inputs, dt_s=0.01)[0]
    assert ((slow - fast).abs().max() > 1e-3) == (name not in BLIND_TO_TIME)


def test_time_constants_are_recorded_where_there_are_any(circuit):
    activity = circuit.record(sequence())
    if not circuit.cell.has_timescales:
        assert activity.timescales_s is None
        with pytest.raises(ValueError, match="`cell` must have time constants, got "):
            circuit.cell.timescales(torch.zeros(1, 32).double(), circuit.cell.initial_state(1))
        return
    assert activity.timescales_s.shape == activity.states.shape
    memory = ["memory" in name for name in activity.neuron_names]
    assert torch.equal(activity.timescales_s[0, 0].isnan(), torch.tensor(memory))
    assert (activity.timescales_s.nan_to_num(nan=1.0) > 0.0).all()


def test_synaptic_currents_are_recorded_where_there_are_any(circuit):
    activity = circuit.record(sequence())
    if circuit.cell.has_synaptic_currents:
        assert activity.synaptic_currents.shape[:2] == (4, 9)
        return
    assert activity.synaptic_currents is None
    with pytest.raises(ValueError, match="`cell` must have synaptic currents, got "):
        circuit.cell.synaptic_currents(torch.zeros(1, 32).double(), circuit.cell.initial_state(1))


def test_empty_sequences_and_batches_pass_through(circuit):
    outputs, state = circuit(sequence(time=0))
    assert outputs.shape == (4, 0, circuit.cell.output_size)
    torch.testing.assert_close(state, circuit.cell.initial_state(4))
    assert circuit(sequence(batch=0))[0].shape == (0, 9, circuit.cell.output_size)


def test_wrong_widths_are_refused():
    circuit = Circuit(LTC(NCP19))
    with pytest.raises(ValueError, match=r"`inputs` must have shape \(batch, time, 32\)"):
        circuit(torch.randn(2, 5, 31))
    with pytest.raises(ValueError, match=r"`state` must have shape \(2, 19\), got \(2, 18\)"):
        circuit(torch.randn(2, 5, 32), torch.zeros(2, 18))
    with pytest.raises(ValueError, match=r"`reset` must be bool of shape \(2, 5\)"):
        circuit(torch.randn(2, 5, 32), reset=torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="`frame_s` must be positive, got 0"):
        LTC(NCP19, frame_s=0.0)


def test_inputs_that_are_no_real_numbers_are_refused():
    with pytest.raises(
        ValueError, match="`inputs` must be floating-point numbers, got torch.int64"
    ):
        Circuit(LTC(NCP19))(torch.ones(1, 3, 32, dtype=torch.int64))


@pytest.mark.parametrize("name", CELLS)
def test_double_and_single_are_not_mixed(name):
    circuit, inputs = Circuit(CELLS[name]()), torch.randn(2, 5, 32)
    with pytest.raises(ValueError, match="`inputs` must be torch.float32 as .*got torch.float64"):
        circuit(inputs.double())
    with pytest.raises(ValueError, match="`state` must be torch.float32 as the circuit is"):
        circuit(inputs, circuit.cell.initial_state(2).double())


def test_what_is_no_tensor_is_refused():
    circuit, inputs = Circuit(LSTM(32, 16, 2)), torch.randn(2, 5, 32)
    with pytest.raises(ValueError, match="`inputs` must be one tensor, got 'ndarray'"):
        circuit(inputs.numpy())
    with pytest.raises(ValueError, match="`state` must be one tensor, got 'tuple'"):
        circuit(inputs, (torch.zeros(2, 16), torch.zeros(2, 16)))
    with pytest.raises(ValueError, match="`reset` must be one tensor, got 'list'"):
        circuit(inputs, reset=[[True] * 5] * 2)


def test_half_precision_inputs_leave_the_times_exact():
    circuit, inputs = Circuit(LTC(NCP19)), torch.randn(1, 3, 32).bfloat16()
    torch.testing.assert_close(circuit(inputs, dt_s=0.1)[0], circuit(inputs.float(), dt_s=0.1)[0])
    assert circuit.record(inputs, dt_s=0.1).dt_s.dtype == torch.float32


@pytest.mark.parametrize("name", CELLS)
def test_automatic_mixed_precision_changes_little(name):
    torch.manual_seed(3)
    circuit, inputs = Circuit(CELLS[name]()), torch.randn(2, 5, 32)
    expected = circuit(inputs, dt_s=0.05)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = circuit(inputs, dt_s=0.05)[0]
    torch.testing.assert_close(outputs.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("make_cell", [LTC, WiredCfC])
def test_weights_belong_to_their_wiring(make_cell):
    one, other, bystander = make_cell(NCP19), make_cell(ncp19(seed=1)), make_cell(NCP19)
    before = bystander.source.clone()
    with pytest.raises(RuntimeError, match="`source` must be what .* was built with"):
        one.load_state_dict(other.state_dict())
    assert torch.equal(bystander.source, before)
    assert not NCP19.sources.flags.writeable


def test_a_circuit_is_built_around_a_cell():
    with pytest.raises(TypeError, match="`cell` must be a Cell, got 'Wiring'"):
        Circuit(NCP19)


def test_print_shows_sizes_and_frame_interval():
    for circuit, told in (
        (LTC(NCP19), "LTC(inputs=32, neurons=19, outputs=1, frame_s=0.03333)"),
        (LSTM(3, 5, 2, frame_s=0.5), "inputs=3, units=5, outputs=2, frame_s=0.5"),
        (CELLS["mixed-ltc"](), "inputs=32, state=38, outputs=1, frame_s=0.03333"),
    ):
        assert told in str(Circuit(circuit))


HOLDS_AT_ZERO = {"LTC", "STC", "LRC", "CTRNN", "NeuralODE"}
"""Cells whose state does not change in a frame of no time, as the documentation says."""


def test_no_time_holds_the_state_of_cells_with_a_differential_equation_only(circuit):
    start = torch.rand(4, circuit.cell.state_size, dtype=torch.float64)
    _, state = circuit(sequence(), start, dt_s=0.0)
    assert torch.equal(state, start) == (type(circuit.cell).__name__ in HOLDS_AT_ZERO)


def test_padding_at_the_front_leaves_no_trace_after_a_reset(circuit):
    inputs, dt_s = sequence(), torch.rand(4, 9, dtype=torch.float64) * 0.2
    padded = torch.cat([torch.zeros(4, 3, 32, dtype=torch.float64), inputs], dim=1)
    times = torch.cat([torch.zeros(4, 3, dtype=torch.float64), dt_s], dim=1)
    reset = torch.zeros(4, 12, dtype=torch.bool)
    reset[:, 3] = True
    outputs, state = circuit(padded, dt_s=times, reset=reset)
    wanted, wanted_state = circuit(inputs, dt_s=dt_s)
    torch.testing.assert_close(outputs[:, 3:], wanted)
    torch.testing.assert_close(state, wanted_state)
