"""Low-polygon car for images: flat faces in the car's frame (x forward, y left, z up) [m].

The body and the cabin are lofts: cross-sections at a few stations along the car, joined by
quadrilaterals. The wheels are prisms. Faces have layers, which are drawn in order for a camera
above the car; within a layer, the farthest face comes first. The simulated car is
`car_chassis.xml`.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.driving.appearance import Colour

Array = NDArray[np.float64]

PAINT_RGB: Colour = (196.0, 44.0, 36.0)
GLASS_RGB: Colour = (38.0, 46.0, 56.0)
TYRE_RGB: Colour = (30.0, 30.0, 32.0)
RIM_RGB: Colour = (168.0, 172.0, 178.0)
LAMP_RGB: Colour = (255.0, 60.0, 40.0)
PLATE_RGB: Colour = (235.0, 235.0, 225.0)
BUMPER_RGB: Colour = (58.0, 58.0, 62.0)

WHEEL_RADIUS_M, WHEEL_WIDTH_M, WHEEL_SIDES = 0.30, 0.20, 18

# Rows: station x, half width, bottom z, top z [m].
_BODY = (
    (-1.80, 0.70, 0.34, 0.80),
    (-1.70, 0.78, 0.26, 0.90),
    (-0.90, 0.82, 0.22, 0.94),
    (0.90, 0.82, 0.22, 0.92),
    (1.60, 0.78, 0.24, 0.80),
    (1.82, 0.64, 0.32, 0.62),
)
# Rows: station x, half width at the bottom and at the roof, top z. The bottom is on the body.
_CABIN = (
    (-1.62, 0.70, 0.68, 0.93),
    (-1.15, 0.74, 0.58, 1.40),
    (0.10, 0.74, 0.58, 1.44),
    (0.95, 0.72, 0.66, 0.92),
)
_CABIN_BOTTOM_M = 0.90


# Layers: the body hides the wheels except their outer sides, and the cabin stands on the body.
_WHEELS, _PAINT, _ON_PAINT, _ROOF = range(4)


class Face(NamedTuple):
    """A flat face.

    Fields:
        layer: Layer of the face; drawn after all lower layers.
        corners_m: Corners, anticlockwise seen from outside, shape (n, 3) [m].
        colour: Colour in full sunlight.
    """

    layer: int
    corners_m: Array
    colour: Colour


def car_faces(wheelbase_m: float, track_width_m: float, steer_rad: float) -> list[Face]:
    """Return the faces of a car.

    Args:
        wheelbase_m: Distance between the axles [m].
        track_width_m: Distance between the wheels of an axle [m].
        steer_rad: Angle of the front wheels [rad], positive to the left.

    Returns:
        Faces in no particular order; the car is closed except for its underside.
    """
    faces = [*_body_faces(), *_cabin_faces(), *_tail_faces()]
    for x_m, angle_rad in ((0.5 * wheelbase_m, steer_rad), (-0.5 * wheelbase_m, 0.0)):
        for side in (-1.0, 1.0):
            centre_m = np.array([x_m, 0.5 * side * track_width_m, WHEEL_RADIUS_M])
            faces += _wheel_faces(centre_m, angle_rad)
    return faces


def turns(angle_rad: ArrayLike) -> Array:
    """Return the rotation matrices about the vertical, shape (…, 3, 3)."""
    matrices = np.zeros((*np.shape(angle_rad), 3, 3))
    matrices[..., 0, 0] = matrices[..., 1, 1] = np.cos(angle_rad)
    matrices[..., 1, 0] = np.sin(angle_rad)
    matrices[..., 0, 1] = -matrices[..., 1, 0]
    matrices[..., 2, 2] = 1.0
    return matrices


def _body_faces() -> list[Face]:
    sections = []
    for x_m, half_m, bottom_m, top_m in _BODY:
        belt_m = 0.45 * bottom_m + 0.55 * top_m  # the body is widest at this height
        outline = [
            (half_m * 0.93, bottom_m),
            (half_m, belt_m),
            (half_m * 0.92, top_m),
            (-half_m * 0.92, top_m),
            (-half_m, belt_m),
            (-half_m * 0.93, bottom_m),
        ]
        sections.append(np.array([(x_m, y_m, z_m) for y_m, z_m in outline]))
    faces = []
    for rear, front in pairwise(sections):
        for k in range(len(rear) - 1):
            corners = np.stack([rear[k], rear[k + 1], front[k + 1], front[k]])
            faces.append(Face(_PAINT, corners, PAINT_RGB))
    faces.append(Face(_PAINT, sections[0][::-1], PAINT_RGB))
    faces.append(Face(_PAINT, sections[-1], PAINT_RGB))
    return faces


def _cabin_faces() -> list[Face]:
    sections = []
    for x_m, bottom_half_m, roof_half_m, top_m in _CABIN:
        outline = [
            (bottom_half_m, _CABIN_BOTTOM_M),
            (roof_half_m, top_m),
            (-roof_half_m, top_m),
            (-bottom_half_m, _CABIN_BOTTOM_M),
        ]
        sections.append(np.array([(x_m, y_m, z_m) for y_m, z_m in outline]))
    faces = []
    for station, (rear, front) in enumerate(pairwise(sections)):
        for k in range(3):
            is_roof = station == 1 and k == 1
            corners = np.stack([rear[k], rear[k + 1], front[k + 1], front[k]])
            faces.append(Face(_ROOF, corners, PAINT_RGB if is_roof else GLASS_RGB))
    return faces


def _tail_faces() -> list[Face]:
    """Return lamps, plate and bumper, which lie just behind the body."""

    def upright(left_m: float, right_m: float, bottom_m: float, top_m: float) -> Array:
        x_m = -1.82
        corners = [(left_m, bottom_m), (right_m, bottom_m), (right_m, top_m), (left_m, top_m)]
        return np.array([(x_m, y_m, z_m) for y_m, z_m in corners])

    return [
        Face(_ON_PAINT, upright(0.63, 0.40, 0.62, 0.76), LAMP_RGB),
        Face(_ON_PAINT, upright(-0.40, -0.63, 0.62, 0.76), LAMP_RGB),
        Face(_ON_PAINT, upright(0.24, -0.24, 0.58, 0.69), PLATE_RGB),
        Face(_ON_PAINT, upright(0.66, -0.66, 0.34, 0.46), BUMPER_RGB),
    ]


def _wheel_faces(centre_m: Array, steer_rad: float) -> list[Face]:
    angle = np.linspace(0.0, 2.0 * math.pi, WHEEL_SIDES, endpoint=False)
    circle = np.stack([np.cos(angle), np.zeros_like(angle), -np.sin(angle)], axis=1)
    half_m = np.array([0.0, 0.5 * WHEEL_WIDTH_M, 0.0])
    turn = turns(steer_rad)

    def placed(corners: Array) -> Array:
        return corners @ turn.T + centre_m

    faces = []
    for k in range(WHEEL_SIDES):
        a, b = WHEEL_RADIUS_M * circle[k], WHEEL_RADIUS_M * circle[(k + 1) % WHEEL_SIDES]
        tread = np.stack([a - half_m, b - half_m, b + half_m, a + half_m])
        faces.append(Face(_WHEELS, placed(tread), TYRE_RGB))
    is_left = centre_m[1] > 0.0
    for radius_m, colour, beyond in ((WHEEL_RADIUS_M, TYRE_RGB, 1.0), (0.19, RIM_RGB, 1.05)):
        left_side = placed(radius_m * circle + beyond * half_m)
        right_side = placed(radius_m * circle[::-1] - beyond * half_m)
        outer, inner = (left_side, right_side) if is_left else (right_side, left_side)
        faces += [Face(_ON_PAINT, outer, colour), Face(_WHEELS, inner, colour)]
    return faces
