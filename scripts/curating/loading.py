"""Recordings as they lie on the disk, for jobs that look at each on its own."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from envs.recorded import Recording
from envs.recorded.quantities import find_names
from envs.recorded.readers import LEFT_OUT, load_recording, without_marked
from envs.recorded.several import find_recordings

_TOLD_IN_TABLES = ("Skipped ", "Used all ")
"""Beginnings of the warnings whose numbers the tables have."""


def find_all(paths: Sequence[Path]) -> list[Path]:
    """Return the recordings that paths stand for, each once."""
    found = [one for path in paths for one in find_recordings(path)]
    return list({one.resolve(): one for one in found}.values())


def load_one(
    path: Path, options: Mapping[str, Any], actions: Sequence[str] = ()
) -> tuple[Recording, Recording, list[str]]:
    """Load a recording with all of its frames.

    Args:
        path: The recording.
        options: Options of its reader.
        actions: What is to be learned; what the recording says by default.

    Returns:
        The recording without what is marked to be left out; with it; and what was noticed while it
        was read.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole = load_recording(path, options={**options, LEFT_OUT: False})
    whole = with_actions(whole, actions)
    recording = without_marked(whole, whole.folder, options.get(LEFT_OUT))
    told = [str(one.message) for one in caught]
    return recording, whole, [one for one in told if not one.startswith(_TOLD_IN_TABLES)]


def with_actions(recording: Recording, actions: Sequence[str]) -> Recording:
    """Return the recording with other actions, if any are named, and with all of its frames."""
    if not actions:
        return recording
    chosen = find_names("actions", actions, [one.name for one in recording.quantities])
    sensed = recording.default_inputs(chosen)
    return replace(recording, actions=chosen, inputs=sensed, contract=None)
