"""The registry of cells: the class of each cell and the function that builds it, by name.

`--cell` takes these names, and tables of results use them. A saved policy names the class of its
cell. Some names stand for the same class with other settings:

| class         | its own name   | further names             | what those build                   |
|---------------|----------------|---------------------------|------------------------------------|
| `LTC`         | `ltc`          | `ncp`                     | an LTC; NCP19 for driving          |
| `CfC`         | `cfc`          | `cfc_pure`, `cfc_no_gate` | a CfC of another mode              |
| `Feedforward` | `feedforward`  | `cnn`, `mlp`              | the same, as tables of results say |
| `LRC`         | `lrc`          | `lrcu`, `lrc_asymmetric`, | an LRC unit; the other elastance   |
|               |                | `lrcu_asymmetric`         |                                    |
| `MixedMemory` | `mixed_memory` | `mixed_cfc`, `mixed_ltc`  | a memory beside a CfC or an LTC    |

Driving, walking and forecasting need other initial values or wirings for some cells: they pass
recipes of their own, by name, to `make_cell`. To use your own cell everywhere, register it:

    register_cell("mine", Mine)                     # Mine(inputs, units, outputs, frame_s=...)
    register_cell("mine", Mine, build=make_mine)    # make_mine(sizes) returns a Mine
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ncp_control.cells.base import Cell
from ncp_control.cells.cfc import CfC
from ncp_control.cells.ctgru import CTGRU
from ncp_control.cells.ctrnn import CTRNN, ODERNN, NeuralODE
from ncp_control.cells.feedforward import Feedforward
from ncp_control.cells.gated import GRU, LSTM
from ncp_control.cells.lrc import LRC
from ncp_control.cells.ltc import LTC
from ncp_control.cells.mixed_memory import MixedMemory
from ncp_control.cells.own import check_comes_back, check_step
from ncp_control.cells.stacked_frames import StackedFrames
from ncp_control.cells.stc import STC
from ncp_control.cells.wired_cfc import WiredCfC
from ncp_control.json_files import shorten
from ncp_control.registry import Registry, error_of_call, foreign_module
from ncp_control.wiring import Wiring
from ncp_control.wiring_rules import WIRINGS, auto_ncp


@dataclass(frozen=True, kw_only=True)
class CellSizes:
    """Sizes and settings from which a cell is built.

    Raises:
        ValueError: If `wiring` is unknown.
    """

    num_inputs: int
    """Number of inputs of the cell."""
    num_units: int
    """Number of neurons of a wired circuit, motor neurons included; number of units otherwise."""
    num_outputs: int
    """Width of the readout, e.g. one for each motor."""
    frame_s: float
    """Nominal frame interval [s]."""
    seed: int = 0
    """Random seed of the wiring; initial weights come from torch's default generator."""
    sees_time: bool = False
    """Whether LSTM and GRU get the elapsed time as an additional input."""
    activation: str = "lecun_tanh"
    """Activation of a CfC's backbone."""
    wiring: str | None = None
    """Wiring of a wired circuit, a name in `WIRINGS`; if None: the default wiring of the cell."""
    reads: str | None = None
    """Neurons that the outputs of an LTC, STC or LRC are read from, a name in `READS`; if None:
    motor."""

    def __post_init__(self) -> None:
        if self.wiring is not None:
            WIRINGS.find(self.wiring)

    def draw_wiring(
        self, rule: Callable[..., Wiring] = auto_ncp, *, num_motor: int | None = None
    ) -> Wiring:
        """Draw the wiring.

        Args:
            rule: Function that draws it if `wiring` is None.
            num_motor: Number of motor neurons; if None: one for each output.

        Raises:
            ValueError: If the rule returns something that is not a Wiring, or a wiring of other
                numbers of inputs or motor neurons.
        """
        rule = rule if self.wiring is None else WIRINGS[self.wiring]
        sizes = (self.num_inputs, self.num_units, num_motor or self.num_outputs)
        wiring = rule(*sizes, seed=self.seed)
        if not isinstance(wiring, Wiring):
            raise ValueError(
                f"`wiring` {self.wiring or rule!r} must return a Wiring, got"
                f" {type(wiring).__name__!r}. Return Wiring(num_sensory=..., ...)."
            )
        if (wiring.num_sensory, wiring.num_motor) != (sizes[0], sizes[2]):
            raise ValueError(
                f"`wiring` {self.wiring or rule!r} must have {sizes[0]} inputs and {sizes[2]} motor"
                f" neurons, got {wiring.num_sensory} and {wiring.num_motor}. Let the rule use the"
                " sizes that it is given."
            )
        return wiring


