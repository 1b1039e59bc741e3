"""Initial values by design: time constants that suit a task, synapses that do not saturate.

As published, a neuron of an LTC circuit begins with a capacitance C of half a frame. With about ten
synapses its conductance g + Σ w s is 3 to 7, so its time constant τ is a tenth of a frame; with few
synapses it is up to a few frames. After some frames a circuit has lost its memory of earlier ones,
and their gradient as well.
`spread_timescales_` draws a time constant for every neuron, log-uniformly, and sets the parameters
that give it. With φ the nominal frame interval:

| cell          | what is set                           | so that                                |
|---------------|---------------------------------------|----------------------------------------|
| LTC, STC      | C, by measuring τ                     | the mean τ of a neuron is the drawn one|
| LRC           | width or bias of the elastance, ditto | the same; no τ is below φ              |
| CTRNN         | τ                                     | it is the drawn one                    |
| LSTM          | forget bias β, input bias −β          | a memory fades by exp(−φ/τ) a frame    |
| GRU, ODERNN   | update bias β                         | a unit fades by exp(−φ/τ) a frame      |
| MixedMemory   | forget bias β, input bias −β          | as in the LSTM; the cell inside stays  |
| CfC, WiredCfC | gates (a, b); head f copies the state | a neuron fades by exp(−t/τ), t near φ  |

    β = −ln(exp(φ/τ) − 1),   a = φ / (τ (1 − exp(−φ/τ))),   b = −β − a

Source of β: chrono initialisation, Tallec & Ollivier 2018 (arXiv 1804.11188), there ln(T − 1) with
a memory of T frames; its time constant is −φ / ln(1 − 1/T). The copying head: after Le, Jaitly &
Hinton 2015 (arXiv 1504.00941), who initialise a recurrent map as the identity.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ncp_control.cells.base import Cell, reference_tensor
from ncp_control.cells.cfc import CfC
from ncp_control.cells.ctrnn import CTRNN, ODERNN
from ncp_control.cells.gated import GRU, LSTM
from ncp_control.cells.lrc import LRC
from ncp_control.cells.ltc import LTC
from ncp_control.cells.mixed_memory import MixedMemory
from ncp_control.cells.stc import STC
from ncp_control.cells.synaptic import SynapticCell, inverse_softplus
from ncp_control.cells.wired_cfc import WiredCfC
from ncp_control.names import check_name
from ncp_control.ranges import check_time_range

NUM_PROBES, PROBE_FRAMES = 64, 32
"""Number and length [frames] of the random sequences that are used if no inputs are given."""
NUM_PASSES = 8
"""Number of passes that measure and set the time constants; each pass also changes the states."""
LEAST_LRC_FRAMES = 2.0
"""Shortest time constant [frames] that can be set for every neuron of an LRC."""


class SynapseRanges(NamedTuple):
    """Ranges from which the thresholds and slopes of synapses are drawn."""

    sensory_threshold: tuple[float, float]
    sensory_slope: tuple[float, float]
    inner_threshold: tuple[float, float]
    inner_slope: tuple[float, float]


SYNAPSES = {
    "published": SynapseRanges((0.3, 0.8), (3.0, 8.0), (0.3, 0.8), (3.0, 8.0)),
    "graded": SynapseRanges((-1.0, 1.0), (1.0, 3.0), (-0.5, 0.5), (2.0, 5.0)),
    "flat": SynapseRanges((-0.5, 0.5), (0.3, 1.0), (-0.3, 0.3), (0.5, 1.5)),
}
"""Ranges by name. published: of Lechner et al. 2020, for inputs from 0 to 1. graded: synapses do
not saturate over inputs of unit variance. flat: synapses are nearly linear over such inputs."""


@torch.no_grad()
def draw_synapses_(cell: Cell, synapses: str) -> None:
    """Draw new thresholds and slopes of the synapses, with torch's default generator.

    Args:
        cell: An LTC, STC or LRC cell, changed in place.
        synapses: A name in `SYNAPSES`.

    Raises:
        ValueError: If the cell is not an LTC, STC or LRC, or the name is unknown.
    """
    check_name("synapses", synapses, SYNAPSES)
    if not isinstance(cell, SynapticCell):
        raise ValueError(
            f"`synapses` must be left out for {type(cell).__name__!r}, got {synapses!r}. Only LTC,"
            " STC and LRC have thresholds and slopes."
        )
    first_inner = cell.wiring.num_sensory_synapses
    sensory, inner = slice(0, first_inner), slice(first_inner, None)
    drawn = SYNAPSES[synapses]
    cell.threshold[sensory].uniform_(*drawn.sensory_threshold)
    cell.slope[sensory].uniform_(*drawn.sensory_slope)
    cell.threshold[inner].uniform_(*drawn.inner_threshold)
    cell.slope[inner].uniform_(*drawn.inner_slope)


@torch.no_grad()
def centre_outputs_(cell: SynapticCell, inputs: Tensor) -> None:
    """Shift the outputs so that their mean over the given inputs is zero.

    Args:
        cell: The cell, changed in place.
        inputs: Typical inputs of the cell, shape (batch, time, input).
    """
    dt_s = inputs.new_full(inputs.shape[:2], cell.frame_s)
    outputs, _ = cell.sequence(inputs, cell.initial_state(len(inputs)), dt_s, None)
    cell.output_offset.sub_(outputs.mean(dim=(0, 1)))


def set_first_values_(
    cell: Cell,
    inputs: Tensor,
    *,
    tau_s: Sequence[float] | None = None,
    synapses: str | None = None,
    seed: int = 0,
) -> None:
    """Change the initial values of an untrained cell; without `tau_s` and `synapses`, keep them.

    If an LTC, STC or LRC is changed, its outputs are also centred on zero.

    Args:
        cell: The cell, changed in place.
        inputs: Typical inputs of the cell, shape (batch, time, input).
        tau_s: Shortest and longest time constant [s]; see `spread_timescales_`.
        synapses: A name in `SYNAPSES`.
        seed: Random seed of the time constants.

    Raises:
        ValueError: If a value is not valid or the cell has no such values.
    """
    if synapses is not None:
        draw_synapses_(cell, synapses)
    if tau_s is not None:
        spread_timescales_(cell, tau_s, inputs=inputs, seed=seed)
    if isinstance(cell, SynapticCell) and (tau_s is not None or synapses is not None):
        centre_outputs_(cell, inputs)


@torch.no_grad()
def spread_timescales_(
    cell: Cell,
    tau_s: Sequence[float],
    *,
    inputs: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Set a time constant from a range for every neuron of an untrained cell.

    The time constants of each layer are spread log-uniformly: the logarithm of the range is divided
    into as many equal parts as the layer has neurons, and one value is drawn in each. Other initial
    values stay as they are.

    Args:
        cell: The cell, changed in place.
        tau_s: Shortest and longest time constant [s]; n frames are `n * cell.frame_s`.
        inputs: Typical inputs of the cell, i.e. outputs of its encoder or head, shape
            (batch, time, input); if None: standard normal numbers. Used only by LTC, STC and LRC.
        seed: Random seed of the draw; torch's default generator is not used.

    Returns:
        The drawn time constants [s], one for each neuron or unit.

    Raises:
        ValueError: If the range is not one of positive times, begins below the shortest time
            constant that can be set in the cell, or the cell has none that can be set.
    """
    low, high = check_time_range("tau_s", tau_s)
    set_frames = next((do for kind, do in _SETTERS.items() if isinstance(cell, kind)), None)
    if set_frames is None and not isinstance(cell, SynapticCell):
        names = ", ".join(kind.__name__ for kind in (LTC, STC, LRC, *_SETTERS))
        raise ValueError(
            f"`cell` must have time constants that can be set, got {type(cell).__name__!r}."
            f" Choose one of {names}."
        )
    least_s = LEAST_LRC_FRAMES * cell.frame_s
    if isinstance(cell, LRC) and low < least_s:
        raise ValueError(
            f"`tau_s` must begin at {least_s:.4g} s, {LEAST_LRC_FRAMES:g} frames, or later for an"
            f" LRC, got {low!r}. Its elastance is below 1, so it has no quicker neurons."
        )
    generator = torch.Generator().manual_seed(seed)
    layers = [
        torch.exp(math.log(low) + math.log(high / low) * _even_draws(size, generator))
        for size in _layer_sizes(cell)
    ]
    parameter = reference_tensor(cell)
    drawn_s = torch.cat(layers).to(parameter)
    if set_frames is not None:
        set_frames(cell, drawn_s / cell.frame_s)
    elif isinstance(cell, SynapticCell):
        if inputs is None:
            shape = NUM_PROBES, PROBE_FRAMES, cell.input_size
            inputs = torch.randn(shape, generator=generator)
        _set_measured(cell, drawn_s, inputs.to(parameter))
    return drawn_s


