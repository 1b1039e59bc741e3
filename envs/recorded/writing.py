"""What writers of recordings share: what is written of one, and where."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.recorded.recording import Recording
from envs.recorded.stretches import CENTER, Stretch
from ncp_control import files


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a folder that gets its name when it is whole.

    Raises:
        ValueError: If there is something of this name.
    """
    if Path(folder).exists():
        raise ValueError(f"`folder` must not exist yet, got '{folder}'. Choose another name.")
    with files.new_folder(folder) as new:
        yield new


def written_episodes(recording: Recording) -> list[Stretch]:
    """Return the episodes that a writer writes: those of the center camera; warn of the others."""
    others = {one.camera for one in recording.episodes} - {CENTER}
    if others:
        warnings.warn(
            f"The cameras {', '.join(sorted(others))} of '{recording.folder.name}' are not written:"
            " their steering was made up from the center camera's.",
            stacklevel=3,
        )
    return list(recording.center_only().episodes)
