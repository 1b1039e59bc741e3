"""Circuits that move joints: wiring, and initial values with which they react within a frame.

The driving circuit of the paper has one motor neuron, inputs in [0, 1] and a slow car. A walking
robot has a motor neuron for each joint, observations of either sign with unit variance, and gaits
with a few frames per swing. So a liquid circuit has these values:

| what             | driving                   | here                                          |
|------------------|---------------------------|-----------------------------------------------|
| density          | a third                   | three quarters                                |
| sensory μ, γ     | 0.3 to 0.8, 3 to 8        | −1 to 1, 1 to 3: graded over the observations |
| inner μ, γ       | 0.3 to 0.8, 3 to 8        | −0.5 to 0.5, 2 to 5: graded over [−1, 1]      |
| output offset    | 0                         | so that the outputs are zero on average       |
| integrator       | semi-implicit, 6 unfolds  | layered midpoint, 2 unfolds: faster           |

Thresholds and slopes are the graded ones of `ncp_control.cells.first_values`. Thresholds fitted to
the range of each neuron (centring, layer after layer) pass ten times more signal at first, but
HalfCheetah was learned more slowly.

Source: the wiring rule of Lechner et al. 2020; sizes and ranges chosen here by short training runs.
"""

import torch

from ncp_control.cells import (
    Build,
    Cell,
    CellSizes,
    CfC,
    SynapticCell,
    WiredCfC,
    dense_build,
    make_cell,
)
from ncp_control.cells.first_values import centre_outputs_, draw_synapses_
from ncp_control.cells.known import SATURATED, make_ltc, make_saturated
from ncp_control.wiring import Wiring
from ncp_control.wiring_rules import ncp

PROBES, PROBE_FRAMES = 64, 16
"""Number and length of the random sequences by which initial outputs are centred around zero."""


def motor_wiring(num_inputs: int, num_neurons: int, num_joints: int, *, seed: int = 0) -> Wiring:
    """Draw a dense NCP wiring with one motor neuron per joint.

    Two fifths of the other neurons are command neurons.

    Args:
        num_inputs: Width of the observation or of its encoding.
        num_neurons: Number of inter, command and motor neurons together, >= num_joints + 5.
        num_joints: Number of motor neurons.
        seed: Seed of the draw.

    Raises:
        ValueError: If there are too few neurons.
    """
    num_hidden = num_neurons - num_joints
    if num_hidden < 5:
        raise ValueError(
            f"`num_neurons` must be at least {num_joints + 5}, got {num_neurons!r}."
            " Each output takes a motor neuron, and layers stand before them."
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


def make_motor_cell(
    name: str,
    num_inputs: int,
    num_neurons: int,
    num_joints: int,
    *,
    frame_s: float,
    seed: int = 0,
    sees_time: bool = False,
    wiring: str | None = None,
    reads: str | None = None,
) -> Cell:
    """Build a cell with one output per joint; weights are drawn from torch's generator.

    Args:
        name: A name in `ncp_control.CELLS`.
        num_inputs: Number of inputs of the cell.
        num_neurons: Number of neurons of a wired circuit, including its motor neurons; of units,
            for other cells.
        num_joints: Number of outputs.
        frame_s: Control interval [s].
        seed: Seed of the wiring.
        sees_time: Whether LSTM and GRU get the elapsed time as an input.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; if None: `motor_wiring`.
        reads: Neurons that the outputs are read from, a name in `ncp_control.cells.synaptic.READS`.

    Raises:
        ValueError: If a name is unknown or a size does not fit.
    """
    sizes = CellSizes(
        num_inputs=num_inputs,
        num_units=num_neurons,
        num_outputs=num_joints,
        frame_s=frame_s,
        seed=seed,
        sees_time=sees_time,
        wiring=wiring,
        reads=reads,
    )
    return make_cell(name, sizes, RECIPES)


def _motor_ltc(sizes: CellSizes) -> SynapticCell:
    return _with_first_values(make_ltc(sizes, motor_wiring))


def _motor_saturated(name: str) -> Build:
    return lambda sizes: _with_first_values(make_saturated(name, sizes, motor_wiring))


def _motor_wired_cfc(sizes: CellSizes) -> WiredCfC:
    return WiredCfC(sizes.draw_wiring(motor_wiring), frame_s=sizes.frame_s)


RECIPES: dict[str, Build] = {
    "ltc": _motor_ltc,
    "ncp": _motor_ltc,
    "cfc": dense_build(CfC, backbone_units=64),
    "wired_cfc": _motor_wired_cfc,
    **{name: _motor_saturated(name) for name in SATURATED},
}
"""Cells that are built differently from the registry of cells."""


@torch.no_grad()
def _with_first_values(cell: SynapticCell) -> SynapticCell:
    """Draw thresholds and slopes from the ranges above, and centre the outputs around zero."""
    draw_synapses_(cell, "graded")
    centre_outputs_(cell, torch.randn(PROBES, PROBE_FRAMES, cell.input_size))
    return cell


def _most(size: int) -> int:
    """Return three quarters of the size of a layer, at least 1."""
    return max(3 * size // 4, 1)
