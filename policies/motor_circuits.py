"""Circuits that move joints: their wiring, and first values that let them answer within a frame.

The driving circuit of the paper has one motor neuron, inputs in [0, 1] and a slow car. A walking
body has a motor neuron for each joint, observations of either sign and unit variance, and gaits of
a few frames a swing. A dense circuit with the published first values lets about a hundredth of a
signal through: each neuron averages many synapses, and the next layer's thresholds lie elsewhere.
So a liquid circuit is *centred* before it learns, on random observations, layer after layer:

    μ_ij = mean(v_j) + U(−1, 1) std(v_j)        γ_ij = U(1, 3) / std(v_j)
    output = (v − mean(v)) · 0.05 / std(v)      for each motor neuron

Source: the wiring rule of Lechner et al. 2020, denser; centring after the idea of layer-sequential
unit variance (Mishkin & Matas 2016, arXiv 1511.06422).
"""

import torch
from torch import Tensor

from ncp_control.cells import GRU, LSTM, LTC, Cell, CfC, WiredCfC
from ncp_control.names import check_name
from ncp_control.wiring import Wiring
from ncp_control.wiring_rules import ncp

MOTOR_CELLS = ("ltc", "cfc", "wired_cfc", "lstm", "gru")
"""Cells that `make_motor_cell` builds."""
PROBES, PROBE_FRAMES = 64, 16
"""Random sequences on which a circuit is centred."""
NUM_LAYERS = 3
MAX_SLOPE = 30.0
"""Steepest synapse that centring makes: a neuron that hardly moves stays quiet."""
MIN_MOTOR_STD = 0.01
"""A motor neuron that hardly moves is not amplified beyond this."""
OUTPUT_STD = 0.05
"""Deviation of an untrained circuit's outputs on observations of unit variance: small, so that a
training begins with exploration and not with a gait nobody asked for."""


def motor_wiring(num_inputs: int, num_neurons: int, num_joints: int, *, seed: int = 0) -> Wiring:
    """Draw a dense NCP wiring with one motor neuron a joint.

    Two fifths of the neurons that are not motor neurons are command neurons.

    Args:
        num_inputs: Width of the observation or of its encoding.
        num_neurons: Inter, command and motor neurons together, >= num_joints + 5.
        num_joints: Motor neurons.
        seed: Seed of the draw.

    Raises:
        ValueError: If there are too few neurons.
    """
    num_hidden = num_neurons - num_joints
    if num_hidden < 5:
        raise ValueError(
            f"`num_neurons` must be at least {num_joints + 5}, got {num_neurons!r}."
            " Each joint takes a motor neuron, and layers stand before them."
        )
    num_command = 2 * num_hidden // 5
    num_inter = num_hidden - num_command
    return ncp(
        num_inputs,
        num_inter,
        num_command,
        num_joints,
        sensory_fanout=_most(num_inter),
        inter_fanout=_most(num_command),
        recurrent_command=2 * num_command,
        motor_fanin=_most(num_command),
        seed=seed,
    )


@torch.no_grad()
def make_motor_cell(
    name: str, num_inputs: int, num_neurons: int, num_joints: int, *, frame_s: float, seed: int = 0
) -> Cell:
    """Build a cell with one output a joint; its weights come from torch's generator.

    Args:
        name: A name in `MOTOR_CELLS`.
        num_inputs: Width of what reaches the cell.
        num_neurons: Neurons of a wired circuit, motor neurons included; units of the other cells.
        num_joints: Outputs.
        frame_s: Control interval [s].
        seed: Seed of the wiring.

    Raises:
        ValueError: If the name is unknown or a size does not fit.
    """
    check_name("cell", name, MOTOR_CELLS)
    if name == "cfc":
        return CfC(num_inputs, num_neurons, num_joints, backbone_units=64, frame_s=frame_s)
    if name in ("lstm", "gru"):
        gated = LSTM if name == "lstm" else GRU
        return gated(num_inputs, num_neurons, num_joints, frame_s=frame_s)
    wiring = motor_wiring(num_inputs, num_neurons, num_joints, seed=seed)
    if name == "wired_cfc":
        return WiredCfC(wiring, frame_s=frame_s)
    cell = LTC(wiring, frame_s=frame_s, integrator="layered_midpoint", unfolds=2)
    _center(cell)
    return cell


def _center(cell: LTC) -> None:
    """Put thresholds and slopes where the signals are, and the outputs around zero."""
    wiring = cell.wiring
    sensory, inner = slice(0, wiring.num_sensory_synapses), slice(wiring.num_sensory_synapses, None)
    source = cell.source[inner] - wiring.num_sensory
    place = torch.empty(len(source)).uniform_(-1.0, 1.0)
    steepness = torch.empty(len(source)).uniform_(1.0, 3.0)
    cell.threshold[sensory].uniform_(-1.0, 1.0)
    cell.slope[sensory].uniform_(1.0, 3.0)
    inputs = torch.randn(PROBES, PROBE_FRAMES, wiring.num_sensory)
    dt_s = torch.full(inputs.shape[:2], cell.frame_s)

    def probe() -> tuple[Tensor, Tensor]:
        potentials = cell.unroll(inputs, cell.initial_state(PROBES), dt_s, None).flatten(0, 1)
        return potentials.mean(dim=0), potentials.std(dim=0)

    for _ in range(3 * NUM_LAYERS):  # each pass corrects the next layer; recurrence needs more
        mean, std = probe()
        cell.threshold[inner] = mean[source] + place * std[source]
        cell.slope[inner] = (steepness / std[source]).clamp(max=MAX_SLOPE)
    mean, std = probe()
    motor = slice(-wiring.num_motor, None)
    cell.output_scale.copy_(OUTPUT_STD / std[motor].clamp(min=MIN_MOTOR_STD))
    cell.output_offset.copy_(-mean[motor] * cell.output_scale)


def _most(size: int) -> int:
    """Three quarters of a layer, at least one neuron."""
    return max(3 * size // 4, 1)
