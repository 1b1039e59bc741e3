"""Mark stretches of a recording to leave out, and remove marks."""

import sys

import numpy as np

from envs.recorded import Recording, Stretch
from envs.recorded.left_out import (
    Mark,
    NothingLeft,
    leave_out,
    marks_file,
    read_marks,
    write_marks,
)
from envs.recorded.marked_rows import find_rows
from envs.recorded.parts import PARTS, part_of, parts_file, read_parts
from envs.recorded.quantities import STEERING
from envs.recorded.readers import LEFT_OUT, load_recording
from envs.recorded.stretches import drive_times_s
from ncp_control.keyword_options import read_options
from scripts.curating.settings import Clean, read_times

SPEED = "speed"
SPEED_UNITS = {"m/s": 1.0, "cm/s": 100.0, "mm/s": 1000.0, "km/h": 3.6, "mph": 3600.0 / 1609.344}
"""Value of 1 m/s in each unit."""


def clean(settings: Clean) -> None:
    """Add marks or remove the last one, and print what is marked."""
    options = read_options(settings.log_options, "log_options")
    whole = load_recording(settings.log, options={**options, LEFT_OUT: False})
    path = settings.marks or marks_file(whole.folder)
    marks = read_marks(path) if path.is_file() else []
    if settings.undo:
        if not marks:
            raise ValueError(f"`undo` must follow a command that marked something, got '{path}'.")
        print(f"taken back: {marks.pop().why}")
    added = find_marks(whole, settings)
    if added and added[0] in marks:
        print(f"marked already: {added[0].why}")
        added = []
    marks += added
    try:
        left = leave_out(whole, marks, path)
    except NothingLeft as error:
        if not added:
            raise
        raise ValueError(
            f"the command must leave some frames, got {added[0].why!r}, with which all of"
            f" '{whole.folder}' would be marked. Nothing was marked. Name a shorter stretch."
        ) from error
    emptied = _emptied_parts(whole, left)
    if settings.undo or added:
        write_marks(path, marks)
    for mark in marks:
        print(f"{mark.why}: {len(mark.stretches)} stretches")
    count, rest = len(whole.center_only()), len(left.center_only())
    print(f"left out: {count - rest:,} of {count:,} frames; marks: {path if marks else 'none'}")
    for name in emptied:
        print(
            f"warning: the {name} part of {parts_file(whole.folder)} has no frames left. Take marks"
            " back by --undo, or split again by data.py split.",
            file=sys.stderr,
        )
    if marks and settings.marks is not None:
        print(f"other jobs leave them out by --log-options left_out={path}")


def _emptied_parts(whole: Recording, left: Recording) -> list[str]:
    """Return the names of the parts, as written by data.py split, of which no frame is left.

    Args:
        whole: The recording.
        left: The recording without the marked frames.
    """
    path = parts_file(whole.folder)
    if not path.is_file():
        return []
    parts = read_parts(path)
    return [
        name
        for name in PARTS
        if len(part_of(whole, parts, name, path)) and not len(part_of(left, parts, name, path))
    ]


def find_marks(recording: Recording, settings: Clean) -> list[Mark]:
    """Return the mark that the settings make, in a list; an empty list without a rule.

    Raises:
        ValueError: If a rule needs a number that the recording lacks, or marks nothing.
    """
    episodes = recording.center_only().episodes
    times_s = drive_times_s(episodes, recording.frame_s)
    is_out = [np.zeros(len(episode), bool) for episode in episodes]
    options = []
    for words in settings.out_of:
        begin_s, end_s = read_times(words)
        found = [(begin_s <= time_s) & (time_s <= end_s) for time_s in times_s]
        _check_found(found, "out_of", words, f"ends at {times_s[-1][-1]:.1f} s")
        is_out = [a | b for a, b in zip(is_out, found, strict=True)]
        options.append(f"--out-of {words}")
    rules = {
        "still": (settings.still, SPEED, settings.still_below * _speed_factor(recording)),
        "no_steering": (settings.no_steering, STEERING, 0.0),
    }
    for rule, (is_asked, name, limit) in rules.items():
        if not is_asked:
            continue
        _check_number(recording, rule, name)
        held = [_holds(one, name, limit, settings.at_least_s) for one in episodes]
        _check_found(held, rule, True, f"has no such stretch of {settings.at_least_s:g} s")
        is_out = [a | b for a, b in zip(is_out, held, strict=True)]
        options.append(f"--{rule.replace('_', '-')}")
    if not options:
        return []
    return [Mark(why=" ".join(options), stretches=find_rows(recording, is_out))]


def _speed_factor(recording: Recording) -> float:
    """Return the value of 1 m/s in the unit of the recorded speed; 1 if that unit is unknown."""
    units = [one.unit for one in recording.quantities if one.name == SPEED]
    return SPEED_UNITS.get(units[0], 1.0) if units else 1.0


def _holds(episode: Stretch, name: str, limit: float, at_least_s: float) -> np.ndarray:
    """Return where abs(number) is below `limit` (zero if `limit` is 0) for `at_least_s`."""
    values = np.abs(episode.numbers[name])
    holds = values < limit if limit else values == 0.0
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False)).reshape(-1, 2)
    for begin, end in edges:
        if episode.time_s[end - 1] - episode.time_s[begin] < at_least_s:
            holds[begin:end] = False
    return holds


def _check_number(recording: Recording, rule: str, name: str) -> None:
    names = [one.name for one in recording.quantities]
    if name not in names:
        raise ValueError(
            f"`{rule}` must be used on a recording with a {name}, got '{recording.folder}' with"
            f" {', '.join(names) or 'no numbers'}. Name the times by --out-of."
        )


def _check_found(found: list[np.ndarray], setting: str, value: object, why: str) -> None:
    if not any(flags.any() for flags in found):
        raise ValueError(
            f"`{setting}` must mark some frames, got {value!r}, and the recording {why}."
        )
