"""Robotics and driving control whose brain is a small, auditable, liquid circuit."""

from ncp_control.cells import CELLS, LSTM, LTC, Cell, Feedforward
from ncp_control.circuit import Activity, Circuit
from ncp_control.policy import Policy
from ncp_control.wiring import (
    NCP19,
    Synapse,
    Wiring,
    auto_ncp,
    fully_connected,
    ncp,
    random_wiring,
)

__version__ = "0.1.0"

__all__ = [
    "CELLS",
    "LSTM",
    "LTC",
    "NCP19",
    "Activity",
    "Cell",
    "Circuit",
    "Feedforward",
    "Policy",
    "Synapse",
    "Wiring",
    "auto_ncp",
    "fully_connected",
    "ncp",
    "random_wiring",
]
