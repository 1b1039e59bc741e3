"""Recipes of driving circuits: the paper's 19 neurons, and the baselines.

All get the same features of a conv head, 32 from the built-in ones. `lstm` is the paper's LSTM of
64 units (24,897 parameters after the head), `cnn` two dense layers of 64 units without memory.

Source: Lechner et al. 2020. Differs: the paper's CNN has dense layers of five million parameters on
the raw maps; ours shares the head's features, so that the only difference is memory.
"""

from ncp_control.cells import LTC, Build, CellSizes, make_cell
from ncp_control.cells.known import SATURATED, make_ltc, make_saturated
from ncp_control.policy import FramesPolicy
from ncp_control.policy.heads import DRIVING_FRAME, frames_together, head_width
from ncp_control.wiring import Wiring
from ncp_control.wiring_rules import NCP19, auto_ncp

NEURONS = dict.fromkeys(("ncp", "ltc", "wired_cfc", *SATURATED), 19)
"""Default number of neurons of wired circuits."""
UNITS = 64
"""Default number of units of any other cell."""


def make_driving_policy(
    model: str,
    *,
    head: str = "paper",
    frame_s: float = 1 / 30,
    num_units: int | None = None,
    num_actions: int = 1,
    numbers: int = 0,
    frame_shape: tuple[int, int, int] | None = None,
    sees_time: bool = False,
    wiring: str | None = None,
    reads: str | None = None,
    seed: int = 0,
) -> FramesPolicy:
    """Build an untrained driving policy.

    Args:
        model: A name in `ncp_control.CELLS`.
        head: A name in `ncp_control.policy.heads.HEADS`.
        frame_s: Nominal frame interval [s].
        num_units: Number of neurons of a wired circuit, of units of any other cell; if None:
            `NEURONS` and `UNITS`.
        num_actions: Number of entries of an action.
        numbers: Number of inputs beside a frame.
        frame_shape: Height, width and channels of the input of the head. If None: `DRIVING_FRAME`,
            with the channels of all frames that the head takes at once.
        sees_time: Whether LSTM and GRU get the elapsed time as an input.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; if None: the default of the cell.
        reads: Neurons that the outputs are read from, a name in `ncp_control.cells.synaptic.READS`.
        seed: Seed of the wiring. Not used for `NCP19`, the fixed default wiring of `ncp`.

    Raises:
        ValueError: If a name is unknown or a size does not fit.
    """
    if frame_shape is None:
        height, width, channels = DRIVING_FRAME
        frame_shape = (height, width, channels * frames_together(head))
    sizes = CellSizes(
        num_inputs=head_width(head, frame_shape) + numbers,
        num_units=NEURONS.get(model, UNITS) if num_units is None else num_units,
        num_outputs=num_actions,
        frame_s=frame_s,
        seed=seed,
        sees_time=sees_time,
        wiring=wiring,
        reads=reads,
    )
    cell = make_cell(model, sizes, RECIPES)
    return FramesPolicy(cell, head=head, frame_shape=frame_shape, numbers=numbers)


def _ncp(sizes: CellSizes) -> LTC:
    """Build the paper's circuit, or one drawn by the same rule for other sizes."""
    return make_ltc(sizes, _papers_wiring)


def _saturated(name: str) -> Build:
    """Return the builder of a saturated variant of the LTC with the paper's wiring."""
    return lambda sizes: make_saturated(name, sizes, _papers_wiring)


def _papers_wiring(num_inputs: int, num_neurons: int, num_motor: int, *, seed: int = 0) -> Wiring:
    """Return the paper's wiring, or one drawn by the same rule for other sizes."""
    sizes = (num_inputs, num_neurons, num_motor)
    is_papers = sizes == (NCP19.num_sensory, NCP19.num_neurons, NCP19.num_motor)
    return NCP19 if is_papers else auto_ncp(*sizes, seed=seed)


RECIPES: dict[str, Build] = {"ncp": _ncp, **{name: _saturated(name) for name in SATURATED}}
"""Cells that driving builds differently from the registry of cells."""
