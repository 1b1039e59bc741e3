"""The one registry of cells: each by name, with its class and with what builds it from sizes.

A name is what `--cell` takes and what tables call a model; a file names the class of its cell.
Some names stand for the same class, built otherwise:

| class         | its own name   | further names             | what those build                   |
|---------------|----------------|---------------------------|------------------------------------|
| `LTC`         | `ltc`          | `ncp`                     | an LTC; NCP19 where it drives      |
| `CfC`         | `cfc`          | `cfc_pure`, `cfc_no_gate` | a CfC of another mode              |
| `Feedforward` | `feedforward`  | `cnn`, `mlp`              | the same, as tables of results say |
| `LRC`         | `lrc`          | `lrcu`, `lrc_asymmetric`, | an LRC unit; the other elastance   |
|               |                | `lrcu_asymmetric`         |                                    |
| `MixedMemory` | `mixed_memory` | `mixed_cfc`, `mixed_ltc`  | a memory beside a CfC or an LTC    |

Driving, walking and forecasting want other first values or wirings for some of them: they hand
`make_cell` recipes of their own, by name. A cell of your own works everywhere:

    register_cell("mine", Mine)                     # Mine(inputs, units, outputs, frame_s=...)
    register_cell("mine", Mine, build=make_mine)    # make_mine(sizes) returns a Mine
"""

import inspect
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
from ncp_control.registry import Registry, foreign_module
from ncp_control.wiring import Wiring
from ncp_control.wiring_rules import WIRINGS, auto_ncp


@dataclass(frozen=True, kw_only=True)
class CellSizes:
    """What a cell is built from.

    Raises:
        ValueError: If `wiring` is unknown.
    """

    num_inputs: int
    """Width of what reaches the cell."""
    num_units: int
    """Neurons of a wired circuit, motor neurons included; units of the other cells."""
    num_outputs: int
    """Width of the readout, e.g. one for each motor."""
    frame_s: float
    """Nominal frame interval [s]."""
    seed: int = 0
    """Seed of a wiring; the first weights follow torch's own generator."""
    sees_time: bool = False
    """Whether LSTM and GRU, which know no time, are told how long a frame lasted."""
    activation: str = "lecun_tanh"
    """Activation of a CfC's backbone."""
    wiring: str | None = None
    """A name in `WIRINGS` for a wired circuit; what suits the cell if None."""
    reads: str | None = None
    """What the outputs of a synaptic cell are read from, a name in `READS`; motor if None."""

    def __post_init__(self) -> None:
        if self.wiring is not None:
            WIRINGS.find(self.wiring)

    def draw_wiring(
        self, rule: Callable[..., Wiring] = auto_ncp, *, num_motor: int | None = None
    ) -> Wiring:
        """Draw the wiring that was asked for by name.

        Args:
            rule: What draws it if none was asked for.
            num_motor: Motor neurons; one for each output if None.

        Raises:
            ValueError: If the rule returns something other than a wiring.
        """
        rule = rule if self.wiring is None else WIRINGS[self.wiring]
        sizes = (self.num_inputs, self.num_units, num_motor or self.num_outputs)
        wiring = rule(*sizes, seed=self.seed)
        if not isinstance(wiring, Wiring):
            raise ValueError(
                f"`wiring` {self.wiring!r} must return a Wiring, got {type(wiring).__name__!r}."
                " Return Wiring(num_sensory=..., ...)."
            )
        return wiring


Build = Callable[[CellSizes], Cell]
"""Sizes to an untrained cell."""


@dataclass(frozen=True)
class KnownCell:
    """A cell as the registry knows it."""

    cls: type[Cell]
    """Class of the cell, which a file names."""
    build: Build
    """What builds it from sizes."""


CELLS: Registry[KnownCell] = Registry("cell")
"""Cells by the name that settings and files use."""


def register_cell(name: str, cls: type[Cell], *, build: Build | None = None) -> None:
    """Make a cell known by a name, for settings and for files.

    Args:
        name: Its name. The first name of a class is the one that files use.
        cls: Its class.
        build: Builds it from sizes. If None, the class is called with
            `(num_inputs, num_units, num_outputs, frame_s=frame_s)`.

    Raises:
        TypeError: If `cls` is no class of a cell.
        ValueError: If the name is taken, or the class cannot be called like that.
    """
    if not (isinstance(cls, type) and issubclass(cls, Cell)):
        raise TypeError(f"`cls` must be a class derived from Cell, got {cls!r}.")
    if build is None:
        try:
            inspect.signature(cls).bind(1, 1, 1, frame_s=1.0)
        except TypeError as error:
            raise ValueError(
                f"`build` must be given for {cls.__name__}, which cannot be called with"
                f" (num_inputs, num_units, num_outputs, frame_s=frame_s): {error}. Give a function"
                " of `CellSizes` that builds it."
            ) from error
    CELLS.register(name, KnownCell(cls, build or dense_build(cls)), source=cls)


