"""Shapes of the bodies on the road, made of flat faces.

A car is a box with a cabin, wheels and lamps; a person is a box with a head. Faces are as in
`car_shape.py`: in the body's frame of reference (x forward, y left, z up) [m], in layers.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.driving.appearance import Colour
from envs.driving.bodies import Body
from envs.driving.car_shape import GLASS_RGB, LAMP_RGB, TYRE_RGB, Face

Array = NDArray[np.float64]

HEADLAMP_RGB: Colour = (250.0, 246.0, 222.0)
SKIN_RGB: Colour = (206.0, 164.0, 134.0)
TROUSERS_RGB: Colour = (52.0, 56.0, 70.0)
SHADOW_RGB: Colour = (34.0, 34.0, 36.0)
_SHADOW, _BODY, _ON_BODY, _UPPER = range(4)  # layers, drawn in this order
_VAN_HEIGHT_M = 1.8


class BodyShape(NamedTuple):
    """The faces of a body as arrays.

    Fields:
        corners_m: Four corners of each face, shape (faces, 4, 3) [m].
        middles_m: Middle of each face, shape (faces, 3) [m].
        normals: Outward normal of each face, shape (faces, 3).
        colours: Colour of each face in full sunlight, shape (faces, 3).
        layers: Layer of each face, shape (faces,).
    """

    corners_m: Array
    middles_m: Array
    normals: Array
    colours: Array
    layers: NDArray[np.int64]


def shape_of(body: Body) -> BodyShape:
    """Return the shape of a body."""
    if body.kind == "person":
        return _person(body.length_m, body.width_m, body.height_m, body.colour)
    return _car(body.length_m, body.width_m, body.height_m, body.colour)


@lru_cache(maxsize=256)
def _car(length_m: float, width_m: float, height_m: float, colour: Colour) -> BodyShape:
    half_m, side_m = 0.5 * length_m, 0.5 * width_m
    is_van = height_m > _VAN_HEIGHT_M
    belt_m = 0.5 * height_m if is_van else 0.6 * height_m
    faces = [
        _shadow(half_m + 0.1, side_m + 0.12),
        *_block(_BODY, half_m, side_m, (0.22, belt_m), colour),
    ]
    # The cabin stands on the body and is shorter at both ends.
    back_m = -half_m + (0.02 if is_van else 0.08 * length_m)
    front_m = half_m - (0.12 if is_van else 0.26) * length_m
    roof_back_m, roof_front_m = back_m + (0.0 if is_van else 0.35), front_m - 0.6
    roof_side_m = side_m - (0.05 if is_van else 0.16)
    bottom = _ring(back_m, front_m, side_m - 0.04, belt_m)
    top = _ring(roof_back_m, roof_front_m, roof_side_m, height_m)
    for k, corners in enumerate(_walls(bottom, top)):
        is_painted = is_van and k != 1  # only the windscreen of a van is glass
        faces.append(Face(_UPPER, corners, colour if is_painted else GLASS_RGB))
    faces.append(Face(_UPPER, top, colour))
    for sense, lamp in ((1.0, HEADLAMP_RGB), (-1.0, LAMP_RGB)):
        for left_m in (side_m - 0.42, -side_m + 0.06):
            lamps = _upright(sense * (half_m + 0.01), left_m, left_m + 0.36, 0.48, 0.68)
            faces.append(Face(_ON_BODY, lamps[:: int(sense)], lamp))
    for x_m in (0.31 * length_m, -0.31 * length_m):
        for sense in (1.0, -1.0):
            wheel = _beside(x_m, sense * (side_m + 0.01))
            faces.append(Face(_ON_BODY, wheel[:: int(sense)], TYRE_RGB))
    return _as_shape(faces)


@lru_cache(maxsize=256)
def _person(length_m: float, width_m: float, height_m: float, colour: Colour) -> BodyShape:
    half_m, side_m = 0.5 * length_m, 0.5 * width_m
    hip_m, neck_m = 0.48 * height_m, 0.84 * height_m
    faces = [
        _shadow(half_m + 0.1, side_m + 0.05),
        *_block(_BODY, 0.3 * length_m, 0.8 * side_m, (0.0, hip_m), TROUSERS_RGB),
        *_block(_ON_BODY, half_m, side_m, (hip_m, neck_m), colour),
        *_block(_UPPER, 0.1, 0.1, (neck_m, height_m), SKIN_RGB),
    ]
    return _as_shape(faces)


def _as_shape(faces: list[Face]) -> BodyShape:
    corners = np.stack([face.corners_m for face in faces])
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return BodyShape(
        corners_m=corners,
        middles_m=corners.mean(axis=1),
        normals=normals,
        colours=np.array([face.colour for face in faces]),
        layers=np.array([face.layer for face in faces]),
    )


def _ring(back_m: float, front_m: float, side_m: float, up_m: float) -> Array:
    """Return a horizontal rectangle, anticlockwise seen from above, starting at the rear right."""
    return np.array(
        [(back_m, -side_m, up_m), (front_m, -side_m, up_m), (front_m, side_m, up_m),
         (back_m, side_m, up_m)]
    )  # fmt: skip


def _shadow(half_m: float, side_m: float) -> Face:
    return Face(_SHADOW, _ring(-half_m, half_m, side_m, 0.01), SHADOW_RGB)


def _walls(bottom: Array, top: Array) -> list[Array]:
    """Return the four sides between two horizontal rectangles, the right one first."""
    return [np.stack([bottom[k], bottom[(k + 1) % 4], top[(k + 1) % 4], top[k]]) for k in range(4)]


def _block(
    layer: int, half_m: float, side_m: float, z_m: tuple[float, float], colour: Colour
) -> list[Face]:
    """Return the sides and the top of a block of this half length and half width."""
    bottom, top = (_ring(-half_m, half_m, side_m, up_m) for up_m in z_m)
    walls = [Face(layer, wall, colour) for wall in _walls(bottom, top)]
    return [*walls, Face(layer, top, colour)]


def _upright(x_m: float, right_m: float, left_m: float, low_m: float, high_m: float) -> Array:
    """Return a vertical rectangle across the car that faces forward."""
    return np.array(
        [(x_m, right_m, low_m), (x_m, left_m, low_m), (x_m, left_m, high_m), (x_m, right_m, high_m)]
    )


def _beside(x_m: float, y_m: float) -> Array:
    """Return the outer side of a wheel that faces left."""
    return np.array(
        [(x_m + 0.3, y_m, 0.0), (x_m - 0.3, y_m, 0.0), (x_m - 0.3, y_m, 0.6), (x_m + 0.3, y_m, 0.6)]
    )
