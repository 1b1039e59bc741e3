"""Stages of a controller: senses, cell, readout. Each stage consists of tables and C code.

The code of a stage is a file in `parts`, which uses tables and constants of given names. The tables
are generated. Small functions used by several parts (`dense`, `sigmoid`, …) are parts with the
function's name; a part is included if its function is called.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "parts"

LIBRARY = (
    "are_finite",
    "are_within",
    "clip",
    "choose",
    "exp2_limited",
    "one_minus_exp2",
    "sigmoid_of_log2",
    "sigmoid",
    "hyperbolic_tangent",
    "square_root",
    "natural_logarithm",
    "rectify",
    "squash",
    "unrolled",
    "dense",
    "closed_form_time_constants",
    "seen_with_time",
    "convolve_float32",
    "convolve_int8",
)
"""Functions that several stages use, each after the functions that it uses itself."""

_SIGNS = {"unrolled": r"\bFOR_1\b"}
"""Patterns that show that a part is needed, if they differ from the part's name."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Piece of a controller."""

    constants: dict[str, Any] = field(default_factory=dict)
    """Macros for the code: names with numbers or C text."""
    tables: str = ""
    """C text of the constant tables."""
    parts: tuple[str, ...] = ()
    """Names of the files with the code, in order."""
    types: str = ""
    """C text of the structs that the workspace uses."""
    scratch: tuple[str, ...] = ()
    """Fields of the workspace that the code needs, as C declarations."""


@dataclass(frozen=True, kw_only=True)
class CellStage(Stage):
    """Stage of a cell: maps features and state to the next state, and the state to outputs."""

    step: str = "cell_step"
    """Name of the C function (workspace, features, state, dt_s) that advances the state."""
    read: str
    """Name of the C function (state, output) that reads the outputs."""
    num_time_constants: int = 0
    """Number of entries of the state, from the first, that have a time constant."""


def read_part(name: str) -> str:
    """Return the C text of a part."""
    return (PARTS / f"{name}.c").read_text(encoding="utf-8")


def join_code(stages: Sequence[Stage], ending: str) -> str:
    """Join tables and code of all stages with the library functions that they call.

    Args:
        stages: The stages, in order.
        ending: Code after the stages, which may also call library functions.
    """
    constants = "".join(
        f"#define {name} {value}\n" for stage in stages for name, value in stage.constants.items()
    )
    # A library part listed by a stage itself is placed there.
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
