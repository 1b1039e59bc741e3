"""Draws the bodies of the traffic into a camera's frame, the farthest first.

The faces of all bodies in view are transformed into the car's frame of reference. Faces seen from
behind are left out. Each face is filled with one shade: colour · (ambient + (1 - ambient) · max(0,
n · sun)), faded into the haze like the ground at the same distance. Parts of a face nearer than
`NEAR_M` in front of the camera are cut off.
"""

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from envs.driving.appearance import Appearance
from envs.driving.bodies import Body
from envs.driving.body_shapes import BodyShape, shape_of
from envs.driving.camera import HAZE_DISTANCE_M, HAZE_START_M, CameraGeometry, Pose
from envs.driving.car_shape import turns
from envs.driving.texture import SUBPIXEL_BITS, Image, fixed_point, scale_colour

Array = NDArray[np.float64]

NEAR_M, FAR_M = 0.3, 120.0
"""Distances along the optical axis between which bodies are drawn [m]."""
_SUN = np.array([-0.45, 0.45, 0.77])  # towards the sun, in the world's frame; length 1
_AMBIENT = 0.55
_LARGEST_PX = 30_000.0  # keeps cv2's 32-bit fixed-point coordinates from overflowing


class BodiesView:
    """Draws bodies as seen by one camera.

    Args:
        geometry: The camera.
    """

    def __init__(self, geometry: CameraGeometry) -> None:
        self.geometry = geometry
        sine, cosine = math.sin(geometry.pitch_rad), math.cos(geometry.pitch_rad)
        # From the car's frame of reference to the camera's axes: right, down and depth.
        self._turn = np.array([[0.0, -1.0, 0.0], [-sine, 0.0, -cosine], [cosine, 0.0, -sine]])
        self._eye_m = np.array([geometry.forward_m, 0.0, geometry.height_m])
        self.set_appearance(Appearance())

    def set_appearance(self, appearance: Appearance) -> None:
        """Set the light and haze for the following frames."""
        self._gain = appearance.gain
        self._haze = np.array(scale_colour(appearance.haze_rgb, appearance.gain))

    def draw(
        self,
        frame: Image,
        pose: Pose,
        bodies: Sequence[Body],
        poses: Array,
        *,
        nearest_m: float = -math.inf,
        farthest_m: float = FAR_M,
    ) -> None:
        """Draw bodies into a frame, in place.

        Args:
            frame: Frame of the camera without the bodies; changed in place.
            pose: Pose of the car with the camera.
            bodies: The bodies.
            poses: x [m], y [m] and yaw [rad] of each body, shape (bodies, 3).
            nearest_m: Least depth of a body that is drawn [m].
            farthest_m: Depth from which on bodies are not drawn [m].
        """
        drawn = self.in_view(pose, bodies, poses)
        drawn = [(index, depth_m) for index, depth_m in drawn if nearest_m <= depth_m < farthest_m]
        if not drawn:
            return
        shapes = [shape_of(bodies[index]) for index, _ in drawn]
        placed, depths_m = poses[[index for index, _ in drawn]], [depth_m for _, depth_m in drawn]
        for outline, colour in self._faces(pose, shapes, placed, np.array(depths_m)):
            cv2.fillConvexPoly(frame, outline, colour, cv2.LINE_AA, SUBPIXEL_BITS)

    def in_view(self, pose: Pose, bodies: Sequence[Body], poses: Array) -> list[tuple[int, float]]:
        """Return index and depth [m] of the bodies that may be in view, the farthest first."""
        cosine, sine = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        widest = 0.5 * self.geometry.width_px / self.geometry.focal_px
        tilt = math.cos(self.geometry.pitch_rad)
        found = []
        for i, (x_m, y_m, _) in enumerate(poses.tolist()):
            dx, dy = x_m - pose.x_m, y_m - pose.y_m
            depth_m = (cosine * dx + sine * dy - self.geometry.forward_m) * tilt
            aside_m = abs(cosine * dy - sine * dx)
            size_m = 0.5 * (bodies[i].length_m + bodies[i].width_m)
            if -size_m < depth_m < FAR_M and aside_m < widest * (depth_m + 1.0) + 1.5 * size_m:
                found.append((i, depth_m))
        return sorted(found, key=lambda one: -one[1])

    def _faces(
        self, pose: Pose, shapes: Sequence[BodyShape], placed: Array, depth_m: Array
    ) -> Iterator[tuple[NDArray[np.int32], list[float]]]:
        """Yield outline and colour of all visible faces, in drawing order.

        Args:
            pose: Pose of the car with the camera.
            shapes: Shape of each body, the farthest first.
            placed: x [m], y [m] and yaw [rad] of each body, shape (bodies, 3).
            depth_m: Depth of each body [m], shape (bodies,).
        """
        geometry = self.geometry
        faces_of = [len(shape.layers) for shape in shapes]
        which = np.repeat(np.arange(len(shapes)), faces_of)
        cosine, sine = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        dx, dy = placed[:, 0] - pose.x_m, placed[:, 1] - pose.y_m
        offset_m = np.stack(
            [cosine * dx + sine * dy, cosine * dy - sine * dx, np.zeros_like(dx)], axis=1
        )
        from_body = turns(placed[:, 2] - pose.yaw_rad)[which]
        # In the car's frame of reference; only visible corners are turned to the camera's axes.
        normals = np.matmul(from_body, np.concatenate([s.normals for s in shapes])[..., None])
        middles_m = np.matmul(from_body, np.concatenate([s.middles_m for s in shapes])[..., None])
        to_eye_m = self._eye_m - offset_m[which] - middles_m[..., 0]
        is_seen = np.einsum("ij,ij->i", normals[..., 0], to_eye_m) > 0.0
        layers = np.concatenate([shape.layers for shape in shapes])
        away = np.einsum("ij,ij->i", to_eye_m, to_eye_m)
        order = np.lexsort((-away, layers, which))
        order = order[is_seen[order]]
        corners = np.matmul(
            np.concatenate([shape.corners_m for shape in shapes])[order],
            np.matmul(self._turn, from_body[order]).transpose(0, 2, 1),
        )
        corners += ((offset_m[which[order]] - self._eye_m) @ self._turn.T)[:, None]
        colours = self._shade(
            np.concatenate([shape.colours for shape in shapes])[order],
            normals[order, :, 0],
            pose.yaw_rad,
            depth_m[which[order]],
        )
        scale = geometry.focal_px / np.maximum(corners[..., 2:], NEAR_M)
        outlines = _fixed(geometry.centre_px + corners[..., :2] * scale)
        is_cut = (corners[..., 2] < NEAR_M).any(axis=1).tolist()
        for i, (outline, colour) in enumerate(zip(outlines, colours, strict=True)):
            if is_cut[i]:
                cut = _cut_near(corners[i])
                outline = _fixed(geometry.centre_px + cut[:, :2] * geometry.focal_px / cut[:, 2:])
            if len(outline) > 2:
                yield outline, colour

    def _shade(
        self, colours: Array, normals: Array, yaw_rad: float, depth_m: Array
    ) -> list[list[float]]:
        """Return the colours of faces under the light, faded by the haze.

        Args:
            colours: Colours in full light, shape (faces, 3).
            normals: Outward normals in the frame of the car with the camera, shape (faces, 3).
            yaw_rad: Heading of that car [rad].
            depth_m: Depth of each face's body [m], shape (faces,).
        """
        light = self._gain * light_on(normals, towards_sun(yaw_rad))
        clear = np.exp(-np.maximum(depth_m - HAZE_START_M, 0.0) / HAZE_DISTANCE_M)[:, None]
        lit = np.minimum(colours * light[:, None], 255.0)
        return (clear * lit + (1.0 - clear) * self._haze).tolist()


