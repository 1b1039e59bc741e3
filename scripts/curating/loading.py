"""Load recordings from the disk, for jobs that handle each on its own."""

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
"""Beginnings of the warnings that are dropped, because the tables have their numbers."""


def find_all(paths: Sequence[Path]) -> list[Path]:
    """Return the recordings that the paths name or contain, each once."""
    found = [one for path in paths for one in find_recordings(path)]
    return list({one.resolve(): one for one in found}.values())


def load_one(
    path: Path, options: Mapping[str, Any], actions: Sequence[str] = ()
) -> tuple[Recording, Recording, list[str]]:
    """Load a recording with all of its frames.

    Args:
        path: The recording.
        options: Options of its reader.
        actions: Names of the actions; if empty: those of the recording.

    Returns:
        The recording without the frames marked to be left out; the recording with all frames; and
        the warnings from reading the recording.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole = load_recording(path, options={**options, LEFT_OUT: False})
    whole = with_actions(whole, actions)
    recording = without_marked(whole, whole.folder, options.get(LEFT_OUT))
    messages = [str(one.message) for one in caught]
    return recording, whole, [one for one in messages if not one.startswith(_TOLD_IN_TABLES)]


def with_actions(recording: Recording, actions: Sequence[str]) -> Recording:
    """Return the recording with the named actions; unchanged if none are named."""
    if not actions:
        return recording
    chosen = find_names("actions", actions, [one.name for one in recording.quantities])
    sensed = recording.default_inputs(chosen)
    return replace(recording, actions=chosen, inputs=sensed, contract=None)
