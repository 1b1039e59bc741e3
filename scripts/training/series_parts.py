"""The training, validation and test parts of time series."""

import hashlib
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from envs.series import USUAL_STEPS, TimeSeries
from scripts.training.series_settings import Series

PARTS = ("train", "validation", "test")
Parts = dict[str, list[TimeSeries]]


def cut(series: Sequence[TimeSeries], settings: Series) -> Parts:
    """Split every series in time, or assign whole series to the parts in their given order."""
    ends = (settings.train_share, settings.train_share + settings.validation_share, 1.0)
    parts: Parts = {name: [] for name in PARTS}
    if settings.split == "series":
        if len(series) < len(PARTS):
            raise ValueError(
                f"`split` must be 'time' for fewer than {len(PARTS)} series, got {len(series)}."
                " Name the column that tells them apart with --series."
            )
        # At least one series for each part.
        first = min(max(round(ends[0] * len(series)), 1), len(series) - 2)
        second = min(max(round(ends[1] * len(series)), first + 1), len(series) - 1)
        bounds = (0, first, second, len(series))
        for name, (begin, end) in zip(PARTS, pairwise(bounds), strict=True):
            parts[name] += series[begin:end]
        return parts
    for one in series:
        bounds = [0, *(round(end * len(one)) for end in ends)]
        for name, (begin, end) in zip(PARTS, pairwise(bounds), strict=True):
            parts[name].append(one[begin:end])
    return parts


def cut_at_gaps(parts: Parts, max_gap_s: float | None, rows_ahead: int) -> list[str]:
    """Cut the series of each part in place where time jumps; return a sentence if any was cut.

    Args:
        parts: The series of each part.
        max_gap_s: See the settings. If None: `USUAL_STEPS` times the median step of all series.
        rows_ahead: Number of rows between an observation and its target.
    """
    limit = f"{USUAL_STEPS:g} times the usual step" if max_gap_s is None else f"{max_gap_s:g} s"
    if max_gap_s is None:
        steps_s = np.concatenate([np.diff(one.time_s) for part in parts.values() for one in part])
        max_gap_s = USUAL_STEPS * float(np.median(steps_s)) if len(steps_s) else math.inf
    gaps_s, num_lost = list[float](), 0
    for part in parts.values():
        cut_at = [one.pieces(max_gap_s) for one in part]
        gaps_s += [
            later.time_s[0] - earlier.time_s[-1]
            for pieces in cut_at
            for earlier, later in pairwise(pieces)
        ]
        num_lost += sum(min(rows_ahead, len(one)) for pieces in cut_at for one in pieces[:-1])
        part[:] = [piece for pieces in cut_at for piece in pieces]
    if not gaps_s:
        return []
    return [
        f"series are cut where time jumps by more than {limit} (count: {len(gaps_s)}, longest:"
        f" {max(gaps_s):g} s). Nothing is forecast across such gaps, so {num_lost:,} rows have no"
        " target; --max-gap-s sets the limit"
    ]


def digest_of(series: Sequence[TimeSeries]) -> str:
    """Return the SHA-256 of names, times and cells."""
    digest = hashlib.sha256()
    for one in series:
        digest.update(f"{one.name} {len(one)} {list(one.columns)}".encode())
        for values in (one.time_s, *one.columns.values()):
            digest.update(values.tobytes())
    return digest.hexdigest()
