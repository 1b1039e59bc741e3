"""What every cell owes a sequence: batch = singles, split = whole, reset = fresh."""

import pytest
import torch

from ncp_control import LSTM, LTC, NCP19, Circuit, Feedforward, auto_ncp

CELLS = {
    "ltc": lambda: LTC(NCP19),
    "ltc-midpoint": lambda: LTC(NCP19, integrator="layered_midpoint", unfolds=2),
    "ltc-auto": lambda: LTC(auto_ncp(32, 24, 3)),
    "lstm": lambda: LSTM(32, 16, 2),
    "feedforward": lambda: Feedforward(32, 16, 2),
}


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


def test_record_agrees_with_forward(circuit):
    inputs = sequence()
    outputs, state = circuit(inputs)
    activity = circuit.record(inputs)
    torch.testing.assert_close(activity.outputs, outputs)
    torch.testing.assert_close(activity.states[:, -1], state)
    assert len(activity.neuron_names) == circuit.cell.state_size


def test_gradients_are_finite_for_extreme_times_and_inputs(circuit):
    if getattr(circuit.cell, "integrator", "") == "rk4":
        pytest.skip("explicit")
    inputs = torch.randn(4, 9, 32, dtype=torch.float64) * 1e6
    dt_s = torch.tensor([0.0, 1e-6, 1.0, 1e3], dtype=torch.float64)
    outputs, _ = circuit(inputs, dt_s=dt_s)
    outputs.sum().backward()
    for parameter in circuit.parameters():
        assert torch.isfinite(parameter.grad).all()


def test_empty_sequences_and_batches_pass_through(circuit):
    outputs, state = circuit(sequence(time=0))
    assert outputs.shape == (4, 0, circuit.cell.output_size)
    torch.testing.assert_close(state, circuit.cell.initial_state(4))
    assert circuit(sequence(batch=0))[0].shape == (0, 9, circuit.cell.output_size)


def test_lstm_equals_torch():
    circuit = Circuit(LSTM(32, 16, 2))
    inputs = torch.randn(4, 9, 32)
    hidden, _ = circuit.cell.lstm(inputs)
    torch.testing.assert_close(circuit(inputs)[0], circuit.cell.output(hidden))


def test_elapsed_time_matters_to_a_liquid_circuit():
    circuit = Circuit(LTC(NCP19))
    inputs = torch.randn(2, 5, 32)
    slow, fast = circuit(inputs, dt_s=0.1)[0], circuit(inputs, dt_s=0.01)[0]
    assert (slow - fast).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("dt_s", "message"),
    [
        (-0.1, "`dt_s` must be a finite time >= 0 in seconds, got -0.1"),
        (float("nan"), "`dt_s` must be a finite time >= 0 in seconds, got nan"),
        (torch.tensor([0.1, -2.0]), "got -2.0"),
        (torch.rand(3), r"shape \(2,\) or \(2, 5\), got shape \(3,\)"),
    ],
)
def test_impossible_times_are_refused(dt_s, message):
    with pytest.raises(ValueError, match=message):
        Circuit(LTC(NCP19))(torch.randn(2, 5, 32), dt_s=dt_s)


def test_wrong_widths_are_refused():
    circuit = Circuit(LTC(NCP19))
    with pytest.raises(ValueError, match=r"`inputs` must have shape \(batch, time, 32\)"):
        circuit(torch.randn(2, 5, 31))
    with pytest.raises(ValueError, match=r"`state` must have shape \(2, 19\), got \(2, 18\)"):
        circuit(torch.randn(2, 5, 32), torch.zeros(2, 18))
    with pytest.raises(ValueError, match=r"`reset` must be bool of shape \(2, 5\)"):
        circuit(torch.randn(2, 5, 32), reset=torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="`frame_s` must be a positive time in seconds, got 0"):
        LTC(NCP19, frame_s=0.0)
