"""Observations and targets for a policy, made from the rows of a time series.

Only the training part is used to fit means, ranges, the list of columns with gaps, and the classes.
A missing number is replaced by the last known one, or by the training mean before the first known
one; an extra input is 1 while the value is missing. Rows without a target are kept, since a policy
sees their inputs, but do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from envs.recorded.columns import split_title
from envs.series import LARGEST, TimeSeries
from ncp_control.contract import ActionContract, Entry, VectorContract

MAX_CLASSES = 100
"""Largest number of classes; each class takes one output."""
MARGIN = 1.5
"""Range of a forecast, as a multiple of the training range about its middle. Forecasts outside it
are clipped."""


@dataclass(frozen=True, kw_only=True)
class SeriesRows:
    """Observations and targets of one series."""

    name: str
    """Name of the series."""
    time_s: np.ndarray
    """Time of the target since the first row [s], float64."""
    file: str
    """Name of the file of the series."""
    lines: np.ndarray
    """Number of the target's line in the file, from 1."""
    times: np.ndarray
    """Time of the target as it is written in the file, str."""
    observations: np.ndarray
    """Inputs, float32 of shape (rows, inputs)."""
    wanted: np.ndarray
    """Scaled targets, or the number of the class, float32 of shape (rows, targets). Where one is
    unknown, the last known one of the same column stands in for it, or 0 before the first."""
    is_labelled: np.ndarray
    """True for rows whose targets are all known, bool of shape (rows,)."""
    dt_s: np.ndarray
    """Time since the previous row [s], float32; the usual time for the first row."""
    last_known: np.ndarray
    """Last known scaled targets at each row, NaN before the first: shape (rows, targets). If the
    target is in the same row (`rows_ahead` 0), the row's own target does not count as known."""

    def __len__(self) -> int:
        return len(self.observations)

    def labelled(self) -> "SeriesRows":
        """Return the rows whose targets are known; `dt_s` stays that of all rows."""
        arrays = {
            name: value[self.is_labelled]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        return replace(self, **arrays)


@dataclass(frozen=True, kw_only=True)
class RowCoder:
    """Converts series into rows for a policy. Build one with `fit`."""

    inputs: tuple[str, ...]
    """Columns that the policy observes."""
    targets: tuple[str, ...]
    """Columns to forecast, or the one column of classes."""
    rows_ahead: int
    """Number of rows between an observation and its target."""
    means: dict[str, float]
    """Training mean of each input."""
    with_gaps: tuple[str, ...]
    """Inputs with missing values in the training part."""
    middle: np.ndarray
    """Middle of each target's range."""
    reach: np.ndarray
    """Distance from the middle at which the scaled target is 1."""
    classes: tuple[str, ...]
    """Names of the classes; empty for a forecast."""
    frame_s: float
    """Usual time between two rows [s]."""

    @classmethod
    def fit(
        cls,
        training: Sequence[TimeSeries],
        inputs: Sequence[str],
        targets: Sequence[str],
        rows_ahead: int,
        *,
        has_classes: bool,
    ) -> "RowCoder":
        """Fit means, ranges, gaps and classes to the training part.

        Args:
            training: The series, or their first parts.
            inputs: Columns to observe. If empty: all columns of numbers, without the targets if
                `rows_ahead` is 0.
            targets: Columns of the targets.
            rows_ahead: Number of rows between an observation and its target.
            has_classes: Whether the target is a class.

        Raises:
            ValueError: If a column does not exist or holds no numbers, or a target never changes.
        """
        names = _observed_columns(training, inputs, targets, rows_ahead)
        if sum(map(len, training)) < 2:
            raise ValueError("`data` must have at least two rows in the training part, got one.")
        joined = {name: np.concatenate([one.columns[name] for one in training]) for name in names}
        for name, values in joined.items():
            if not _is_numeric(values):
                raise ValueError(
                    f"`inputs` must hold numbers, got none in the column {name!r} of the training"
                    " part. Leave it out."
                )
        wanted = {name: np.concatenate([one.columns[name] for one in training]) for name in targets}
        classes = _classes_in(wanted) if has_classes else ()
        middle, reach = (np.empty(0), np.empty(0)) if has_classes else _spans_of(wanted)
        steps_s = np.concatenate([np.diff(one.time_s) for one in training])
        return cls(
            inputs=names,
            targets=tuple(targets),
            rows_ahead=rows_ahead,
            means={name: float(np.nanmean(values)) for name, values in joined.items()},
            with_gaps=tuple(name for name, v in joined.items() if not np.isfinite(v).all()),
            middle=middle,
            reach=reach,
            classes=classes,
            frame_s=float(np.median(steps_s)) if len(steps_s) else 1.0,
        )

    @property
    def observation(self) -> VectorContract:
        """Contract of the observation: the inputs, and a flag for each input with gaps."""
        named = _named(self.inputs)
        entries = [Entry(name=name, unit=unit) for name, unit in named.values()]
        gaps = [
            Entry(name=f"{named[title][0]} missing", range=(0.0, 1.0)) for title in self.with_gaps
        ]
        return VectorContract(entries=(*entries, *gaps))

    @property
    def action(self) -> tuple[ActionContract, ...]:
        """Contract of the action: the scaled forecasts, or the class."""
        if self.classes:
            return (ActionContract(name=self.targets[0], choices=self.classes),)
        ahead = f" {self.rows_ahead} rows ahead" if self.rows_ahead else ""
        scales = zip(self.middle.tolist(), self.reach.tolist(), strict=True)
        return tuple(
            ActionContract(name=f"{name}{ahead}", unit=unit, scale=scale)
            for (name, unit), scale in zip(_named(self.targets).values(), scales, strict=True)
        )

    def unknown_classes(self, parts: Sequence[TimeSeries]) -> list[str]:
        """Return the classes that occur in some series but not in the training part."""
        if not self.classes:
            return []
        found = {str(name) for one in parts for name in one.columns[self.targets[0]]}
        return sorted(found - {"", *self.classes})

    def unscale(self, actions: np.ndarray) -> np.ndarray:
        """Return forecasts in the units of their columns, shape (..., targets)."""
        return self.middle + self.reach * actions

    def rows(self, series: TimeSeries) -> SeriesRows:
        """Return the rows of a series, without those whose target is after its end."""
        values = np.stack([self._filled(series, name) for name in self.inputs], axis=1)
        gaps = [~np.isfinite(series.columns[name]) for name in self.with_gaps]
        observations = np.column_stack([values, *gaps]).astype(np.float32)
        targets = self._target_values(series)
        ahead = min(self.rows_ahead, len(series))
        wanted = targets[ahead:]
        time_s = series.time_s[: len(wanted)]
        known = (
            targets if ahead else np.concatenate([np.full_like(targets[:1], np.nan), targets[:-1]])
        )
        return SeriesRows(
            name=series.name,
            time_s=series.time_s[ahead:],
            file=series.file,
            lines=series.lines[ahead:],
            times=series.times[ahead:],
            observations=observations[: len(wanted)],
            wanted=np.nan_to_num(_carried(wanted)).astype(np.float32),
            is_labelled=np.all(np.isfinite(wanted), axis=1),
            dt_s=np.diff(time_s, prepend=time_s[:1] - self.frame_s).astype(np.float32),
            last_known=_carried(known)[: len(wanted)],
        )

    def _filled(self, series: TimeSeries, name: str) -> np.ndarray:
        """Return a column with missing values replaced, see the module's docstring."""
        carried = _carried(series.columns[name])
        return np.where(np.isfinite(carried), carried, self.means[name])

    def _target_values(self, series: TimeSeries) -> np.ndarray:
        """Return scaled targets or numbers of classes at each row, NaN where unknown."""
        if self.classes:
            numbers = {name: float(i) for i, name in enumerate(self.classes)}
            return np.array([[numbers.get(n, np.nan)] for n in series.columns[self.targets[0]]])
        values = np.stack([series.columns[name] for name in self.targets], axis=1)
        return (values - self.middle) / self.reach


def _is_numeric(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool(np.isfinite(values).any())


def _carried(values: np.ndarray) -> np.ndarray:
    """Replace missing values by the last known one of their column; NaN before the first."""
    if values.ndim == 2:
        return np.stack([_carried(column) for column in values.T], axis=1)
    rows = np.where(np.isfinite(values), np.arange(len(values)), -1)
    last = np.maximum.accumulate(rows) if len(rows) else rows
    return np.where(last >= 0, values[last], np.nan)


def _observed_columns(
    training: Sequence[TimeSeries],
    inputs: Sequence[str],
    targets: Sequence[str],
    rows_ahead: int,
) -> tuple[str, ...]:
    """Return the columns to observe, see `inputs` of `RowCoder.fit`."""
    hidden = set(targets) if rows_ahead == 0 else set()
    columns = training[0].columns
    observed = tuple(inputs) or tuple(
        name
        for name in columns
        if name not in hidden and any(_is_numeric(one.columns[name]) for one in training)
    )
    for setting, names in (("inputs", observed), ("target", targets)):
        for name in names:
            if name not in columns:
                raise ValueError(
                    f"`{setting}` must name columns of the data, got {name!r}, not one of"
                    f" {sorted(columns)}."
                )
    leaked = [name for name in observed if name in hidden]
    if leaked:
        raise ValueError(
            f"`inputs` must not name a target that is to be told at the same row, got {leaked}."
            " Leave it out, or forecast it."
        )
    if not observed:
        raise ValueError("`inputs` must name a column that is seen, got none. Name some.")
    return observed


def _classes_in(wanted: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return the sorted names of the classes of a target."""
    ((name, values),) = wanted.items()
    classes = tuple(sorted(set(values.tolist()) - {""}))
    if len(classes) < 2:
        raise ValueError(
            f"`target` must have at least two classes in the training part, got {list(classes)} in"
            f" {name!r}."
        )
    if len(classes) > MAX_CLASSES:
        raise ValueError(
            f"`target` must have at most {MAX_CLASSES} classes, got {len(classes)} in {name!r}."
            " Forecast a column of numbers instead."
        )
    return classes


def _spans_of(wanted: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return middle and reach of each target: forecasts may be within middle ± reach."""
    for name, values in wanted.items():
        if not _is_numeric(values):
            raise ValueError(
                f"`target` must hold numbers up to {LARGEST:g} to be forecast, got none in the"
                f" column {name!r} of the training part. Scale it, or classify it with --task"
                " classify."
            )
    ends = np.array([(np.nanmin(values), np.nanmax(values)) for values in wanted.values()])
    middle, reach = ends.mean(axis=1), MARGIN * np.ptp(ends, axis=1) / 2.0
    if not (reach > 0.0).all():
        name = list(wanted)[int(np.argmin(reach))]
        raise ValueError(
            f"`target` must change in the training part, got a column {name!r} that does not. Name"
            " another."
        )
    return middle, reach


def _named(titles: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return name and unit by title of a column: of `speed [m/s]` they are speed and m/s.

    Titles stay whole where two columns would have the same name.
    """
    split = [split_title(title) for title in titles]
    if len({name for name, _ in split}) < len(split):
        split = [(title, None) for title in titles]
    return {title: (name, unit or "") for title, (name, unit) in zip(titles, split, strict=True)}
