"""Statistics of inputs in good driving, to detect inputs that are far from all of them.

Each observation is summarised by a vector x of n numbers. Over good driving of the same kind, x has
a mean m and a covariance S. The distance of an observation is its Mahalanobis distance,

    d = sqrt( (x − m)ᵀ S⁻¹ (x − m) / n ),        about 1 for usual inputs.

The limit is set by drives on other roads, which the fit has not seen. For each of these drives
there is a lowest limit at which the loop would never hold or stop (`levels.tolerated`), because
inputs that are far for only a moment just slow the commands. The limit of the profile is the
quantile of these limits that a fraction `held_share` (1 %) of the drives exceeds, times a margin.
One wrong number among many, e.g. a speed in km/h, hardly changes the distance. So each observed
number also has a range: its values in all drives, widened on both sides by half of their span.

For an observation of numbers, x is the observation itself. For a frame and numbers, x holds the
numbers and then the statistics of the frame. For a frame:

| numbers                                                                | how many |
|------------------------------------------------------------------------|----------|
| grey of each block of a grid of 4 x 6, less the mean, per deviation    | 24       |
| (R − G) / (R + G + B) and (B − G) / (R + G + B) in each row of blocks  | 8        |
| log of mean, of deviation, of sharpness, of sharpness per deviation    | 4        |

Sharpness is the mean difference between neighbouring pixels: low in blurred frames, high in noise.
The least sharpness is set by all drives in the same way, and is half of the value they would need.
Swapped colours (red and blue) are detected by the ratio of two distances, of the frame as it is
and of the frame with red and blue swapped: a frame with wrong colours is nearer to good driving
after the swap, even within the limit. If it is beyond the limit after the swap, too, it must be at
most half as far. Grey frames have no colours.

Source: Lee et al. 2018 (arXiv 1807.03888), who use the distance to detect unusual inputs, there on
features of a network.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ncp_control import files
from ncp_control.contract import ObservationContract
from ncp_control.json_files import read_json, shorten
from ncp_control.loop.levels import tolerated
from ncp_control.policy.folder import MONITOR_FILE
from ncp_control.ranges import is_number
from ncp_control.records import (
    array_of,
    entries_of,
    frames_in,
    frames_part,
    numbers_in,
    record_frame,
)

_FORMAT, _MAX_BYTES = 1, 2**24
BLOCK_ROWS, BLOCK_COLUMNS = 4, 6
"""Grid of blocks of a frame."""
_KEYS = {"format_version", "mean", "covariance", "limit", "least_sharpness", "provenance"}
_RANGES = {"limit": (0.0, 1e6), "least_sharpness": (-3.0, 5.6), "swap_ratio": (1.0, 1e6)}
"""Range of each number with which inputs are compared; sharpness is from 0 to 255, plus 0.1."""
_AGAIN = "Calibrate the monitor again."
_LEAST_VARIANCE = 1e-6
_SHARPNESS = -2
"""Index of the log of sharpness among the statistics of a frame."""
_WIDENED = 0.5
"""How far a number's range goes beyond its values in good driving, as a share of their span."""


