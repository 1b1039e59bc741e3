"""Cut the rows of the UCI sets into windows for training, validation and testing.

The `publish_…` functions follow the code published with the LTC paper (arXiv 2006.04439), with its
defects. The `correct…` functions split by time or by people, with no row in two parts. See
`uci_sets`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scripts.reproduction.data_files import moments
from scripts.reproduction.uci_data import CURRENT, DataTable

SHARES = {"validation": 0.1, "test": 0.15}
SHARES_IN_TIME = ("training", "validation", "test")
SPLIT_SEED = 23489
OCCUPANCY_SEED = HAR_SEED = 893429
PERSON_SEED = 27731


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Inputs and targets of the models, and the rows of each part's windows."""

    inputs: np.ndarray
    """Inputs, standardised if the split does so, shape (rows, width)."""
    targets: np.ndarray
    """Class or standardised number to predict, shape (rows,)."""
    rows: dict[str, np.ndarray]
    """Rows of each part's windows, shape (windows, time)."""


def cut(pieces: tuple[slice, ...], window: int, stride: int) -> np.ndarray:
    """Return the rows of all windows, which start at 0, stride, … < length − window per piece."""
    starts = [
        np.arange(piece.start, piece.stop - window, stride)
        for piece in pieces
        if piece.stop - piece.start > window
    ]
    if not starts:
        raise ValueError(
            f"`data` must hold more than {window} rows in a part of a stretch, got at most"
            f" {max(piece.stop - piece.start for piece in pieces)}. Give the whole data set."
        )
    return np.concatenate(starts)[:, None] + np.arange(window)


def shuffled(windows: np.ndarray, seed: int, num_validation: int, num_test: int) -> dict:
    """Return the windows of each part, in the random order of the published code."""
    order = np.random.RandomState(seed).permutation(len(windows))
    validation, test, training = np.split(order, [num_validation, num_validation + num_test])
    return {
        "training": windows[training],
        "validation": windows[validation],
        "test": windows[test],
    }


def in_shares(windows: np.ndarray, seed: int = SPLIT_SEED) -> dict[str, np.ndarray]:
    """Return 10 % of the windows for validation, 15 % for testing, the rest for training."""
    sizes = [int(share * len(windows)) for share in SHARES.values()]
    return shuffled(windows, seed, *sizes)


