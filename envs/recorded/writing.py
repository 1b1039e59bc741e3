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


def written_episodes(recording: Recording) -> list[Stretch]:
    """Return the episodes of the center camera; warn that other cameras are not written."""
    others = {one.camera for one in recording.episodes} - {CENTER}
    if others:
        warnings.warn(
            f"The cameras {', '.join(sorted(others))} of '{recording.folder.name}' are not written:"
            " their steering was made up from the center camera's.",
            stacklevel=3,
        )
    return list(recording.center_only().episodes)
