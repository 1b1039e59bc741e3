"""The LTC with slow neurons, `ltc_spread`, for tables that have the LTC as published beside it.

Most initial time constants of the published LTC are below a frame. Those of `ltc_spread` are
0.5 to 30 frames, on the training windows: from less than a frame to the length of the tables'
windows, 16 to 32 frames. Its outputs are centred on zero. Otherwise it is initialised and trained
like `ltc`, except in `digits` and `mnist`, where `ltc` has its own nominal frame and `ltc_spread`
that of the other models.
"""

import torch

from ncp_control.cells import CellSizes
from ncp_control.cells.first_values import set_first_values_
from ncp_control.learning.forecasters import Forecaster, make_forecaster

SPREAD = "ltc_spread"
TAU_FRAMES = (0.5, 30.0)
"""Range of the initial time constants [nominal frames]."""
NUM_PROBES = 128
"""Approximate number of training windows for measuring time constants."""


def make_model(model: str, sizes: CellSizes, inputs: torch.Tensor) -> Forecaster:
    """Build an untrained model.

    Args:
        model: `SPREAD` or a name in `ncp_control.CELLS`.
        sizes: Sizes and options of the model.
        inputs: The training windows, shape (windows, time, input).
    """
    if model != SPREAD:
        return make_forecaster(model, sizes)
    forecaster = make_forecaster("ltc", sizes)
    low, high = TAU_FRAMES
    tau_s = low * sizes.frame_s, high * sizes.frame_s
    probes = inputs[:: max(1, len(inputs) // NUM_PROBES)]
    set_first_values_(forecaster.circuit.cell, probes, tau_s=tau_s, seed=sizes.seed)
    return forecaster


def spread_note(model: str) -> str:
    """Return a note for the settings on the initial time constants, if the model is `SPREAD`."""
    return tau_note(TAU_FRAMES) if model == SPREAD else ""


def tau_note(frames: tuple[float, float]) -> str:
    """Return a note for the settings with the range of time constants [frames]."""
    return " tau={:g}-{:g}".format(*frames)
