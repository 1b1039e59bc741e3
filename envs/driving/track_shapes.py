"""Random closed tracks: control polygons of drivable splines, drawn from one seed.

A star-shaped polygon with strongly varying radii gives left and right corners. Its edges are
divided at random intervals: short ones make tight corners, long ones straights. Where the spline
would bend too tightly, its control points are pulled towards their neighbours. A track that is
still unsuitable (wrong length, one-sided, too close to itself) is discarded and drawn again from
the same generator, so one seed gives one track.
"""

import numpy as np
from numpy.typing import NDArray

from envs.driving.spline import SplineSamples, sample_spline, spline_curvature

Array = NDArray[np.float64]

LENGTH_RANGE_M = (300.0, 600.0)
POLYGON_LENGTH_RANGE_M = (430.0, 680.0)  # relaxing the corners shortens it by about a fifth
EXTENT_LIMIT_M = 180.0  # fits the ground of texture.py with a margin on every side
MIN_CLEARANCE_M = 16.0  # between stretches that are not neighbours: four lane widths
MIN_SHARE_OF_EACH_TURN = 0.15  # of the length, with a curvature above 1 / 100 m to each side
MAX_ATTEMPTS = 200  # about one in six tracks is suitable

_CHECK_SPACING_M = 2.0
_CURVATURE_SAMPLES = 10  # per spline segment
_RELAX_STEPS = 60


def draw_control_points(rng: np.random.Generator, min_radius_m: float) -> Array:
    """Draw the control polygon of a drivable closed track.

    Args:
        rng: Generator to draw from.
        min_radius_m: Tightest radius of the centre line [m].

    Returns:
        Control points [m], shape (points, 2), counter-clockwise, centred on the origin.

    Raises:
        ValueError: If no track of the wanted length was found with this radius.
    """
    for _ in range(MAX_ATTEMPTS):
        tightest_m = min_radius_m * rng.uniform(1.0, 1.3)
        control_points_m = _relax_corners(_draw_polygon(rng), tightest_m)
        if control_points_m is None:
            continue
        samples = sample_spline(control_points_m, _CHECK_SPACING_M)
        if _is_suitable(samples):
            centre_x_m = 0.5 * (samples.x_m.min() + samples.x_m.max())
            centre_y_m = 0.5 * (samples.y_m.min() + samples.y_m.max())
            return control_points_m - np.array([centre_x_m, centre_y_m])
    raise ValueError(
        f"`min_radius_m` must be small enough for a {LENGTH_RANGE_M[0]:.0f} to "
        f"{LENGTH_RANGE_M[1]:.0f} m track, got {min_radius_m!r}. Use about 12."
    )


def _draw_polygon(rng: np.random.Generator) -> Array:
    num_corners = int(rng.integers(8, 13))
    angle = (np.arange(num_corners) + rng.uniform(-0.3, 0.3, num_corners)) * 2 * np.pi / num_corners
    radius = rng.uniform(0.25, 1.0, num_corners)
    corners = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    edges = np.roll(corners, -1, axis=0) - corners
    scale = rng.uniform(*POLYGON_LENGTH_RANGE_M) / np.linalg.norm(edges, axis=1).sum()
    points = []
    for corner, edge in zip(scale * corners, scale * edges, strict=True):
        num_parts = max(1, round(np.linalg.norm(edge) / rng.uniform(10.0, 22.0)))
        points.extend(corner + edge * part / num_parts for part in range(num_parts))
    return np.array(points)


def _relax_corners(control_points_m: Array, tightest_m: float) -> Array | None:
    """Pull control points inwards where the spline is too tight; None if it stays too tight."""
    parameter = np.arange(len(control_points_m) * _CURVATURE_SAMPLES) / _CURVATURE_SAMPLES
    points = control_points_m
    for _ in range(_RELAX_STEPS):
        curvature = np.abs(spline_curvature(points, parameter)).reshape(-1, _CURVATURE_SAMPLES)
        of_segment = curvature.max(axis=1)
        of_point = np.maximum(of_segment, np.roll(of_segment, 1))
        is_tight = of_point > 1.0 / tightest_m
        if not is_tight.any():
            return points
        between = 0.5 * (np.roll(points, 1, axis=0) + np.roll(points, -1, axis=0))
        points = np.where(is_tight[:, None], 0.5 * (points + between), points)
    return None


def _is_suitable(samples: SplineSamples) -> bool:
    extent_m = max(np.ptp(samples.x_m), np.ptp(samples.y_m))
    share_right = np.mean(samples.curvature_1pm < -0.01)
    share_left = np.mean(samples.curvature_1pm > 0.01)
    return bool(
        LENGTH_RANGE_M[0] <= samples.length_m <= LENGTH_RANGE_M[1]
        and extent_m <= EXTENT_LIMIT_M
        and min(share_left, share_right) >= MIN_SHARE_OF_EACH_TURN
        and clearance_m(samples) >= MIN_CLEARANCE_M
    )


def clearance_m(samples: SplineSamples) -> float:
    """Return the smallest distance [m] between stretches that are not neighbours.

    Two points are neighbours if the distance between them along the curve is at most twice
    `MIN_CLEARANCE_M`: a bend brings such points together without the track touching itself.
    """
    spacing_m = samples.length_m / len(samples.x_m)
    index = np.arange(len(samples.x_m))
    apart = np.abs(index[:, None] - index)
    apart_m = np.minimum(apart, len(index) - apart) * spacing_m
    distance_m = np.hypot(samples.x_m[:, None] - samples.x_m, samples.y_m[:, None] - samples.y_m)
    return float(distance_m[apart_m > 2.0 * MIN_CLEARANCE_M].min())
