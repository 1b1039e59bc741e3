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
    CfC,
    Feedforward,
    MixedMemory,
    NeuralODE,
    WiredCfC,
)
from ncp_control.circuit import Activity, Circuit
from ncp_control.contract import Contract
from ncp_control.from_ncps import from_ncps
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy, load
from ncp_control.wiring import Synapse, Wiring
from ncp_control.wiring_rules import NCP19, auto_ncp, fully_connected, ncp, random_wiring

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
    "ncp",
    "random_wiring",
]