def _even_draws(size: int, generator: torch.Generator) -> Tensor:
    """Return one random number in each of `size` equal parts of [0, 1], in random order."""
    return (
        torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)
    ) / size


def _layer_sizes(cell: Cell) -> list[int]:
    """Return the number of neurons of each layer, in the order of the state."""
    if isinstance(cell, SynapticCell | WiredCfC):
        return [len(nodes) for nodes in list(cell.wiring.layers.values())[1:]]
    if isinstance(cell, MixedMemory):
        return [cell.cell.state_size]
    return [cell.hidden_size]  # type: ignore[attr-defined]


def _set_measured(cell: SynapticCell, drawn_s: Tensor, inputs: Tensor) -> None:
    """Measure and scale the time constants in `NUM_PASSES` passes, towards means of `drawn_s`."""
    state = cell.initial_state(inputs.shape[0])
    dt_s = inputs.new_full(inputs.shape[:2], cell.frame_s)
    for _ in range(NUM_PASSES):
        states = cell.unroll(inputs, state, dt_s, None).flatten(0, 1)
        mean_s = cell.timescales(inputs.flatten(0, 1), states).mean(dim=0)
        if isinstance(cell, LRC):
            _set_elastance(cell, drawn_s / cell.frame_s, mean_s / cell.frame_s)
        elif isinstance(cell, LTC | STC) and cell.raw_capacitance is not None:
            capacitance_s = cell.effective_parameters().capacitance_s * drawn_s / mean_s
            cell.raw_capacitance.copy_(inverse_softplus(capacitance_s / cell.frame_s))


