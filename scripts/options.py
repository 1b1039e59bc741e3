"""Option texts that name what is registered, whenever `--help` is printed.

The names of our own parts are kept here as well as where they are registered, so that `--help` need
not import torch to know them; a test holds the two lists to each other.
"""

import sys
from typing import Any

import tyro

REGISTRIES = {
    "cell": "ncp_control.cells.known:CELLS",
    "wiring": "ncp_control.wiring_rules:WIRINGS",
    "head": "ncp_control.policy.heads:HEADS",
}
"""Where the parts of each kind are registered."""
BUILT_IN = {
    "cell": (
        "cfc cfc_no_gate cfc_pure cnn ctgru ctrnn feedforward gru lrc lrc_asymmetric lrcu"
        " lrcu_asymmetric lstm ltc mixed_cfc mixed_ltc mixed_memory mlp ncp neural_ode ode_rnn"
        " stacked stc wired_cfc"
    ).split(),
    "wiring": ["auto_ncp", "fully_connected", "random"],
    "head": ["light", "motion", "paper"],
}
"""Names of our own parts."""


def one_of(kind: str) -> Any:
    """Return the annotation of a setting that takes one or more names of a kind of part.

    Its text in `--help` ends with the default and the names that are known then, those of modules
    of your own (`--import`) among them:

        cell: Annotated[str, one_of("cell")] = "ltc"
    """
    return tyro.conf.arg(help_behavior_hint=lambda default: f"(default: {default}; {names(kind)})")


def names(kind: str) -> str:
    """Return the names that are known of a kind of part, as a text lists them."""
    module, _, registry = REGISTRIES[kind].partition(":")
    loaded = sys.modules.get(module)  # as it is where a module of the user's registers a part
    known = BUILT_IN[kind] if loaded is None else getattr(loaded, registry)
    *most, last = sorted(known)
    return f"{', '.join(most)} or {last}"
