"""Neuron models, one a file, all with the signature of `Cell`."""

from collections.abc import Mapping
from typing import Any

from ncp_control.cells.base import Cell
from ncp_control.cells.cfc import CfC
from ncp_control.cells.ctgru import CTGRU
from ncp_control.cells.ctrnn import CTRNN, ODERNN, NeuralODE
from ncp_control.cells.feedforward import Feedforward
from ncp_control.cells.gated import GRU, LSTM
from ncp_control.cells.ltc import LTC, LTCParameters
from ncp_control.cells.mixed_memory import MixedMemory
from ncp_control.cells.wired_cfc import WiredCfC
from ncp_control.json_files import shorten
from ncp_control.names import check_name
from ncp_control.wiring import Wiring

CELLS: dict[str, type[Cell]] = {
    "ltc": LTC,
    "cfc": CfC,
    "wired_cfc": WiredCfC,
    "ctrnn": CTRNN,
    "neural_ode": NeuralODE,
    "ode_rnn": ODERNN,
    "ctgru": CTGRU,
    "lstm": LSTM,
    "gru": GRU,
    "feedforward": Feedforward,
    "mixed_memory": MixedMemory,
}
"""Cells by the name that settings and files use; a cell of your own can be added."""


def cell_to_config(cell: Cell) -> dict[str, Any]:
    """Return JSON values from which `cell_from_config` builds an equal, untrained cell.

    Raises:
        ValueError: If the cell's class is not in `CELLS`.
    """
    name = next((name for name, cls in CELLS.items() if type(cell) is cls), None)
    if name is None:
        raise ValueError(
            f"`cell` must be of a class in CELLS, got {type(cell).__name__!r}. Add yours under a"
            " name of its own, where it is saved and where it is loaded: CELLS['mine'] = MyCell."
        )
    settings = cell.settings()
    if isinstance(settings.get("wiring"), Wiring):
        settings["wiring"] = settings["wiring"].to_dict()
    if isinstance(settings.get("cell"), Cell):
        settings["cell"] = cell_to_config(settings["cell"])
    return {"name": name, "settings": settings}


def cell_from_config(config: Mapping[str, Any]) -> Cell:
    """Build the cell that `cell_to_config` described.

    Raises:
        ValueError: If the name is unknown, a setting is unknown, or a value is not valid.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("settings", {}), Mapping):
        raise ValueError(
            f"`cell` must have a name and settings, got {shorten(config)}. Write it with"
            " cell_to_config."
        )
    name: Any = config.get("name")
    settings = dict(config.get("settings", {}))
    check_name("cell", name, CELLS)
    if "wiring" in settings:
        settings["wiring"] = Wiring.from_dict(settings["wiring"])
    if "cell" in settings:
        settings["cell"] = cell_from_config(settings["cell"])
    try:
        return CELLS[name](**settings)
    except TypeError as error:
        raise ValueError(
            f"`settings` of cell {name!r} must match its arguments, got {sorted(settings)}."
            f" {str(error).rstrip('.')}."
        ) from error


__all__ = [
    "CELLS",
    "CTGRU",
    "CTRNN",
    "GRU",
    "LSTM",
    "LTC",
    "ODERNN",
    "Cell",
    "CfC",
    "Feedforward",
    "LTCParameters",
    "MixedMemory",
    "NeuralODE",
    "WiredCfC",
    "cell_from_config",
    "cell_to_config",
]