def standardised(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return (values − mean) / deviation, both over `rows`; missing values become 0."""
    mean, deviation = moments(values[rows])
    return np.nan_to_num((values - mean) / deviation)


def publish_gesture(table: DataTable) -> Prepared:
    """Return windows of 32 rows, 16 apart, up to the last whole 32 rows of a file."""
    whole = tuple(
        slice(piece.start, piece.start + (piece.stop - piece.start) // 32 * 32 + 1)
        for piece in table.pieces
    )
    windows = cut(whole, 32, 16)
    inputs = standardised(table.inputs, windows.ravel())
    return Prepared(inputs=inputs, targets=table.targets, rows=in_shares(windows))


def publish_occupancy(table: DataTable) -> Prepared:
    """Return windows of 16 rows: 1 apart in the first file, 8 apart in the two test files."""
    first, *others = table.pieces
    windows = cut((first,), 16, 1)
    rows = shuffled(windows, OCCUPANCY_SEED, int(SHARES["validation"] * len(windows)), 0)
    inputs = standardised(table.inputs, np.arange(first.start, first.stop))
    rows["test"] = cut(tuple(others), 16, 8)
    return Prepared(inputs=inputs, targets=table.targets, rows=rows)


def publish_traffic(table: DataTable) -> Prepared:
    """Return windows of 32 hours, 4 apart; of the inputs, only the temperature is centred."""
    inputs = table.inputs.copy()
    inputs[:, 0] = 0.0  # the published code compares the words with None
    inputs[:, 1] -= inputs[:, 1].mean()
    rows = in_shares(cut(table.pieces, 32, 4))
    everything = np.arange(len(inputs))
    return Prepared(inputs=inputs, targets=standardised(table.targets, everything), rows=rows)


def publish_ozone(table: DataTable) -> Prepared:
    """Return sequences with one day of all windows: the axes are swapped."""
    inputs = np.nan_to_num(table.inputs)
    inputs = (inputs - inputs.mean()) / inputs.std()
    rows = in_shares(np.ascontiguousarray(cut(table.pieces, 32, 4).T))
    return Prepared(inputs=inputs, targets=table.targets, rows=rows)


def publish_har(table: DataTable) -> Prepared:
    """Return windows of 16 rows, also across people: 1 apart for training, 8 apart for testing."""
    middle = table.pieces[-table.num_to_test].start
    windows = cut((slice(0, middle),), 16, 1)
    rows = shuffled(windows, HAR_SEED, int(SHARES["validation"] * len(windows)), 0)
    rows["test"] = cut((slice(middle, len(table.inputs)),), 16, 8)
    return Prepared(inputs=table.inputs, targets=table.targets, rows=rows)


def publish_person(table: DataTable) -> Prepared:
    """Return windows of 32 rows, 16 apart, of all recordings but the last; raw inputs."""
    windows = cut(table.pieces[:-1], 32, 16)
    return Prepared(
        inputs=table.inputs, targets=table.targets, rows=in_shares(windows, PERSON_SEED)
    )


def publish_power(table: DataTable) -> Prepared:
    """Return windows of 32 minutes without overlap; missing values repeat the one before."""
    values = np.concatenate([table.targets[:, None], table.inputs], axis=1)
    # In the published code, the values before the first row are 0, 1, 2, …
    values = np.concatenate([np.arange(values.shape[1], dtype=float)[None], values])
    places = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    values = np.take_along_axis(values, np.maximum.accumulate(places), axis=0)[1:]
    values = standardised(values, np.arange(len(values)))
    rows = in_shares(cut(table.pieces, 32, 32))
    return Prepared(inputs=values[:, 1:], targets=values[:, 0], rows=rows)


def correct_by_people(table: DataTable, *, window: int, stride: int) -> Prepared:
    """Split by people: no person is in two parts.

    The dataset's own test people are for testing, or else the last fifth of the people. Of the
    others, the last tenth, at least one person, are for validation.

    Args:
        table: The data set.
        window: Number of rows of a window, all from one recording of a person.
        stride: Rows from one training window to the next; windows of other parts do not overlap.
    """
    held = table.groups[-table.num_to_test :] if table.num_to_test else ()
    people = [one for one in dict.fromkeys(table.groups) if one not in held]
    test = list(dict.fromkeys(held))
    if not test:
        num_test = max(len(people) // 5, 1)
        people, test = people[:-num_test], people[-num_test:]
    num_validation = max(len(people) // 10, 1)
    if len(people) <= num_validation:
        raise ValueError(
            f"`data` must hold at least 3 people, got {len({*table.groups})}. Give the whole set."
        )
    chosen = {
        "training": people[:-num_validation],
        "validation": people[-num_validation:],
        "test": test,
    }
    pieces = {
        part: [p for p, who in zip(table.pieces, table.groups, strict=True) if who in names]
        for part, names in chosen.items()
    }
    return _in_parts(table, pieces, window, stride)


def correct_power(table: DataTable) -> Prepared:
    """Split by time, without minutes that lack measurements, and without the current."""
    is_known = np.isfinite(table.targets)
    ends = np.cumsum(
        [int(share * len(is_known)) for share in (1 - sum(SHARES.values()), SHARES["validation"])]
    )
    pieces = {}
    for part, rows in zip(SHARES_IN_TIME, np.split(np.arange(len(is_known)), ends), strict=True):
        known = rows[is_known[rows]]
        runs = np.split(known, np.flatnonzero(np.diff(known) != 1) + 1)
        pieces[part] = [slice(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
    inputs = table.inputs.copy()
    inputs[:, CURRENT] = 0.0
    return _in_parts(replace(table, inputs=inputs), pieces, 32, 32)


def correct(table: DataTable, *, window: int, stride: int, is_by_file: bool = False) -> Prepared:
    """Split every piece by time; see `uci_sets`.

    Args:
        table: The data set.
        window: Number of rows of a window.
        stride: Rows from one training window to the next; windows of other parts do not overlap.
        is_by_file: Whether the first piece is for training and validation, the others for testing.
    """
    parts: dict[str, list[slice]] = {"training": [], "validation": [], "test": []}
    num_cut = 1 if is_by_file else len(table.pieces)
    for piece in table.pieces[:num_cut]:
        length = piece.stop - piece.start
        end = piece.stop - (0 if is_by_file else int(SHARES["test"] * length))
        middle = end - int(SHARES["validation"] * length)
        parts["training"].append(slice(piece.start, middle))
        parts["validation"].append(slice(middle, end))
        parts["test"].append(slice(end, piece.stop))
    if is_by_file:
        parts["test"] = list(table.pieces[1:])
    return _in_parts(table, parts, window, stride)


def _in_parts(
    table: DataTable, parts: Mapping[str, Sequence[slice]], window: int, stride: int
) -> Prepared:
    """Cut windows within the pieces of each part, and standardise by the training rows."""
    training = np.concatenate([np.arange(part.start, part.stop) for part in parts["training"]])
    rows = {
        name: cut(
            tuple(slice(one.start, one.stop + 1) for one in part),
            window,
            stride if name == "training" else window,
        )
        for name, part in parts.items()
    }
    is_number = table.targets.dtype.kind == "f"
    return Prepared(
        inputs=standardised(table.inputs, training),
        targets=standardised(table.targets, training) if is_number else table.targets,
        rows=rows,
    )


def correct_traffic(table: DataTable) -> Prepared:
    """Split by time, without rows that repeat the hour before with other weather."""
    # Rows of the same hour are consecutive and have the same hour of the week.
    is_new = np.diff(table.aside, prepend=-1.0) != 0.0
    kept = replace(
        table,
        inputs=table.inputs[is_new],
        targets=table.targets[is_new],
        aside=table.aside[is_new],
        pieces=(slice(0, int(is_new.sum())),),
    )
    prepared = correct(kept, window=32, stride=4)
    places = np.flatnonzero(is_new)
    inputs, targets = (
        np.zeros((len(is_new), *values.shape[1:])) for values in (prepared.inputs, prepared.targets)
    )
    inputs[is_new], targets[is_new] = prepared.inputs, prepared.targets
    rows = {name: places[windows] for name, windows in prepared.rows.items()}
    return Prepared(inputs=inputs, targets=targets, rows=rows)
