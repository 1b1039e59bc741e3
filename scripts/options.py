"""Option texts that list all registered names in `--help`.

Names of built-in parts are repeated here, so that `--help` does not import torch. A test checks
that they match the registries.
"""

import sys
from typing import Any

import tyro

REGISTRIES = {
    "cell": "ncp_control.cells.known:CELLS",
    "wiring": "ncp_control.wiring_rules:WIRINGS",
    "head": "ncp_control.policy.heads:HEADS",
}
"""Registry of each kind of part, as module:name."""
BUILT_IN = {
    "cell": (
        "cfc cfc_no_gate cfc_pure cnn ctgru ctrnn feedforward gru lrc lrc_asymmetric lrcu"
        " lrcu_asymmetric lstm ltc mixed_cfc mixed_ltc mixed_memory mlp ncp neural_ode ode_rnn"
        " stacked stc wired_cfc"
    ).split(),
    "wiring": ["auto_ncp", "fully_connected", "random"],
    "head": ["light", "motion", "paper"],
}
"""Names of the built-in parts of each kind."""


def one_of(kind: str) -> Any:
    """Return the annotation of a setting that takes one or more names of a kind of part.

    The text of the setting in `--help` ends with its default and all registered names, including
    those registered by modules given with `--import`:

        cell: Annotated[str, one_of("cell")] = "ltc"
    """
    return tyro.conf.arg(help_behavior_hint=lambda default: f"(default: {default}; {names(kind)})")


def names(kind: str) -> str:
    """Return the registered names of a kind of part as a list in words."""
    module, _, registry = REGISTRIES[kind].partition(":")
    loaded = sys.modules.get(module)  # loaded if a user's module registered a part
    known = BUILT_IN[kind] if loaded is None else getattr(loaded, registry)
    *most, last = sorted(known)
    return f"{', '.join(most)} or {last}"
