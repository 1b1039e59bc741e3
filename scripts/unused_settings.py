"""Refuse settings that would be ignored."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any


def refuse_changed(
    settings: Any, names: Collection[str], where: str, why: str = "It has no effect there."
) -> None:
    """Refuse settings that do not have their default values where these would be ignored.

    Args:
        settings: Settings of a job.
        names: Names of the settings.
        where: Where they are ignored, e.g. "with --policy".
        why: Last sentence of the error message.

    Raises:
        ValueError: If one of them does not have its default value.
    """
    for known in dataclasses.fields(settings):
        value = getattr(settings, known.name)
        if known.name in names and value != known.default:
            text = value if isinstance(value, Path) else repr(value)
            raise ValueError(f"`{known.name}` must be left out {where}, got {text}. {why}")
