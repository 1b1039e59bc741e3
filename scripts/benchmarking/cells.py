"""Steps of every cell: training beside torch's LSTM and GRU of the same size, and control."""

import ctypes
import functools
from typing import Any

import numpy as np
from torch import nn

from ncp_control import (
    CTGRU,
    CTRNN,
    GRU,
    LRC,
    LSTM,
    LTC,
    NCP19,
    ODERNN,
    STC,
    CfC,
    Circuit,
    MixedMemory,
    NeuralODE,
    WiredCfC,
    Wiring,
    auto_ncp,
)
from ncp_control.cells import Cell
from scripts.timing import Action

INPUTS, UNITS = 32, 19
"""Sizes of NCP19; all other cells have the same."""

STEP_UNITS = 32
"""Units of the cells whose control steps are timed."""

ON_TORCH = (
    "ours, STC",
    "ours, LRC",
    "ours, LRC unit",
    "ours, WiredCfC",
    "ours, MixedMemory(LTC)",
    "ours, Neural ODE",
    "ours, ODE-RNN",
    "ours, CT-GRU",
)
"""Cells that are measured on plain torch, too."""


def cells() -> dict[str, nn.Module]:
    """Return the cells by name; the first is what the others are compared with."""
    from ncps.torch import CfC as TheirCfC
    from ncps.wirings import NCP

    peers: dict[str, nn.Module] = {
        "nn.LSTM(32, 19)": nn.LSTM(INPUTS, UNITS, batch_first=True),
        "nn.GRU(32, 19)": nn.GRU(INPUTS, UNITS, batch_first=True),
        "ncps CfC, wired": TheirCfC(INPUTS, NCP(12, 6, 1, 6, 4, 6, 6)),
        "ncps CfC, backbone of 128": TheirCfC(INPUTS, UNITS),
    }
    return peers | {f"ours, {name}": Circuit(cell) for name, cell in _ours(NCP19).items()}


def control_steps_of_cells() -> dict[str, Action]:
    """Return one frame of one sample by every cell, from Python, and an empty call into C."""
    features = np.random.default_rng(0).random(INPUTS, dtype=np.float32)
    actions: dict[str, Action] = {}
    for name, cell in _ours(auto_ncp(INPUTS, STEP_UNITS, 1, seed=0)).items():
        step = cell.control_step()
        if step is None:
            continue  # the kernels cannot be built here
        actions[f"ours, {name}"] = functools.partial(step, features, 1 / 30)
    empty = ctypes.PyDLL(None).abs
    return actions | {"an empty call into C": functools.partial(empty, ctypes.c_void_p(1))}


def _ours(wiring: Wiring) -> dict[str, Cell]:
    """Return our cells of as many neurons as a wiring has."""
    size = (INPUTS, wiring.num_neurons, 1)
    ode: dict[str, Any] = {"integrator": "exponential_euler", "unfolds": 2}
    return {
        "LTC": LTC(wiring),
        "STC": STC(wiring, **ode),
        "LRC": LRC(wiring, **ode),
        "LRC unit": LRC(wiring, integrator="explicit_euler", unfolds=1),
        "CfC, backbone of 128": CfC(*size),
        "CfC, no backbone": CfC(*size, backbone_layers=0),
        "WiredCfC": WiredCfC(wiring),
        "CT-RNN": CTRNN(*size),
        "LSTM": LSTM(*size),
        "GRU": GRU(*size),
        "MixedMemory(LTC)": MixedMemory(LTC(wiring)),
        "MixedMemory(LRC)": MixedMemory(LRC(wiring, **ode)),
        "MixedMemory(CfC, no backbone)": MixedMemory(CfC(*size, backbone_layers=0)),
        "MixedMemory(WiredCfC)": MixedMemory(WiredCfC(wiring)),
        "Neural ODE": NeuralODE(*size),
        "ODE-RNN": ODERNN(*size),
        "CT-GRU": CTGRU(*size),
    }
