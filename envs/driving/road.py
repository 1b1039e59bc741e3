"""Closed roads: seeded tracks, their centre line by arc length, and places of cars on them.

A road is a spline (`spline.py`) sampled every quarter of a metre. Between samples it is
approximated by the circle with the curvature κ of the nearest sample. If a point has the offset
(a, b) from that sample, along and to the left of its heading, the point's place on the road is

    Δs = atan2(κ a, 1 - κ b) / κ,      d = (1 - sqrt((κ a)² + (1 - κ b)²)) / κ

which tends to (a, b) as κ → 0. `frame_at` and `point_at` invert this with the same circle.

Tracks are numbered. The three ranges are disjoint, so no policy is tested on a track used to train
it or to choose its checkpoint. Half of the tracks, drawn by their seed, are driven in the opposite
direction, so that left and right turns balance.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.driving.spline import sample_spline
from envs.driving.track_shapes import draw_control_points

Array = NDArray[np.float64]

TRAIN_TRACKS = range(0, 10_000)
"""Numbers of the tracks for training."""
VALIDATION_TRACKS = range(10_000, 11_000)
"""Numbers of the tracks for choosing checkpoints."""
HELD_OUT_TRACKS = range(20_000, 30_000)
"""Numbers of the tracks for testing; no policy is trained or chosen on them."""

MIN_RADIUS_M = 12.0
SAMPLE_SPACING_M = 0.25
STRAIGHT_1PM = 1e-6  # below this curvature, the circle equals a line up to rounding


class RoadPoint(NamedTuple):
    """Place of a point on a road.

    Fields:
        arc_length_m: Distance along the centre line from its start [m], in [0, length).
        lateral_m: Offset from the centre line [m], positive to the left.
    """

    arc_length_m: float
    lateral_m: float


class Road:
    """Closed road, given by the control polygon of its centre line.

    Args:
        control_points_m: Control polygon of the closed B-spline [m], shape (points, 2), in the
            direction of travel.

    Attributes:
        length_m: Length of one lap [m].
        spacing_m: Distance between samples [m].
        x_m, y_m: Centre line [m], shape (samples,).
        heading_rad: Direction of travel [rad], unwrapped, shape (samples,).
        curvature_1pm: Curvature [1/m], positive to the left, shape (samples,).

    Raises:
        ValueError: If the control points are not at least four finite points in the plane.
    """

    def __init__(self, control_points_m: ArrayLike) -> None:
        points = np.asarray(control_points_m, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 4:
            raise ValueError(
                f"`control_points_m` must be at least 4 points (x, y), got shape {points.shape!r}. "
                "Give an array of shape (points, 2)."
            )
        if not np.isfinite(points).all():
            raise ValueError(
                f"`control_points_m` must be finite, got {points[~np.isfinite(points)][0]!r}. "
                "Remove the points that are not."
            )
        samples = sample_spline(points, SAMPLE_SPACING_M)
        self.x_m, self.y_m = samples.x_m, samples.y_m
        self.heading_rad = samples.heading_rad
        self.curvature_1pm = samples.curvature_1pm
        self.length_m = samples.length_m
        self.spacing_m = samples.length_m / len(samples.x_m)
        # Indexing a list of floats is several times faster than indexing an array, and `project`
        # runs in every control step.
        self._x_list: list[float] = self.x_m.tolist()
        self._y_list: list[float] = self.y_m.tolist()
        self._heading_list: list[float] = self.heading_rad.tolist()
        self._curvature_list: list[float] = self.curvature_1pm.tolist()

    @classmethod
    def from_seed(cls, seed: int, *, min_radius_m: float = MIN_RADIUS_M) -> "Road":
        """Draw a random road; the same seed gives the same road.

        Args:
            seed: Number of the track, >= 0.
            min_radius_m: Tightest radius of the centre line [m], > 0.

        Returns:
            A road of 300 to 600 m that does not touch itself, with turns in both directions.

        Raises:
            ValueError: If `seed` is negative or `min_radius_m` is not positive or too large.
        """
        if seed < 0:
            raise ValueError(f"`seed` must be >= 0, got {seed!r}. Number tracks from 0.")
        if not min_radius_m > 0.0:
            raise ValueError(
                f"`min_radius_m` must be > 0, got {min_radius_m!r}. Use about {MIN_RADIUS_M:.0f}."
            )
        rng = np.random.default_rng(seed)
        control_points_m = draw_control_points(rng, min_radius_m)
        return cls(control_points_m[::-1] if rng.random() < 0.5 else control_points_m)

    def project(self, x_m: float, y_m: float, near: float | None = None) -> RoadPoint:
        """Find the place of a point on the road.

        Args:
            x_m: x of the point [m].
            y_m: y of the point [m].
            near: Arc length [m] to start a local search from, e.g. the car's last place; None
                searches the whole road.

        Returns:
            Arc length and signed lateral offset [m].
        """
        num_samples = len(self._x_list)
        if near is None:
            squared = (self.x_m - x_m) ** 2 + (self.y_m - y_m) ** 2
            index = int(np.argmin(squared))
        else:
            index = self._descend(x_m, y_m, round(near / self.spacing_m) % num_samples)
        heading, curvature = self._heading_list[index], self._curvature_list[index]
        dx, dy = x_m - self._x_list[index], y_m - self._y_list[index]
        cosine, sine = math.cos(heading), math.sin(heading)
        along_m, left_m = cosine * dx + sine * dy, cosine * dy - sine * dx
        if abs(curvature) > STRAIGHT_1PM:
            forward, inward = curvature * along_m, 1.0 - curvature * left_m
            step_m = math.atan2(forward, inward) / curvature
            # (1 - r²) / (1 + r) = 1 - r, without the cancellation of nearly equal numbers.
            squared = forward * forward + inward * inward
            excess = 2.0 * left_m - curvature * (along_m * along_m + left_m * left_m)
            left_m = excess / (1.0 + math.sqrt(squared))
        else:
            step_m = along_m
        return RoadPoint((index * self.spacing_m + step_m) % self.length_m, left_m)

    def _descend(self, x_m: float, y_m: float, index: int) -> int:
        """Return the locally nearest sample, searched from a given sample."""
        xs, ys, num_samples = self._x_list, self._y_list, len(self._x_list)
        best = (xs[index] - x_m) ** 2 + (ys[index] - y_m) ** 2
        for direction in (1, -1):
            start = index
            while True:
                candidate = (index + direction) % num_samples
                squared = (xs[candidate] - x_m) ** 2 + (ys[candidate] - y_m) ** 2
                if squared >= best:
                    break
                index, best = candidate, squared
            if index != start:
                break
        return index

    def frame_at(self, arc_length_m: ArrayLike) -> tuple[Array, Array, Array, Array]:
        """Return position, heading and curvature of the centre line.

        Args:
            arc_length_m: Distances along the road [m], any shape, taken modulo the road's length.

        Returns:
            x [m], y [m], heading [rad] and curvature [1/m], each of the given shape.
        """
        arc_m = np.asarray(arc_length_m, dtype=np.float64) % self.length_m
        nearest = np.rint(arc_m / self.spacing_m)
        step_m = arc_m - nearest * self.spacing_m
        index = nearest.astype(np.int64) % len(self.x_m)
        heading, curvature = self.heading_rad[index], self.curvature_1pm[index]
        # A chord of the circle points half-way between the headings at its ends.
        half_turn = 0.5 * curvature * step_m
        chord_m = step_m * np.sinc(half_turn / np.pi)
        x_m = self.x_m[index] + chord_m * np.cos(heading + half_turn)
        y_m = self.y_m[index] + chord_m * np.sin(heading + half_turn)
        return x_m, y_m, heading + 2.0 * half_turn, curvature

    def point_at(self, arc_length_m: ArrayLike, lateral_m: ArrayLike = 0.0) -> tuple[Array, Array]:
        """Return the points at given arc lengths and lateral offsets; the inverse of `project`.

        Args:
            arc_length_m: Distances along the road [m], any shape.
            lateral_m: Offsets from the centre line [m], positive to the left.

        Returns:
            x [m] and y [m], of the broadcast shape.
        """
        x_m, y_m, heading, _ = self.frame_at(arc_length_m)
        offset_m = np.asarray(lateral_m, dtype=np.float64)
        return x_m - offset_m * np.sin(heading), y_m + offset_m * np.cos(heading)

    def curvature_at(self, arc_length_m: float) -> float:
        """Return the curvature [1/m] of the nearest sample, positive to the left."""
        index = round(arc_length_m / self.spacing_m) % len(self._curvature_list)
        return self._curvature_list[index]

    def heading_at(self, arc_length_m: float) -> float:
        """Return the direction of travel [rad] at an arc length [m], unwrapped."""
        nearest = round(arc_length_m / self.spacing_m)
        index = nearest % len(self._heading_list)
        step_m = arc_length_m - nearest * self.spacing_m
        return self._heading_list[index] + step_m * self._curvature_list[index]


@lru_cache(maxsize=256)
def make_road(track: int, min_radius_m: float = MIN_RADIUS_M) -> Road:
    """Return the road of a track number; roads are cached.

    Roads are read-only in use, so environments share them; 256 take about 25 MB.
    """
    return Road.from_seed(track, min_radius_m=min_radius_m)
