"""Robot and driving control with small, auditable, liquid neural circuits.

Names are imported on first use, so that `import ncp_control` itself is fast.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncp_control.cells import (
        CELLS,
        CTGRU,
        CTRNN,
        GRU,
        LRC,
        LSTM,
        LTC,
        ODERNN,
        STC,
        Cell,
        CellSizes,
        CfC,
        Feedforward,
        MixedMemory,
        NeuralODE,
        StackedFrames,
        WiredCfC,
        make_cell,
        register_cell,
    )
    from ncp_control.circuit import Activity, Circuit
    from ncp_control.contract import Contract
    from ncp_control.ncps_modules import from_ncps
    from ncp_control.policy import FramesPolicy, Policy, VectorPolicy, load
    from ncp_control.policy.heads import register_head
    from ncp_control.wiring import Synapse, Wiring
    from ncp_control.wiring_rules import (
        NCP19,
        auto_ncp,
        fully_connected,
        ncp,
        random_wiring,
        register_wiring,
    )
    from ncp_control.worlds import register_world

__version__ = "0.1.0"

__all__ = [
    "CELLS",
    "CTGRU",
    "CTRNN",
    "GRU",
    "LRC",
    "LSTM",
    "LTC",
    "NCP19",
    "ODERNN",
    "STC",
    "Activity",
    "Cell",
    "CellSizes",
    "CfC",
    "Circuit",
    "Contract",
    "Feedforward",
    "FramesPolicy",
    "MixedMemory",
    "NeuralODE",
    "Policy",
    "StackedFrames",
    "Synapse",
    "VectorPolicy",
    "WiredCfC",
    "Wiring",
    "auto_ncp",
    "from_ncps",
    "fully_connected",
    "load",
    "make_cell",
    "ncp",
    "random_wiring",
    "register_cell",
    "register_head",
    "register_wiring",
    "register_world",
]

_HOMES = (
    "contract",
    "worlds",
    "wiring",
    "wiring_rules",
    "cells",
    "circuit",
    "policy",
    "policy.heads",
    "ncps_modules",
)
"""Modules that define the public names."""


def __getattr__(name: str) -> Any:
    """Import a public name, or a module, on its first use."""
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    path = f"{__name__}.{name}"
    if not name.startswith("_") and importlib.util.find_spec(path) is not None:
        return importlib.import_module(path)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
