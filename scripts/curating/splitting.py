"""Split recordings into training, validation and test parts, and compare the parts."""

import errno
from collections.abc import Sequence

import numpy as np

from envs.recorded import Recording, load_recording
from envs.recorded.likeness import compare_actions
from envs.recorded.marked_rows import find_rows
from envs.recorded.parts import PARTS, TRAIN, Parts, part_of, parts_file, write_parts
from envs.recorded.quantities import find_names
from envs.recorded.several import load_each
from ncp_control.markdown import markdown_table
from ncp_control.names import one_line
from scripts.curating.loading import find_all, with_actions
from scripts.curating.settings import Split

NOWHERE = -1
"""Value for a frame that is in no part."""
LARGEST_MISS = 0.1
"""Difference between the asked and the actual training share above which there is a note."""


def split(settings: Split) -> None:
    """Split the recordings, print a table of the parts, and write them beside each recording."""
    loaded = load_each(
        find_all(settings.log),
        settings.options,
        lambda path, own: with_actions(load_recording(path, options=own), settings.actions),
    )
    if settings.undo:
        for recording in loaded:
            path = parts_file(recording.folder)
            is_there = path.is_file()
            path.unlink(missing_ok=True)
            print(f"no parts {'any more' if is_there else 'there'}: {path}")
        return
    times_s = [_times_s(recording) for recording in loaded]
    units = UNITS[settings.by](loaded, times_s, settings)
    advice = advise(loaded, settings)
    assigned = assign(units, settings, advice)
    labels = [
        keep_apart(part, time_s, settings.gap_s)
        for part, time_s in zip(assigned, times_s, strict=True)
    ]
    made = [
        Parts(by=settings.by, why=settings.words(), rows=_rows(recording, label))
        for recording, label in zip(loaded, labels, strict=True)
    ]
    if not any(parts.rows[TRAIN] for parts in made):
        raise ValueError(
            f"`gap_s` must leave some frames that train, got {settings.gap_s!r}. Lower it."
        )
    rows = []
    for recording, parts in zip(loaded, made, strict=True):
        _write(recording, parts)
        rows += _table(recording, parts)
    print(markdown_table(("recording", "part", "frames", "share", *_headings(loaded[0])), rows))
    _tell_share(assigned, settings, advice)
    for recording, parts in zip(loaded, made, strict=True):
        for doubt in _doubts(recording, parts):
            print(f"note: {one_line(recording.folder.name)}: {doubt}")
        print(f"parts: {parts_file(recording.folder)}")


def _write(recording: Recording, parts: Parts) -> None:
    """Write the parts of a recording beside it; ValueError if nothing can be written there."""
    path = parts_file(recording.folder)
    try:
        write_parts(path, parts)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        whole = recording.folder.resolve()
        raise ValueError(
            f"`log` must be where {path.name} can be written beside it, got the read-only"
            f" '{whole}'. Make links to its files, by cp -rs '{whole}' NEW, and split NEW."
        ) from error


def assign(units: Sequence[np.ndarray], settings: Split, advice: str) -> list[np.ndarray]:
    """Assign whole units to the parts in order: the first to training, the last to testing.

    The order is shuffled if there is a `shuffle_seed`.

    Args:
        units: For each recording, the number of every frame's unit: from 0, in the order of the
            units.
        settings: The shares, and the seed of the order.
        advice: How to get more units, for the message.

    Returns:
        For each recording the part of every frame, an index into `PARTS`.

    Raises:
        ValueError: If there are fewer units than parts.
    """
    sizes = np.bincount(np.concatenate(units))
    if len(sizes) < len(PARTS):
        raise ValueError(
            f"`by` must leave at least {len(PARTS)} {NAMES[settings.by]} to give to the parts, got"
            f" {len(sizes)} by {settings.by}. {advice}"
        )
    if settings.shuffle_seed is not None:
        rank = np.random.default_rng(settings.shuffle_seed).permutation(len(sizes))
        units = [rank[one] for one in units]
        sizes = np.bincount(np.concatenate(units))
    learn = settings.train_share
    ends = np.array([learn * (1.0 - settings.validation_share), learn]) * sizes.sum()
    begun = np.cumsum(sizes) - 0.5 * sizes  # the middle of a unit decides its part
    first, second = np.searchsorted(begun, ends)
    first = min(max(int(first), 1), len(sizes) - 2)
    second = min(max(int(second), first + 1), len(sizes) - 1)
    part_of_unit = np.repeat(np.arange(len(PARTS)), [first, second - first, len(sizes) - second])
    return [part_of_unit[one] for one in units]


