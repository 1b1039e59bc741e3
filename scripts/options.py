"""Option texts that name what is registered, whenever `--help` is printed."""

from typing import Any

import tyro

from ncp_control.registry import Registry


def one_of(registry: Registry[Any]) -> Any:
    """Return the annotation of a setting that takes one or more names of a registry.

    Its text in `--help` ends with the default and the names that are known then, those of modules
    of your own (`--import`) among them:

        cell: Annotated[str, one_of(CELLS)] = "ltc"
    """
    return tyro.conf.arg(help_behavior_hint=lambda default: f"(default: {default}; {registry})")
