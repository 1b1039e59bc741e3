"""Recipes of driving circuits: the paper's 19 neurons, and what they are measured against.

All act on the same features of a conv head, 32 of the known ones. `lstm` is the paper's LSTM of 64
units (24,897 parameters behind the head), `cnn` two dense layers of 64 units without memory.

Source: Lechner et al. 2020. Differs: the paper's CNN has dense layers of five million parameters on
the raw maps; ours shares the head's features, so that the only difference is memory.
"""

from ncp_control.cells import LTC, Build, CellSizes, make_cell
from ncp_control.cells.known import make_ltc
from ncp_control.policy import FramesPolicy
from ncp_control.policy.heads import DRIVING_FRAME, head_width
from ncp_control.wiring_rules import NCP19

NEURONS = {"ncp": 19, "ltc": 19, "wired_cfc": 19}
"""Neurons of a wired circuit, if nothing else is asked for."""
UNITS = 64
"""Units of any other cell, if nothing else is asked for."""


def make_driving_policy(
    model: str,
    *,
    head: str = "paper",
    frame_s: float = 1 / 30,
    num_units: int | None = None,
    wiring: str | None = None,
    seed: int = 0,
) -> FramesPolicy:
    """Build an untrained driving policy.

    Args:
        model: A name in `ncp_control.CELLS`.
        head: A name in `ncp_control.policy.heads.HEADS`.
        frame_s: Nominal frame interval [s].
        num_units: Neurons of a wired circuit, units of any other cell; `NEURONS` and `UNITS` if
            None.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; what suits the cell if None.
        seed: Seed of the wiring; `NCP19`, which suits `ncp`, was drawn once and for all.

    Raises:
        ValueError: If a name is unknown or a size does not fit.
    """
    sizes = CellSizes(
        num_inputs=head_width(head, DRIVING_FRAME),
        num_units=NEURONS.get(model, UNITS) if num_units is None else num_units,
        num_outputs=1,
        frame_s=frame_s,
        seed=seed,
        wiring=wiring,
    )
    return FramesPolicy(make_cell(model, sizes, RECIPES), head=head)


def _ncp(sizes: CellSizes) -> LTC:
    """Build the paper's circuit, or one drawn like it for other sizes."""
    wanted = (sizes.num_inputs, sizes.num_units, sizes.num_outputs)
    if wanted == (NCP19.num_sensory, NCP19.num_neurons, NCP19.num_motor):
        return make_ltc(sizes, lambda *_, seed: NCP19)
    return make_ltc(sizes)


RECIPES: dict[str, Build] = {"ncp": _ncp}
"""What driving builds otherwise than the registry of cells."""