def towards_sun(yaw_rad: float) -> Array:
    """Return the direction of the sun in the frame of a car with this heading, shape (3,)."""
    return turns(-yaw_rad) @ _SUN


def light_on(normals: Array, sun: Array) -> Array:
    """Return the light on faces, 1 in full sunlight, given their outward normals (faces, 3)."""
    return _AMBIENT + (1.0 - _AMBIENT) * np.maximum(normals @ sun, 0.0)


def _fixed(pixels: Array) -> NDArray[np.int32]:
    """Convert pixels to cv2's fixed-point numbers."""
    inside = np.minimum(np.maximum(pixels, -_LARGEST_PX), _LARGEST_PX)
    return fixed_point(inside)


def _cut_near(corners_m: Array) -> Array:
    """Return the part of a face at least `NEAR_M` deep, shape (corners, 3); maybe no corners.

    Source: Sutherland & Hodgman 1974, "Reentrant polygon clipping", with one plane.
    """
    kept = []
    for k in range(len(corners_m)):
        one, other = corners_m[k], corners_m[(k + 1) % len(corners_m)]
        if one[2] >= NEAR_M:
            kept.append(one)
        if (one[2] >= NEAR_M) != (other[2] >= NEAR_M):
            share = (NEAR_M - one[2]) / (other[2] - one[2])
            kept.append(one + share * (other - one))
    return np.array(kept).reshape(-1, 3)