def _tell_share(parts: Sequence[np.ndarray], settings: Split, advice: str) -> None:
    """Print a note if whole units made the training part much larger or smaller than asked.

    Args:
        parts: For each recording the part of every frame, as `assign` returns it.
        settings: The shares.
        advice: How to get smaller units.
    """
    asked = settings.train_share * (1.0 - settings.validation_share)
    share = float(np.mean(np.concatenate(parts) == PARTS.index(TRAIN)))
    if abs(share - asked) > LARGEST_MISS:
        print(
            f"note: asked for {100 * asked:.0f} % of the frames in the training part, got"
            f" {100 * share:.0f} %, since {NAMES[settings.by]} are not cut. {advice}"
        )


def keep_apart(part: np.ndarray, time_s: np.ndarray, gap_s: float) -> np.ndarray:
    """Set the part of training frames that are too close to another part to `NOWHERE`.

    Args:
        part: Part of every frame, shape (N,).
        time_s: Time of every frame, shape (N,) [s].
        gap_s: Least time between a training frame and a validation or test frame [s].
    """
    if gap_s <= 0.0 or not (part > 0).any():
        return part
    steps_s = np.diff(time_s, prepend=time_s[0])
    # If the clock restarts, as in datasets of episodes, the frames before are far away.
    time_s = np.cumsum(np.where(steps_s < 0.0, 2.0 * gap_s, steps_s))
    judges = time_s[part > 0]
    after = np.searchsorted(judges, time_s)
    away_s = np.minimum(
        np.abs(judges[np.minimum(after, len(judges) - 1)] - time_s),
        np.abs(time_s - judges[np.maximum(after - 1, 0)]),
    )
    return np.where((part == 0) & (away_s < gap_s), NOWHERE, part)


