"""First values do what they promise: time constants that are reached, by every kind of cell."""

import math

import pytest
import torch

from ncp_control import CTRNN, GRU, LSTM, LTC, NCP19, CfC, Circuit, MixedMemory, WiredCfC
from ncp_control.cells.first_values import (
    SYNAPSES,
    draw_synapses_,
    set_first_values_,
    spread_timescales_,
)
from ncp_control.cells.synaptic import READS
from ncp_control.wiring_rules import fully_connected
from scripts.training import new_circuit as settings
from tests.ncp_control.every_cell import CELLS

WITHOUT = {"cfc-pure", "cfc-no-gate", "wired-cfc-pure", "wired-cfc-random", "neural-ode", "ctgru"}
WITHOUT |= {"feedforward", "stacked"}


LIQUID = ["ltc", "ltc-midpoint", "ltc-auto", "ltc-random", "ltc-full", "stc"]
LIQUID += ["lrc", "lrc-asymmetric", "lrcu", "lrcu-reads-all"]


@pytest.mark.parametrize("name", LIQUID)
@pytest.mark.parametrize("synapses", SYNAPSES)
def test_the_mean_time_constant_of_every_liquid_neuron_is_the_one_that_was_drawn(name, synapses):
    torch.manual_seed(0)
    cell = CELLS[name]()
    draw_synapses_(cell, synapses)
    inputs = torch.rand(32, 40, 32)
    low_s = 2.0 / 30.0 if name.startswith("lrc") else 0.02
    wanted_s = spread_timescales_(cell, (low_s, 2.0), inputs=inputs)
    reached_s = Circuit(cell).record(inputs).timescales_s.mean(dim=(0, 1))
    torch.testing.assert_close(reached_s, wanted_s, rtol=0.02, atol=0.0)
    assert wanted_s.min() >= low_s and wanted_s.max() <= 2.0


def test_an_lrc_has_no_neurons_quicker_than_a_frame():
    with pytest.raises(ValueError, match=r"`tau_s` must begin at 0.06667 s, 2 frames.*, got 0.05"):
        spread_timescales_(CELLS["lrcu"](), (0.05, 1.0))


def test_each_layer_spans_the_range_evenly_in_its_logarithm():
    drawn_s = spread_timescales_(LTC(NCP19), (0.01, 10.0), seed=3)
    for layer in (drawn_s[:12], drawn_s[12:18]):
        share = torch.log(layer / 0.01).sort().values / math.log(1000.0) * len(layer)
        assert torch.equal(share.floor().long(), torch.arange(len(layer)))


