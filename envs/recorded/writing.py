"""Shared parts of the writers of recordings: the new folder, and the episodes to write."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.recorded.recording import Recording
from envs.recorded.stretches import CENTER, Stretch
from ncp_control import files


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `folder` when it is complete.

    Raises:
        ValueError: If `folder` exists.
    """
    if Path(folder).exists():
        raise ValueError(f"`folder` must not exist yet, got '{folder}'. Choose another name.")
    with files.new_folder(folder) as new:
        yield new


def check_actions(recording: Recording, format_name: str) -> None:
    """Raise ValueError if a recording has no actions."""
    if not recording.actions:
        names = ", ".join(one.name for one in recording.quantities) or "no numbers"
        raise ValueError(
            f"`actions` must be named for {format_name}, got none for '{recording.folder}'. It has"
            f" {names}: choose with --actions."
        )


def written_episodes(recording: Recording) -> list[Stretch]:
    """Return the episodes of the center camera; warn of everything that is not written."""
    others = {one.camera for one in recording.episodes} - {CENTER}
    if others:
        warnings.warn(
            f"The cameras {', '.join(sorted(others))} of '{recording.folder.name}' are not written:"
            " their steering was made up from the center camera's.",
            stacklevel=3,
        )
    if recording.unread:
        warnings.warn(
            f"Not written of '{recording.folder.name}': {', '.join(recording.unread)}.",
            stacklevel=3,
        )
    return list(recording.center_only().episodes)