def frame_statistics(frame: np.ndarray, *, is_coloured: bool = True) -> np.ndarray:
    """Return the statistics x of a frame, shape (n,); of a stack, those of its latest frame.

    Args:
        frame: Shape (height, width, channels), uint8.
        is_coloured: Whether the last three channels are colours; if not, the last one is grey.
    """
    height, width, _ = frame.shape
    latest = frame[:, :, -3:] if is_coloured else frame[:, :, -1:]
    # Means over blocks of rows first, in one pass over the pixels.
    over_rows = _block_means(height, BLOCK_ROWS) @ latest.reshape(height, -1).astype(np.float32)
    over_rows = over_rows.reshape(BLOCK_ROWS, width, -1)
    blocks = np.einsum("rwc,kw->rkc", over_rows, _block_means(width, BLOCK_COLUMNS))
    one = latest[:, :, latest.shape[2] // 2]  # green, the sharpest of most cameras
    sharpness = float(np.abs(np.diff(one.astype(np.int16), axis=1)).mean())
    mean, deviation = float(one.mean()), float(one.std())
    grey = blocks.mean(axis=2)
    parts = [((grey - grey.mean()) / (deviation + 1.0)).ravel()]
    if is_coloured:
        bands = blocks.mean(axis=1)
        total = bands.sum(axis=1) + 1.0
        parts += [(bands[:, 0] - bands[:, 1]) / total, (bands[:, 2] - bands[:, 1]) / total]
    logs = np.log([mean + 1.0, deviation + 1.0, sharpness + 0.1])
    parts.append(np.array([*logs, logs[2] - logs[1]]))
    # The second last number is the log of sharpness.
    return np.concatenate(parts).astype(np.float64)


def has_colours(observation: ObservationContract) -> bool:
    """True for an observation with colour frames, single or stacked.

    A stack of three grey frames has three channels as well, so the contract decides.
    """
    frames = frames_part(observation)
    if frames is None or frames.colour == "grey":
        return False
    return frames.shape[2] % (3 * frames.view.stack) == 0


def swap_colours(statistics: np.ndarray) -> np.ndarray:
    """Return the statistics of colour frames after swapping red and blue, shape (…, n)."""
    swapped, logs = statistics.copy(), statistics.shape[-1] - 4
    red, blue = slice(logs - 2 * BLOCK_ROWS, logs - BLOCK_ROWS), slice(logs - BLOCK_ROWS, logs)
    swapped[..., red], swapped[..., blue] = statistics[..., blue], statistics[..., red]
    return swapped


def block_ends(size: int, blocks: int) -> np.ndarray:
    """Return begin and end of each of equal parts of an axis, shape (blocks, 2), int."""
    edges = np.linspace(0, size, blocks + 1).round().astype(int)
    return np.stack([edges[:-1], np.maximum(edges[1:], edges[:-1] + 1)], axis=1)


@cache
def _block_means(size: int, blocks: int) -> np.ndarray:
    """Return the matrix (blocks, size) that averages over equal parts of an axis."""
    weights = np.zeros((blocks, size), np.float32)
    for i, (first, stop) in enumerate(block_ends(size, blocks)):
        weights[i, first:stop] = 1.0 / (stop - first)
    return weights


def statistics_of(observation: np.ndarray, seen: ObservationContract) -> np.ndarray:
    """Return the statistics x of an observation, shape (n,); see the module.

    Args:
        observation: A frame, numbers, or a record.
        seen: Contract of the observation.
    """
    if frames_part(seen) is None:
        return np.atleast_1d(observation).astype(np.float64)
    is_coloured, shape = has_colours(seen), record_frame(seen)
    if shape is None:
        return frame_statistics(observation, is_coloured=is_coloured)
    numbers = numbers_in(observation, shape).astype(np.float64)
    of_frame = frame_statistics(frames_in(observation, shape), is_coloured=is_coloured)
    return np.concatenate([numbers, of_frame])


def first_outside(numbers: np.ndarray, limits: np.ndarray) -> int | None:
    """Return the index of the first number that is outside of its limits; None if none is.

    Args:
        numbers: Shape (numbers,).
        limits: Lowest and highest value of each number, shape (numbers, 2).
    """
    outside = (numbers < limits[:, 0]) | (numbers > limits[:, 1])
    return int(outside.argmax()) if outside.any() else None


class SeenDrive(NamedTuple):
    """Statistics of the observations of a drive, or of a part of a drive."""

    numbers: np.ndarray
    """Statistics of each observation, shape (time, n); see `statistics_of`."""
    time_s: np.ndarray
    """Time of each observation [s], shape (time,), increasing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InputProfile:
    """Statistics of inputs in good driving.

    Raises:
        ValueError: If mean and covariance differ in size, or a number is not finite or out of its
            range.
    """

    mean: np.ndarray
    """Mean of each number of x, shape (n,)."""
    covariance: np.ndarray
    """Covariance of x, shape (n, n)."""
    limit: float
    """Distance beyond which an input is far from good driving."""
    least_sharpness: float | None = None
    """Log of sharpness below which a frame is blurred; None for observations without frames."""
    swap_ratio: float | None = None
    """Largest allowed ratio, at least 1, of a frame's distance to its distance with red and blue
    swapped; None if it was not calibrated or the frames have no colours."""
    number_ranges: np.ndarray | None = None
    """Range of each observed number in good driving, shape (numbers, 2); None if it was not
    calibrated."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """How the profile was made: driving, frames, distances on other roads, margin."""

    def __post_init__(self) -> None:
        size = len(self.mean)
        is_whole = self.mean.ndim == 1 and self.covariance.shape == (size, size)
        if not is_whole or not (
            np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()
        ):
            raise ValueError(
                f"`mean` and `covariance` must be finite and of one size, got {self.mean.shape} and"
                f" {self.covariance.shape}. {_AGAIN}"
            )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None or name == "limit":
                _check_within(name, value, low, high)
        ranges = self.number_ranges
        if ranges is not None and not (np.isfinite(ranges).all() and (np.diff(ranges) >= 0).all()):
            raise ValueError(
                f"`number_ranges` must be finite and from low to high, got {ranges.tolist()}."
                f" {_AGAIN}"
            )

    @cached_property
    def whitening(self) -> np.ndarray:
        """Lower triangular matrix W, shape (n, n), with which the distance is |W (x − m)|."""
        return np.linalg.inv(np.linalg.cholesky(self.covariance)) / np.sqrt(len(self.mean))

    def check_observations(self, observation: ObservationContract) -> None:
        """Raise ValueError if the profile is not of these observations."""
        shape, dtype = array_of(observation)
        size = len(statistics_of(np.zeros(shape, dtype), observation))
        ranges, num_numbers = self.number_ranges, len(entries_of(observation))
        if len(self.mean) != size or (ranges is not None and len(ranges) != num_numbers):
            told = "" if ranges is None else f" and {len(ranges)} ranges"
            raise ValueError(
                f"`profile` must be of the policy's observations, got {len(self.mean)} numbers"
                f"{told}. Calibrate the monitor of this policy."
            )

    def missed_faults(self, observation: ObservationContract) -> list[str]:
        """Return which faults of these observations were not calibrated, in words."""
        missed = []
        if self.least_sharpness is None and frames_part(observation) is not None:
            missed.append("blurred frames")
        if self.swap_ratio is None and has_colours(observation):
            missed.append("wrong colours of frames that are near to good driving")
        if self.number_ranges is None and entries_of(observation):
            missed.append("one unusual number among many")
        return missed

    def distance(self, statistics: np.ndarray) -> float:
        """Return the distance of an observation from good driving, given its statistics (n,)."""
        return float(self.distances(statistics[None])[0])

    def distances(self, statistics: np.ndarray) -> np.ndarray:
        """Return the distances, shape (time,), of statistics of shape (time, n)."""
        return np.linalg.norm((statistics - self.mean) @ self.whitening.T, axis=1)

    @classmethod
    def fit(
        cls,
        fitted: Sequence[SeenDrive],
        held_out: Sequence[SeenDrive],
        seen: ObservationContract,
        *,
        margin: float = 1.25,
        held_share: float = 0.01,
        provenance: dict[str, Any] | None = None,
    ) -> "InputProfile":
        """Fit a profile.

        Args:
            fitted: Drives that give mean and covariance.
            held_out: Drives on other roads, which set the limit.
            seen: Contract of the observations.
            margin: Factor on the limit found from the held-out drives.
            held_share: Fraction of the held-out drives in which the loop would hold if the margin
                were 1, from 0 to below 1; interpolated between drives.
            provenance: Description of the driving, stored in the profile.
        """
        numbers = np.concatenate([drive.numbers for drive in fitted])
        covariance = np.cov(numbers, rowvar=False).reshape(numbers.shape[1], -1)
        covariance += np.diag(np.maximum(_LEAST_VARIANCE, 1e-4 * np.diag(covariance)))
        profile = cls(mean=numbers.mean(axis=0), covariance=covariance, limit=1.0)
        distances = [profile.distances(drive.numbers) for drive in held_out]
        usual = _usual(distances, held_out, held_share)
        sharpness = ratio = None
        drives = [*fitted, *held_out]
        if frames_part(seen) is not None:  # the limit is half as sharp as the least sharp frames
            blurs = [-drive.numbers[:, _SHARPNESS] for drive in drives]
            sharpness = -_usual(blurs, drives, held_share) - float(np.log(2.0))
        if has_colours(seen):
            swapped = [profile.distances(swap_colours(drive.numbers)) for drive in held_out]
            ratios = [one / (other + 1e-9) for one, other in zip(distances, swapped, strict=True)]
            ratio = max(margin * _usual(ratios, held_out, held_share), 1.0)
        size = len(entries_of(seen))
        low = np.min([drive.numbers[:, :size].min(axis=0) for drive in drives], axis=0)
        high = np.max([drive.numbers[:, :size].max(axis=0) for drive in drives], axis=0)
        room = _WIDENED * (high - low) + 1e-6 * np.maximum(np.abs(low), np.abs(high)) + 1e-9
        largest = max(float(one.max()) for one in distances)
        found = {"usual_distance": round(usual, 4), "largest_distance": round(largest, 4),
                 "margin": margin, "held_share": held_share,
                 "observations": len(numbers) + sum(map(len, distances))}  # fmt: skip
        return cls(
            mean=profile.mean,
            covariance=covariance,
            limit=margin * usual,
            least_sharpness=sharpness,
            swap_ratio=ratio,
            number_ranges=np.stack([low - room, high + room], axis=1),
            provenance={**(provenance or {}), **found},
        )

    def save(self, folder: Path | str) -> Path:
        """Write the profile into the folder of a policy and return its file."""
        lower = [row[: i + 1] for i, row in enumerate(self.covariance)]
        values = {
            "format_version": _FORMAT,
            "limit": self.limit,
            "least_sharpness": self.least_sharpness,
            "swap_ratio": self.swap_ratio,
            "number_ranges": _listed(self.number_ranges),
            "provenance": self.provenance,
            "mean": _rounded(self.mean),
            "covariance": [_rounded(row) for row in lower],
        }
        path = Path(folder) / MONITOR_FILE
        files.write_file(path, json.dumps(values, allow_nan=False) + "\n")
        return path

    @classmethod
    def load(cls, folder: Path | str) -> "InputProfile | None":
        """Read the profile from the folder of a policy; None if there is none.

        Raises:
            ValueError: If the file is damaged, or of another format version.
        """
        path = Path(folder) / MONITOR_FILE
        if not path.is_file():
            return None
        try:
            values = read_json(path, max_bytes=_MAX_BYTES)
            if not isinstance(values, dict) or not _KEYS <= values.keys():
                raise ValueError(f"no JSON object with {', '.join(sorted(_KEYS))}")
            if (version := values["format_version"]) != _FORMAT:
                raise ValueError(f"format version {shorten(version)}, not {_FORMAT}")
            mean, rows = _numbers(values["mean"]), [_numbers(row) for row in values["covariance"]]
            if [len(row) for row in rows] != list(range(1, len(mean) + 1)):
                raise ValueError(f"a covariance that is not of {len(mean)} numbers")
            covariance = np.zeros((len(mean), len(mean)))
            for i, row in enumerate(rows):
                covariance[i, : i + 1] = covariance[: i + 1, i] = row
            profile = cls(
                mean=mean,
                covariance=covariance,
                limit=values["limit"],
                least_sharpness=values["least_sharpness"],
                swap_ratio=values.get("swap_ratio"),
                number_ranges=_ranges(values.get("number_ranges")),
                provenance={**values["provenance"]},
            )
            profile.distance(mean)  # fails unless the covariance is positive definite
            return profile
        except (ValueError, TypeError, np.linalg.LinAlgError) as error:
            found = str(error).removesuffix(f". {_AGAIN}")[:200]
            raise ValueError(
                f"{path} must be what the calibration of a monitor writes, got {found}. Calibrate"
                " again, in a clone of ncp-control: python scripts/monitor.py calibrate."
            ) from error


def _check_within(name: str, value: Any, low: float, high: float) -> None:
    """Raise ValueError unless `value` is a number from `low` to `high`."""
    if not (is_number(value) and low <= value <= high):
        raise ValueError(
            f"`{name}` must be a number from {low:g} to {high:g}, got {shorten(value)}. {_AGAIN}"
        )


def _usual(values: Sequence[np.ndarray], drives: Sequence[SeenDrive], held_share: float) -> float:
    """Return the limit that is too low for a fraction `held_share` of the drives."""
    limits = [tolerated(one, drive.time_s) for one, drive in zip(values, drives, strict=True)]
    return float(np.quantile(limits, 1.0 - held_share))


def _numbers(values: Any) -> np.ndarray:
    """Return a list of a JSON file as an array, shape (n,).

    Raises:
        ValueError: If it is not a list of numbers; texts are none.
    """
    if not isinstance(values, list) or not all(map(is_number, values)):
        raise ValueError(f"{shorten(values)} instead of a list of finite numbers")
    return np.array(values, np.float64)


def _listed(ranges: np.ndarray | None) -> list[list[float]] | None:
    return None if ranges is None else [_rounded(one) for one in ranges]


def _ranges(values: Any) -> np.ndarray | None:
    if values is None:
        return None
    return np.array([_numbers(pair) for pair in values], np.float64).reshape(-1, 2)


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.7g}") for value in values]