Build = Callable[[CellSizes], Cell]
"""Function that builds an untrained cell from sizes."""


@dataclass(frozen=True)
class KnownCell:
    """Entry of the registry of cells."""

    cls: type[Cell]
    """Class of the cell."""
    build: Build
    """Function that builds it from sizes."""
    has_own_build: bool = False
    """Whether it was registered with this function."""


CELLS: Registry[KnownCell] = Registry("cell")
"""Cells by the name used in settings and files."""


def register_cell(name: str, cls: type[Cell], *, build: Build | None = None) -> None:
    """Register a cell under a name, for settings and files.

    Args:
        name: Name of the cell. Files use the first name of a class.
        cls: Class of the cell.
        build: Function that builds the cell from sizes. If None, the class is called with
            `(num_inputs, num_units, num_outputs, frame_s=frame_s)`.

    Raises:
        TypeError: If `cls` is not a subclass of Cell.
        ValueError: If the name is taken, or `build` is None and the class cannot be called so.
    """
    if not (isinstance(cls, type) and issubclass(cls, Cell)):
        raise TypeError(f"`cls` must be a class derived from Cell, got {cls!r}.")
    if build is None and (error := error_of_call(cls, 1, 1, 1, frame_s=1.0)):
        raise ValueError(
            f"`build` must be given for {cls.__name__}, which cannot be called with"
            f" (num_inputs, num_units, num_outputs, frame_s=frame_s): {error}. Give a function"
            " of `CellSizes` that builds it."
        ) from error
    known = KnownCell(cls, build or dense_build(cls), has_own_build=build is not None)
    CELLS.register(name, known, source=cls)


def dense_build(cls: Callable[..., Cell], **settings: Any) -> Build:
    """Return a function that builds a fully connected cell with further settings."""

    def build(sizes: CellSizes) -> Cell:
        widths = (sizes.num_inputs, sizes.num_units, sizes.num_outputs)
        return cls(*widths, frame_s=sizes.frame_s, **settings)

    return build


def make_cell(name: str, sizes: CellSizes, recipes: Mapping[str, Build] | None = None) -> Cell:
    """Build an untrained cell by name; its weights come from torch's default generator.

    Args:
        name: A name in `CELLS`.
        sizes: Sizes and settings of the cell.
        recipes: Functions, by name, that replace the registered builder of a cell.

    Raises:
        TypeError: If the builder returns something that is not a Cell.
        ValueError: If the name is unknown, a size does not fit, the cell does not take `num_inputs`
            inputs or a registered one does not give `num_outputs` outputs, a wiring is named for a
            cell without one, or a user's own cell is faulty: see `check_step` and `check_saved`.
    """
    known = CELLS.find(name)
    recipe = (recipes or {}).get(name)
    cell = (recipe or known.build)(sizes)
    if not isinstance(cell, Cell):
        raise TypeError(
            f"`build` of cell {name!r} must return a Cell, got {type(cell).__name__!r}."
        )
    if cell.input_size != sizes.num_inputs:
        raise ValueError(
            f"`build` of cell {name!r} must return one of {sizes.num_inputs} inputs, got"
            f" {cell.input_size}. Use `sizes.num_inputs`."
        )
    if recipe is None and cell.output_size != sizes.num_outputs:
        raise ValueError(
            f"`build` of cell {name!r} must return one of {sizes.num_outputs} outputs, got"
            f" {cell.output_size}. Use `sizes.num_outputs`."
        )
    if sizes.reads is not None and getattr(cell, "reads", None) != sizes.reads:
        raise ValueError(
            f"`reads` must be left out for the cell {name!r}, got {sizes.reads!r}. LTC, STC and LRC"
            " circuits have it."
        )
    if sizes.wiring is not None:
        _check_wired(name, cell, sizes.wiring)
    if foreign_module(type(cell)) is not None:
        check_step(name, cell)
    check_saved(cell)
    return cell