def _set_elastance(cell: LRC, wanted: Tensor, measured: Tensor) -> None:
    """Move the mean time constants [frames] of an LRC towards the wanted ones."""
    p = cell.effective_parameters()
    if cell.raw_elastance_width is None:  # τ is about 1 + exp(−y) frames
        cell.elastance_bias.sub_(torch.log((wanted - 1.0) / (measured - 1.0)))
    elif p.elastance_width is not None:
        largest = torch.tanh(p.elastance_width / 2.0) * measured / wanted  # ε at y = 0
        width = 2.0 * torch.atanh(largest.clamp(max=_MOST_ELASTANCE))
        cell.raw_elastance_width.copy_(inverse_softplus(width))


_MOST_ELASTANCE = 0.999
"""Largest elastance that is set: closer to 1, its gradient would vanish."""


def _set_ctrnn(cell: Cell, frames: Tensor) -> None:
    assert isinstance(cell, CTRNN)
    cell.raw_timescale.copy_(inverse_softplus(frames))


def _set_lstm(cell: Cell, frames: Tensor) -> None:
    assert isinstance(cell, LSTM)
    _set_forget_gates(_biases(cell.lstm), frames, enter=0, forget=1)


def _set_gru(cell: Cell, frames: Tensor) -> None:
    assert isinstance(cell, GRU | ODERNN)
    _set_forget_gates(_biases(cell.gru), frames, enter=None, forget=1)


def _set_mixed_memory(cell: Cell, frames: Tensor) -> None:
    assert isinstance(cell, MixedMemory)
    _set_forget_gates([cell.input_map.bias], frames, enter=0, forget=2)