def by_time(
    recordings: Sequence[Recording], times_s: Sequence[np.ndarray], settings: Split
) -> list[np.ndarray]:
    """Make every frame a unit; several recordings are each split on their own."""
    if len(recordings) == 1:
        return [np.arange(len(times_s[0]))]
    # Unit k is the k-th thousandth of every recording.
    return [np.arange(len(one)) * 1000 // len(one) for one in times_s]


def by_session(
    recordings: Sequence[Recording], times_s: Sequence[np.ndarray], settings: Split
) -> list[np.ndarray]:
    """Make every recording a unit; of a single recording, every stretch between long pauses."""
    if len(recordings) > 1:
        return [np.full(len(one), i) for i, one in enumerate(times_s)]
    steps_s = np.diff(times_s[0])
    is_pause = (steps_s > settings.pause_s) | (steps_s <= 0.0)
    return [np.append(0, np.cumsum(is_pause))]


def by_episode(
    recordings: Sequence[Recording], times_s: Sequence[np.ndarray], settings: Split
) -> list[np.ndarray]:
    """Make every declared episode a unit, gaps or not; without one, every stretch without gaps."""
    units, numbers = [], {}
    for i, recording in enumerate(recordings):
        episodes = recording.center_only().episodes
        names = [(i, one.declared or k) for k, one in enumerate(episodes)]
        found = [numbers.setdefault(name, len(numbers)) for name in names]
        units.append(np.repeat(found, [len(one) for one in episodes]))
    return units


def by_place(
    recordings: Sequence[Recording], times_s: Sequence[np.ndarray], settings: Split
) -> list[np.ndarray]:
    """Make every square of the ground a unit, in the order of the first visits.

    Raises:
        ValueError: If no position is named, or a recording lacks it, in all frames or in some.
    """
    places = []
    for recording in recordings:
        known = [one.name for one in recording.quantities]
        if not settings.place:
            raise ValueError(
                f"`place` must name the numbers with the position, got none. '{recording.folder}'"
                f" has {', '.join(known) or 'no numbers'}: choose by --place, e.g. --place x y."
            )
        names = find_names("place", settings.place, known)
        where = np.stack([_numbers(recording, name) for name in names], axis=1)
        if not np.isfinite(where).all():
            raise ValueError(
                f"`place` must be numbers that every frame has, got"
                f" {int((~np.isfinite(where)).any(axis=1).sum())} frames of '{recording.folder}'"
                f" without {' or '.join(names)}. Mark those frames by data.py clean."
            )
        places.append(np.floor(where / settings.cell_size).astype(np.int64))
    together = np.concatenate(places)
    _, first, square = np.unique(together, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    ends = np.cumsum([len(one) for one in places])[:-1]
    return np.split(order[square.reshape(-1)], ends)


UNITS = {"time": by_time, "session": by_session, "episode": by_episode, "place": by_place}
"""Function that makes the units, by the value of `by`."""
NAMES = {"time": "frames", "session": "sessions", "episode": "episodes", "place": "squares"}
ADVICE = {
    "time": "Record more.",
    "session": "Name several recordings, or lower --pause-s.",
    "episode": "Name more recordings, or split --by time.",
    "place": "Lower --cell-size.",
}


def advise(recordings: Sequence[Recording], settings: Split) -> str:
    """Return how to get more units, or smaller ones."""
    if settings.by != "session":
        return ADVICE[settings.by]
    advice = "Name more recordings." if len(recordings) > 1 else ADVICE["session"]
    num_episodes = 1 + max(one.max() for one in by_episode(recordings, (), settings))
    if num_episodes >= len(PARTS):
        advice += f" Or split --by episode, of which there are {num_episodes}."
    return advice


def _times_s(recording: Recording) -> np.ndarray:
    return np.concatenate([one.time_s for one in recording.center_only().episodes])


def _numbers(recording: Recording, name: str) -> np.ndarray:
    return np.concatenate([one.numbers[name] for one in recording.center_only().episodes])


def _rows(recording: Recording, part: np.ndarray) -> dict[str, tuple]:
    ends = np.cumsum([len(one) for one in recording.center_only().episodes])[:-1]
    pieces = np.split(part, ends)
    return {
        name: find_rows(recording, [piece == i for piece in pieces]) for i, name in enumerate(PARTS)
    }


def _headings(recording: Recording) -> list[str]:
    return [f"{name}: mean ± deviation" for name in recording.actions]


def _table(recording: Recording, parts: Parts) -> list[list[str]]:
    """Return a row for each part of a recording."""
    path, rows = parts_file(recording.folder), []
    total = len(recording.center_only())
    for name in PARTS:
        part = part_of(recording, parts, name, path).center_only()
        cells = ["–"] * len(recording.actions)
        if len(part):
            values = [_numbers(part, action) for action in recording.actions]
            cells = [f"{np.nanmean(one):.3f} ± {np.nanstd(one):.3f}" for one in values]
        share = f"{100 * len(part) / total:.1f} %"
        rows.append([one_line(recording.folder.name), name, f"{len(part):,}", share, *cells])
    return rows


def _doubts(recording: Recording, parts: Parts) -> list[str]:
    """Return warnings about parts that differ from training; see `envs.recorded.likeness`."""
    path = parts_file(recording.folder)
    train, *others = (part_of(recording, parts, name, path) for name in PARTS)
    if not len(train):
        return []
    return [
        doubt
        for name, other in zip(PARTS[1:], others, strict=True)
        if len(other)
        for doubt in compare_actions(train, other, f"{name} part")
    ]