def check_takes_wiring(name: str, wiring: str | None) -> None:
    """Refuse a named wiring for a cell without one, before anything is trained.

    Raises:
        ValueError: If the cell has no wiring, or one of the names is unknown.
    """
    if wiring is not None:
        WIRINGS.find(wiring)
        sizes = CellSizes(num_inputs=8, num_units=24, num_outputs=1, frame_s=0.05)
        with torch.random.fork_rng(devices=[]):
            _check_wired(name, make_cell(name, sizes), wiring)


def check_saved(cell: Cell) -> None:
    """Refuse a user's own cell that a file would not bring back; of ours, one that holds such.

    Raises:
        ValueError: If its class is not registered, or its settings build another cell.
    """
    for value in cell.settings().values():
        if isinstance(value, Cell):
            check_saved(value)
    if foreign_module(type(cell)) is None:
        return
    config = cell_to_config(cell)
    try:
        config = json.loads(json.dumps(config, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`settings` of cell {config['name']!r} must be values that JSON holds, got"
            f" {shorten(config['settings'])}: {error}. Return a wiring under the key 'wiring', a"
            " cell under the key 'cell', and otherwise numbers, texts, lists or dictionaries with"
            " texts as keys."
        ) from error
    with torch.random.fork_rng(devices=[]):  # the initial weights of the twin do not matter
        twin = cell_from_config(config)
    check_comes_back(config["name"], cell, twin)


def make_ltc(sizes: CellSizes, rule: Callable[..., Wiring] = auto_ncp) -> LTC:
    """Build an LTC circuit over a wiring of these sizes.

    It uses the layer-by-layer integrator where the wiring allows it. Compared with the integrator
    of the paper (`scripts/reproduce.py integrators`), it is slightly better at imitation and
    forecasting, and costs less to compute.

    Args:
        sizes: Sizes and settings of the cell.
        rule: Function that draws the wiring if `sizes.wiring` is None.
    """
    wiring = sizes.draw_wiring(rule)
    try:
        return LTC(
            wiring,
            frame_s=sizes.frame_s,
            integrator="layered_midpoint",
            unfolds=2,
            reads=sizes.reads or "motor",
        )
    except ValueError:  # synapses lead back to an earlier layer, e.g. in a random wiring
        return LTC(wiring, frame_s=sizes.frame_s, reads=sizes.reads or "motor")


# Their neurons are slower than a frame, so few sub-steps are enough.
_ODE: dict[str, Any] = {"integrator": "exponential_euler", "unfolds": 2}
_UNIT: dict[str, Any] = {"integrator": "explicit_euler", "unfolds": 1}
SATURATED: dict[str, Callable[..., STC]] = {
    "stc": partial(STC, **_ODE),
    "lrc": partial(LRC, **_ODE),
    "lrc_asymmetric": partial(LRC, **_ODE, elastance="asymmetric"),
    "lrcu": partial(LRC, **_UNIT),
    "lrcu_asymmetric": partial(LRC, **_UNIT, elastance="asymmetric"),
}
"""Functions that build a saturated circuit (STC, LRC) from a wiring and `frame_s`, by name."""


def make_saturated(name: str, sizes: CellSizes, rule: Callable[..., Wiring] = auto_ncp) -> STC:
    """Build a saturated circuit (STC or LRC) over a wiring of these sizes.

    Args:
        name: A name in `SATURATED`.
        sizes: Sizes and settings of the cell.
        rule: Function that draws the wiring if `sizes.wiring` is None.
    """
    wiring = sizes.draw_wiring(rule)
    return SATURATED[name](wiring, frame_s=sizes.frame_s, reads=sizes.reads or "motor")


def cell_to_config(cell: Cell) -> dict[str, Any]:
    """Return JSON values from which `cell_from_config` builds an untrained cell of equal settings.

    Raises:
        ValueError: If the cell's class is not in `CELLS`.
    """
    name = next((name for name, known in CELLS.items() if type(cell) is known.cls), None)
    if name is None:
        raise ValueError(
            f"`cell` must be of a registered class, got {type(cell).__name__!r}. Register it with"
            " register_cell('my_name', MyCell), in a module that is imported wherever the policy is"
            " saved or loaded."
        )
    settings = cell.settings()
    if isinstance(settings.get("wiring"), Wiring):
        settings["wiring"] = settings["wiring"].to_dict()
    if isinstance(settings.get("cell"), Cell):
        settings["cell"] = cell_to_config(settings["cell"])
    module = foreign_module(type(cell))
    return {"name": name, **({"module": module} if module else {}), "settings": settings}


def cell_from_config(config: Mapping[str, Any]) -> Cell:
    """Build the untrained cell that `cell_to_config` described.

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
    cls = CELLS.find(name, module=config.get("module")).cls
    if "wiring" in settings:
        settings["wiring"] = Wiring.from_dict(settings["wiring"])
    if "cell" in settings:
        settings["cell"] = cell_from_config(settings["cell"])
    try:
        return cls(**settings)
    except TypeError as error:
        raise ValueError(
            f"`settings` of cell {name!r} must match its arguments, got {sorted(settings)}."
            f" {str(error).rstrip('.')}. Let `settings` return the arguments of the constructor."
        ) from error


def _check_wired(name: str, cell: Cell, wiring: str) -> None:
    is_own = foreign_module(type(cell)) is not None
    if is_own and CELLS[name].has_own_build:
        return  # its settings may hold the name of the rule and not the wiring
    if not _has_wiring(cell):
        raise ValueError(
            f"`wiring` must be left out for the cell {name!r}, which has none, got {wiring!r}."
            " Choose a wired circuit, such as ltc."
        )


def _has_wiring(cell: Cell) -> bool:
    """Whether a cell, or one that it holds, is built over a wiring."""
    values = cell.settings().values()
    return any(
        isinstance(value, Wiring) or (isinstance(value, Cell) and _has_wiring(value))
        for value in values
    )


def _gated(cls: type[LSTM] | type[GRU]) -> Build:
    return lambda sizes: dense_build(cls, sees_time=sizes.sees_time)(sizes)


def _cfc(mode: str) -> Build:
    return lambda sizes: dense_build(CfC, mode=mode, activation=sizes.activation)(sizes)


def _wired_cfc(sizes: CellSizes) -> Cell:
    return WiredCfC(sizes.draw_wiring(), frame_s=sizes.frame_s)


def _mixed(build: Build) -> Build:
    return lambda sizes: MixedMemory(build(sizes))


register_cell("ltc", LTC, build=make_ltc)
register_cell("ncp", LTC, build=make_ltc)
for _name in SATURATED:
    register_cell(_name, STC if _name == "stc" else LRC, build=partial(make_saturated, _name))
register_cell("cfc", CfC, build=_cfc("default"))
register_cell("cfc_pure", CfC, build=_cfc("pure"))
register_cell("cfc_no_gate", CfC, build=_cfc("no_gate"))
register_cell("wired_cfc", WiredCfC, build=_wired_cfc)
register_cell("ctrnn", CTRNN)
register_cell("neural_ode", NeuralODE)
register_cell("ode_rnn", ODERNN)
register_cell("ctgru", CTGRU)
register_cell("lstm", LSTM, build=_gated(LSTM))
register_cell("gru", GRU, build=_gated(GRU))
register_cell("stacked", StackedFrames)
register_cell("feedforward", Feedforward)
register_cell("cnn", Feedforward)
register_cell("mlp", Feedforward)
register_cell("mixed_memory", MixedMemory, build=_mixed(_cfc("default")))
register_cell("mixed_cfc", MixedMemory, build=_mixed(_cfc("default")))
register_cell("mixed_ltc", MixedMemory, build=_mixed(make_ltc))
