"""Closed uniform cubic B-splines in the plane, sampled evenly by arc length.

The curve is SciPy's `BSpline` over the control polygon, wrapped around. It is C2 everywhere, so
heading and curvature are continuous, and by the variation-diminishing property it never turns
more often than its control polygon does.

    heading   ψ = atan2(y', x')
    curvature κ = (x'y'' - y'x'') / (x'² + y'²)^{3/2}        positive to the left [1/m]

Source: de Boor, "A Practical Guide to Splines", 1978, chapter IX.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

Array = NDArray[np.float64]

# Two Gauss points a cell integrate the arc length to fourth order in the cell width.
GAUSS_OFFSETS = 0.5 + np.array([-0.5, 0.5]) / np.sqrt(3.0)
CELLS_PER_SEGMENT = 64


class SplineSamples(NamedTuple):
    """Closed curve at equal steps of arc length; the last sample is one step before the first.

    Fields:
        x_m, y_m: Positions [m], shape (samples,).
        heading_rad: Direction of travel [rad], unwrapped: one lap adds ±2π.
        curvature_1pm: Signed curvature [1/m], positive to the left.
        length_m: Length of one lap [m].
    """

    x_m: Array
    y_m: Array
    heading_rad: Array
    curvature_1pm: Array
    length_m: float


def evaluate_spline(control_points_m: Array, parameter: Array, derivative: int = 0) -> Array:
    """Evaluate the closed B-spline or one of its derivatives.

    Args:
        control_points_m: Control polygon [m], shape (points, 2), points >= 4.
        parameter: Knot parameter, shape (n,); periodic, with one unit for each control point.
        derivative: Order of the derivative with respect to the parameter: 0, 1 or 2.

    Returns:
        Points or derivatives, shape (n, 2).
    """
    num_points = len(control_points_m)
    knots = np.arange(-3, num_points + 4)
    # Control point j weighs most at knot j, the middle of the four segments that it affects.
    wrapped = control_points_m[np.arange(-1, num_points + 2) % num_points]
    # SciPy's type stub accepts only booleans here.
    spline = BSpline(knots, wrapped, 3, extrapolate="periodic")  # type: ignore[arg-type]
    return spline(parameter, nu=derivative)


def spline_curvature(control_points_m: Array, parameter: Array) -> Array:
    """Return the signed curvature [1/m] at the given knot parameters, shape (n,)."""
    velocity = evaluate_spline(control_points_m, parameter, derivative=1)
    acceleration = evaluate_spline(control_points_m, parameter, derivative=2)
    cross = velocity[:, 0] * acceleration[:, 1] - velocity[:, 1] * acceleration[:, 0]
    return cross / np.sum(velocity * velocity, axis=1) ** 1.5


def sample_spline(control_points_m: Array, spacing_m: float) -> SplineSamples:
    """Sample a closed B-spline at equal steps of arc length.

    Args:
        control_points_m: Control polygon [m], shape (points, 2), points >= 4.
        spacing_m: Wanted step [m]; the lap is divided into the nearest whole number of steps.

    Returns:
        The samples, in the order of the control polygon.
    """
    num_cells = len(control_points_m) * CELLS_PER_SEGMENT
    edges = np.arange(num_cells + 1) / CELLS_PER_SEGMENT
    gauss = (edges[:-1, None] + GAUSS_OFFSETS / CELLS_PER_SEGMENT).ravel()
    rate = np.linalg.norm(evaluate_spline(control_points_m, gauss, derivative=1), axis=1)
    cell_length_m = rate.reshape(-1, 2).mean(axis=1) / CELLS_PER_SEGMENT
    edge_arc_m = np.concatenate([[0.0], np.cumsum(cell_length_m)])
    length_m = float(edge_arc_m[-1])

    num_samples = max(round(length_m / spacing_m), 8)
    arc_m = np.arange(num_samples) * (length_m / num_samples)
    parameter = np.interp(arc_m, edge_arc_m, edges)
    # Linear interpolation is second order; one Newton step with the arc length from the cell's
    # left edge (its rate taken half-way) brings the samples to within micrometres of even.
    cell = np.minimum((parameter * CELLS_PER_SEGMENT).astype(np.int64), num_cells - 1)
    middle = 0.5 * (edges[cell] + parameter)
    middle_rate = np.linalg.norm(evaluate_spline(control_points_m, middle, derivative=1), axis=1)
    parameter = edges[cell] + (arc_m - edge_arc_m[cell]) / middle_rate

    points = evaluate_spline(control_points_m, parameter)
    velocity = evaluate_spline(control_points_m, parameter, derivative=1)
    return SplineSamples(
        x_m=points[:, 0],
        y_m=points[:, 1],
        heading_rad=np.unwrap(np.arctan2(velocity[:, 1], velocity[:, 0])),
        curvature_1pm=spline_curvature(control_points_m, parameter),
        length_m=length_m,
    )
