"""Circuits that move joints: their wiring, and first values that let them answer within a frame.

The driving circuit of the paper has one motor neuron, inputs in [0, 1] and a slow car. A walking
body has a motor neuron for each joint, observations of either sign and unit variance, and gaits of
a few frames a swing. So, for a liquid circuit:

| what             | driving                   | here                                          |
|------------------|---------------------------|-----------------------------------------------|
| density          | a third                   | three quarters                                |
| sensory μ, γ     | 0.3 to 0.8, 3 to 8        | −1 to 1, 1 to 3: graded over the observations |
| inner μ, γ       | 0.3 to 0.8, 3 to 8        | −0.5 to 0.5, 2 to 5: graded over [−1, 1]      |
| output offset    | 0                         | so that the outputs are zero on average       |
| integrator       | semi-implicit, 6 unfolds  | layered midpoint, 2 unfolds: faster           |

Thresholds and slopes are the graded ones of `ncp_control.cells.first_values`. Fitted to each
neuron's range (centring, layer after layer) they let ten times more through at first, and learned
HalfCheetah more slowly.

Source: the wiring rule of Lechner et al. 2020; sizes and ranges chosen here by short trainings.
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
"""Random sequences on which the first outputs are centred."""


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
    """Build a cell with one output a joint; its weights come from torch's generator.

    Args:
        name: A name in `ncp_control.CELLS`.
        num_inputs: Width of what reaches the cell.
        num_neurons: Neurons of a wired circuit, motor neurons included; units of the other cells.
        num_joints: Outputs.
        frame_s: Control interval [s].
        seed: Seed of the wiring.
        sees_time: Whether LSTM and GRU, which know no time, are told how long a frame lasted.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; `motor_wiring` if None.
        reads: What the outputs are read from, a name in `ncp_control.cells.synaptic.READS`.

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
"""What moves joints is built otherwise than the registry of cells does it."""


@torch.no_grad()
def _with_first_values(cell: SynapticCell) -> SynapticCell:
    """Draw thresholds and slopes from the ranges above and put the outputs around zero."""
    draw_synapses_(cell, "graded")
    centre_outputs_(cell, torch.randn(PROBES, PROBE_FRAMES, cell.input_size))
    return cell


def _most(size: int) -> int:
    """Three quarters of a layer, at least one neuron."""
    return max(3 * size // 4, 1)