def test_the_draw_has_a_seed_of_its_own():
    before = torch.get_rng_state()
    one, same, other = (spread_timescales_(LTC(NCP19), (0.1, 1.0), seed=s) for s in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    torch.manual_seed(5)
    cell, start = LTC(NCP19), torch.get_rng_state()
    spread_timescales_(cell, (0.1, 1.0))
    assert torch.equal(torch.get_rng_state(), start) and not torch.equal(start, before)


@torch.no_grad()
def fading(cell, dt_s: float) -> torch.Tensor:
    """Return the share of each unit's small state that one frame without inputs leaves."""
    if not isinstance(cell, CfC | WiredCfC):  # nothing but a unit's own memory is left
        for parameter in cell.parameters():
            if parameter.ndim > 1:
                parameter.zero_()
    inputs, elapsed_s = torch.zeros(1, cell.input_size), torch.full((1,), dt_s)
    empty = cell.initial_state(1)
    moved = cell(inputs, empty + 1e-3, elapsed_s) - cell(inputs, empty, elapsed_s)
    return moved[0] / 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: CTRNN(3, 8, 1, frame_s=0.1),
        lambda: LSTM(3, 8, 1, frame_s=0.1),
        lambda: GRU(3, 8, 1, frame_s=0.1),
        lambda: MixedMemory(CTRNN(3, 8, 1, frame_s=0.1)),
    ],
)
def test_a_memory_fades_by_its_time_constant(make):
    torch.manual_seed(0)
    cell = make()
    drawn_s = spread_timescales_(cell, (0.05, 10.0))
    memory = fading(cell, 0.1)[-8:]
    torch.testing.assert_close(memory, torch.exp(-0.1 / drawn_s), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("activation", ["lecun_tanh", "tanh"])
def test_a_closed_form_neuron_fades_by_its_time_constant(layers, activation):
    torch.manual_seed(0)
    cell = CfC(3, 8, 1, backbone_layers=layers, activation=activation, frame_s=0.1)
    drawn_s = spread_timescales_(cell, (0.05, 10.0))
    silence(cell)
    for dt_s in (0.1, 0.11):
        faded = fading(cell, dt_s)
        torch.testing.assert_close(faded, torch.exp(-dt_s / drawn_s), rtol=0.02, atol=2e-3)


@torch.no_grad()
def silence(cell: CfC) -> None:
    """Clear what heads g, a and b make of inputs and state, but for their biases."""
    last, units = cell.last_map, cell.hidden_size
    last.weight[units:] = 0.0
    last.bias[units : 2 * units] = 0.0
    if not cell.backbone_layers:
        cell.state_map.weight[units:] = 0.0


def test_a_wired_closed_form_neuron_sees_its_own_past():
    cell = WiredCfC(NCP19, frame_s=0.1)
    drawn_s = spread_timescales_(cell, (0.05, 10.0))
    with torch.no_grad():
        cell.weight[1:] = 0.0
        cell.bias[1] = 0.0
    torch.testing.assert_close(fading(cell, 0.1), torch.exp(-0.1 / drawn_s), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_cell_is_set_or_says_why_not(name):
    cell = CELLS[name]()
    if name in WITHOUT:
        with pytest.raises(ValueError, match=r"must (have time constants|be 'default')"):
            spread_timescales_(cell, (0.05, 1.0))
    else:
        for low_s in (0.07,) if name.startswith("lrc") else (0.07, 1e-4):
            assert torch.isfinite(spread_timescales_(cell, (low_s, 1.0))).all()
            assert all(torch.isfinite(parameter).all() for parameter in cell.parameters())


@pytest.mark.parametrize("tau_s", [(0.0, 1.0), (2.0, 1.0), (1.0,), (0.1, math.inf)])
def test_a_range_that_is_none_is_refused(tau_s):
    with pytest.raises(ValueError, match="`tau_s` must be a shortest and a longest time > 0"):
        spread_timescales_(LTC(NCP19), tau_s)


def test_nothing_changes_where_nothing_is_asked_for_and_outputs_are_centred_where_it_is():
    cell, inputs = LTC(NCP19), torch.rand(16, 20, 32)
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    set_first_values_(cell, inputs)
    assert all(torch.equal(value, before[name]) for name, value in cell.state_dict().items())
    set_first_values_(cell, inputs, tau_s=(0.05, 0.5), synapses="graded")
    outputs, _ = Circuit(cell)(inputs)
    assert abs(outputs.mean().item()) < 1e-5
    with pytest.raises(ValueError, match="`synapses` must be left out for 'LSTM', got 'flat'"):
        set_first_values_(LSTM(3, 8, 1), inputs, synapses="flat")
    assert tuple(SYNAPSES) == settings.SYNAPSES
    assert settings.READS == READS


@pytest.mark.parametrize("tau_frames", [None, (1.0, 100.0)])
def test_one_bit_is_held_for_twenty_frames_by_slow_neurons_alone(tau_frames):
    torch.manual_seed(0)
    cell = LTC(fully_connected(2, 16, 1), frame_s=1.0)
    if tau_frames is not None:
        spread_timescales_(cell, tau_frames)
    circuit, generator = Circuit(cell), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(cell.parameters(), lr=1e-2)
    for _ in range(60):
        sign = (torch.rand(64, generator=generator) < 0.5).float() * 2 - 1
        inputs = torch.randn(64, 20, 2, generator=generator) * 0.5
        inputs[:, :, 0] = 0.0
        inputs[:, :2, 0] = sign[:, None]
        outputs, _ = circuit(inputs)
        loss = (outputs[:, -1, 0] - sign).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (outputs[:, -1, 0] * sign > 0).float().mean().item()
    assert right == 1.0 if tau_frames else right < 0.8
