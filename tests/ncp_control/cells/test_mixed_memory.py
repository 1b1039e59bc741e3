"""The mixed memory against ncps on equal parameters."""

import pytest
import torch

from ncp_control import LTC, NCP19, CfC, Circuit, Feedforward, MixedMemory

FRAME_S = 0.05


def test_agrees_with_ncps():
    ncps_torch = pytest.importorskip("ncps.torch")
    twin = ncps_torch.CfC(5, 7, proj_size=3, mixed_memory=True, backbone_units=11).double()
    mixed = MixedMemory(CfC(5, 7, 3, backbone_units=11, frame_s=FRAME_S)).double()
    inside, theirs = mixed.cell, twin.rnn_cell
    heads = [theirs.ff1, theirs.ff2, theirs.time_a, theirs.time_b]
    with torch.no_grad():
        inside.input_map.weight.copy_(theirs.backbone[0].weight[:, :5])
        inside.state_map.weight.copy_(theirs.backbone[0].weight[:, 5:])
        inside.input_map.bias.copy_(theirs.backbone[0].bias)
        inside.deeper_maps[0].weight.copy_(torch.cat([head.weight for head in heads]))
        inside.deeper_maps[0].bias.copy_(torch.cat([head.bias for head in heads]))
        inside.output.load_state_dict(twin.fc.state_dict())
        # Theirs stand candidate, input, forget, output, and add 1 to the forget gate on the way.
        order = [1, 0, 2, 3]
        for ours, values in (
            (mixed.input_map.weight, twin.lstm.input_map.weight),
            (mixed.input_map.bias, twin.lstm.input_map.bias),
            (mixed.state_map.weight, twin.lstm.recurrent_map.weight),
        ):
            ours.copy_(torch.cat([values.chunk(4)[i] for i in order]))
        mixed.input_map.bias[14:21] += 1.0
    inputs, frames = torch.randn(4, 9, 5).double(), torch.rand(9).double() * 3.0
    hidden = torch.zeros(4, 7).double()
    expected, (own, memory) = twin(inputs, (hidden, hidden), timespans=frames.expand(1, 9))
    outputs, state = Circuit(mixed)(inputs, dt_s=(FRAME_S * frames).expand(4, 9))
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(state, torch.cat([own, memory], dim=1))


def test_memory_outlasts_elapsed_time():
    """An hour wipes out what an LTC remembers; the memory beside it keeps it."""
    inputs, dt_s = torch.randn(2, 2, 32), torch.tensor([[0.03, 3600.0]]).expand(2, 2)
    inputs[1, 1] = inputs[0, 1]
    plain, _ = Circuit(LTC(NCP19))(inputs, dt_s=dt_s)
    assert (plain[0, 1] - plain[1, 1]).abs().max() < 1e-3
    circuit = Circuit(MixedMemory(LTC(NCP19)))
    _, state = circuit(inputs, dt_s=dt_s)
    assert (state[0, 19:] - state[1, 19:]).abs().max() > 1e-1


def test_names_cover_the_state():
    mixed = MixedMemory(LTC(NCP19))
    assert mixed.neuron_names[:19] == NCP19.neuron_names
    assert mixed.neuron_names[19:] == [f"memory_{i}" for i in range(19)]


def test_time_constants_and_currents_are_those_of_the_cell_inside():
    mixed, inputs, state = MixedMemory(LTC(NCP19)), torch.randn(3, 32), torch.rand(3, 38)
    own = state[:, :19]
    timescales_s = mixed.timescales(inputs, state)
    torch.testing.assert_close(timescales_s[:, :19], mixed.cell.timescales(inputs, own))
    assert timescales_s[:, 19:].isnan().all()
    currents = mixed.synaptic_currents(inputs, state)
    torch.testing.assert_close(currents, mixed.cell.synaptic_currents(inputs, own))


def test_a_cell_in_double_precision_keeps_it():
    outputs, _ = Circuit(MixedMemory(LTC(NCP19).double()))(torch.randn(2, 3, 32).double())
    assert outputs.dtype == torch.float64


@pytest.mark.parametrize("make", [lambda: MixedMemory(LTC(NCP19)), lambda: Feedforward(3, 4, 1)])
def test_what_would_hide_the_memory_is_refused(make):
    with pytest.raises(TypeError, match="`cell` must be a Cell with a state of its own"):
        MixedMemory(make())
