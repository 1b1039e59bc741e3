"""Robotics and driving control whose brain is a small, auditable, liquid circuit."""

from ncp_control.cells import (
    CELLS,
    CTGRU,
    CTRNN,
    GRU,
    LSTM,
    LTC,
    ODERNN,
    Cell,
    CellSizes,
    CfC,
    Feedforward,
    MixedMemory,
    NeuralODE,
    WiredCfC,
    make_cell,
    register_cell,
)
from ncp_control.circuit import Activity, Circuit
from ncp_control.contract import Contract
from ncp_control.from_ncps import from_ncps
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
    "LSTM",
    "LTC",
    "NCP19",
    "ODERNN",
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
