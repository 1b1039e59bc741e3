"""Refuse settings that would be ignored."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ncp_control.ranges import changed_settings


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
    for name, value in changed_settings(settings).items():
        if name in names:
            text = value if isinstance(value, Path) else repr(value)
            raise ValueError(f"`{name}` must be left out {where}, got {text}. {why}")