def _biases(gates: nn.Module) -> list[Tensor]:
    """Return the two bias vectors of a torch cell, which torch adds to each other."""
    return [value for name, value in gates.named_parameters() if name.startswith("bias")]


def _set_forget_gates(
    biases: list[Tensor], frames: Tensor, *, enter: int | None, forget: int
) -> None:
    """Set the biases of gates so that the memory of each unit decays over `frames` frames.

    Args:
        biases: Bias vectors, gate after gate. The entries of the two gates are set in the first
            vector and cleared in the others, which are added to it; other gates stay.
        frames: Time constant of each unit [frames].
        enter: Index of the input gate; None if it is one minus the forget gate.
        forget: Index of the forget gate, which keeps the memory when open.
    """
    keep = _keep_bias(frames)
    for place, value in ((forget, keep), (enter, -keep)):
        if place is not None:
            here = slice(place * len(frames), (place + 1) * len(frames))
            biases[0][here] = value
            for bias in biases[1:]:
                bias[here] = 0.0


def _keep_bias(frames: Tensor) -> Tensor:
    """Return β with 1 / (1 + exp(−β)) = exp(−1 / frames)."""
    return -inverse_softplus(1.0 / frames)


def _gate_biases(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return a, b of gates a t + b that open like 1 − exp(−t / frames) around t = 1."""
    slope = 1.0 / (frames * -torch.expm1(-1.0 / frames))
    return slope, -_keep_bias(frames) - slope


def _set_cfc(cell: Cell, frames: Tensor) -> None:
    assert isinstance(cell, CfC)
    _check_gates(cell.mode)
    last = cell.last_map
    units = cell.hidden_size
    last.bias[2 * units : 3 * units], last.bias[3 * units :] = _gate_biases(frames)
    if not cell.backbone_layers:
        cell.state_map.weight[:units] = torch.eye(units).to(frames)
        cell.input_map.weight[:units], cell.input_map.bias[:units] = 0.0, 0.0
    elif cell.activation in _SLOPES_AT_0 and cell.backbone_units >= units:
        _copy_through(cell, _SLOPES_AT_0[cell.activation])


_SLOPES_AT_0 = {"lecun_tanh": 1.7159 * 0.666, "tanh": 1.0}
"""Slope at 0 of the activations that are linear around 0."""


def _copy_through(cell: CfC, slope: float) -> None:
    """Make the first units of every backbone layer pass the state on, and head f return it."""
    units = cell.hidden_size
    copy = torch.eye(units).to(cell.state_map.weight)
    cell.state_map.weight[:units] = copy
    cell.input_map.weight[:units], cell.input_map.bias[:units] = 0.0, 0.0
    for layer in cell.deeper_maps:
        assert isinstance(layer, nn.Linear)
        layer.weight[:units], layer.bias[:units] = 0.0, 0.0
        layer.weight[:units, :units] = copy / slope


def _set_wired_cfc(cell: Cell, frames: Tensor) -> None:
    assert isinstance(cell, WiredCfC)
    _check_gates(cell.mode)
    cell.bias[2], cell.bias[3] = _gate_biases(frames)
    cell.bias[0] = 0.0
    cell.weight[0] = (cell.source - cell.input_size == cell.target).to(cell.weight)


def _check_gates(mode: str) -> None:
    if mode != "default":
        raise ValueError(
            f"`mode` of a CfC must be 'default' to set time constants, got {mode!r}. Its neurons"
            " do not fade towards another value."
        )


_SETTERS: dict[type[Cell], Callable[[Cell, Tensor], None]] = {
    CTRNN: _set_ctrnn,
    LSTM: _set_lstm,
    GRU: _set_gru,
    ODERNN: _set_gru,
    MixedMemory: _set_mixed_memory,
    CfC: _set_cfc,
    WiredCfC: _set_wired_cfc,
}
"""Functions that set the time constants [frames], by class of cell. LTC, STC and LRC are missing:
their time constants are measured with inputs."""
