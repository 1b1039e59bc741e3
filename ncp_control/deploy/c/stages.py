"""The stages of a controller: what senses, the cell, its readout. Each is tables and C code.

The code of a stage is a file in `parts`, written for tables and constants of given names; the
tables are generated. Small functions that several parts use (`dense`, `sigmoid`, …) are parts named
as the function; they are included where the function is called.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "parts"

LIBRARY = (
    "are_finite",
    "clip",
    "choose",
    "exp2_limited",
    "one_minus_exp2",
    "sigmoid_of_log2",
    "sigmoid",
    "hyperbolic_tangent",
    "square_root",
    "rectify",
    "squash",
    "unrolled",
    "dense",
    "closed_form_time_constants",
    "seen_with_time",
    "convolve_float32",
    "convolve_int8",
)
"""Functions that several stages use, each behind those that it uses itself."""

_SIGNS = {"unrolled": r"\bFOR_1\b"}
"""What shows that a part is needed, where it is not the part's name."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A piece of a controller."""

    constants: dict[str, Any] = field(default_factory=dict)
    """Macros for the code: numbers, or C text."""
    tables: str = ""
    """Constant tables."""
    parts: tuple[str, ...] = ()
    """Names of the files with the code, in order."""
    types: str = ""
    """Structs that the workspace is made of."""
    scratch: tuple[str, ...] = ()
    """What the code needs in the workspace, as C declares it."""


@dataclass(frozen=True, kw_only=True)
class CellStage(Stage):
    """The cell as a stage: from features and state to the next state, and to outputs."""

    step: str = "cell_step"
    """Name of the function (workspace, features, state, dt_s) that advances the state."""
    read: str
    """Name of the function (state, output) that reads the outputs."""
    num_time_constants: int = 0
    """Entries of the state, from the first on, that have a time constant."""


def read_part(name: str) -> str:
    """Return the C text of a part."""
    return (PARTS / f"{name}.c").read_text(encoding="utf-8")


def join_code(stages: Sequence[Stage], ending: str) -> str:
    """Return tables and code of all stages with the library functions that they call.

    Args:
        stages: The stages, in order.
        ending: Code behind them, which may call library functions as well.
    """
    constants = "".join(
        f"#define {name} {value}\n" for stage in stages for name, value in stage.constants.items()
    )
    # A part of the library that stands in a stage's list stands there for its place.
    named = [name for stage in stages for name in stage.parts]
    texts = [read_part(name) for name in named]
    body = "\n".join(texts)
    needed: list[str] = []
    everything = constants + body + ending
    for name in reversed(LIBRARY):
        text = everything + "".join(map(read_part, needed))
        if name not in named and re.search(_SIGNS.get(name, rf"\b{name}\b"), text):
            needed.append(name)
    library = [read_part(name) for name in reversed(needed)]
    tables = [stage.tables for stage in stages if stage.tables]
    return "\n".join([part for part in (constants, *tables, *library, body, ending) if part])