def dense_build(cls: Callable[..., Cell], **settings: Any) -> Build:
    """Return what builds a cell of units that all see everything, with further settings."""

    def build(sizes: CellSizes) -> Cell:
        widths = (sizes.num_inputs, sizes.num_units, sizes.num_outputs)
        return cls(*widths, frame_s=sizes.frame_s, **settings)

    return build


def make_cell(name: str, sizes: CellSizes, recipes: Mapping[str, Build] | None = None) -> Cell:
    """Build an untrained cell by its name; its weights come from torch's generator.

    Args:
        name: A name in `CELLS`.
        sizes: What it is built from.
        recipes: What a purpose builds otherwise, by name.

    Raises:
        TypeError: If the builder of the cell returns something else.
        ValueError: If the name is unknown, a size does not fit, the cell does not take `num_inputs`
            inputs, it has no wiring though one is named, or one of your own is faulty: see
            `check_step` and `check_saved`.
    """
    known = CELLS.find(name)
    cell = (recipes or {}).get(name, known.build)(sizes)
    if not isinstance(cell, Cell):
        raise TypeError(
            f"`build` of cell {name!r} must return a Cell, got {type(cell).__name__!r}."
        )
    if cell.input_size != sizes.num_inputs:
        raise ValueError(
            f"`build` of cell {name!r} must return one of {sizes.num_inputs} inputs, got"
            f" {cell.input_size}. Use `sizes.num_inputs`."
        )
    if sizes.reads is not None and getattr(cell, "reads", None) != sizes.reads:
        raise ValueError(
            f"`reads` must be left out for the cell {name!r}, got {sizes.reads!r}. LTC, STC and LRC"
            " circuits have it."
        )
    if sizes.wiring is not None and not _has_wiring(cell):
        raise ValueError(
            f"`wiring` must be left out for the cell {name!r}, which has none, got"
            f" {sizes.wiring!r}. Choose a wired circuit, such as ltc."
        )
    if foreign_module(type(cell)) is not None:
        check_step(name, cell)
        check_saved(cell)
    return cell


def check_saved(cell: Cell) -> None:
    """Refuse a cell of a user's own that a file would not bring back.

    Raises:
        ValueError: If its class is not registered, or its settings build another cell.
    """
    if foreign_module(type(cell)) is not None:
        config = cell_to_config(cell)
        with torch.random.fork_rng(devices=[]):  # the twin's first weights are of no interest
            check_comes_back(config["name"], cell, cell_from_config(config))


def make_ltc(sizes: CellSizes, rule: Callable[..., Wiring] = auto_ncp) -> LTC:
    """Build an LTC circuit over a wiring of these sizes.

    It is integrated layer by layer where the wiring allows it. Measured against the paper's
    integrator (`scripts/reproduce.py integrators`), this imitates and forecasts a little better,
    and costs less.

    Args:
        sizes: What it is built from.
        rule: What draws the wiring if none was asked for by name.
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
    except ValueError:  # synapses run back to an earlier layer, e.g. in a random wiring
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
"""Builders of an LTC's saturated kin from a wiring and `frame_s`, by name."""


def make_saturated(name: str, sizes: CellSizes, rule: Callable[..., Wiring] = auto_ncp) -> STC:
    """Build a circuit of an LTC's saturated kin over a wiring of these sizes.

    Args:
        name: A name in `SATURATED`.
        sizes: What it is built from.
        rule: What draws the wiring if none was asked for by name.
    """
    wiring = sizes.draw_wiring(rule)
    return SATURATED[name](wiring, frame_s=sizes.frame_s, reads=sizes.reads or "motor")


def cell_to_config(cell: Cell) -> dict[str, Any]:
    """Return JSON values from which `cell_from_config` builds an equal, untrained cell.

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


def _has_wiring(cell: Cell) -> bool:
    """Whether a cell, or one that it holds, is built over a wiring."""
    values = cell.settings().values()
    return any(
        isinstance(value, Wiring) or (isinstance(value, Cell) and _has_wiring(value))
        for value in values
    )


def _saturated(name: str) -> Build:
    return lambda sizes: make_saturated(name, sizes)


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
    register_cell(_name, STC if _name == "stc" else LRC, build=_saturated(_name))
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
