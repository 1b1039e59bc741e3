"""Neuron models, one per file, all with the signature of `Cell`; `known` registers their names."""

from ncp_control.cells.base import Cell, ControlStep
from ncp_control.cells.cfc import CfC
from ncp_control.cells.ctgru import CTGRU
from ncp_control.cells.ctrnn import CTRNN, ODERNN, NeuralODE
from ncp_control.cells.feedforward import Feedforward
from ncp_control.cells.gated import GRU, LSTM
from ncp_control.cells.known import (
    CELLS,
    Build,
    CellSizes,
    cell_from_config,
    cell_to_config,
    dense_build,
    make_cell,
    register_cell,
)
from ncp_control.cells.lrc import LRC
from ncp_control.cells.ltc import LTC, LTCParameters
from ncp_control.cells.mixed_memory import MixedMemory
from ncp_control.cells.stacked_frames import StackedFrames
from ncp_control.cells.stc import STC
from ncp_control.cells.synaptic import SynapticCell
from ncp_control.cells.wired_cfc import WiredCfC

__all__ = [
    "CELLS",
    "CTGRU",
    "CTRNN",
    "GRU",
    "LRC",
    "LSTM",
    "LTC",
    "ODERNN",
    "STC",
    "Build",
    "Cell",
    "CellSizes",
    "CfC",
    "ControlStep",
    "Feedforward",
    "LTCParameters",
    "MixedMemory",
    "NeuralODE",
    "StackedFrames",
    "SynapticCell",
    "WiredCfC",
    "cell_from_config",
    "cell_to_config",
    "dense_build",
    "make_cell",
    "register_cell",
]
