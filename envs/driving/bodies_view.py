"""Draws the bodies of the traffic into a camera's picture, the farthest first.

The faces of all bodies in view are turned into the car's frame, those seen from behind are left
out, and each is filled in one shade: colour · (ambient + (1 - ambient) · max(0, n · sun)), faded
into the haze as the ground at its body's distance is. What reaches behind the camera is cut off at
`NEAR_M` in front of it.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from envs.driving.appearance import Appearance
from envs.driving.bodies import Body
from envs.driving.body_shapes import shape_of
from envs.driving.camera import HAZE_DISTANCE_M, HAZE_START_M, CameraGeometry, Pose
from envs.driving.texture import Image, scale_colour

Array = NDArray[np.float64]

NEAR_M, FAR_M = 0.3, 120.0
"""Distances along the optical axis between which bodies are drawn [m]."""
_SUN = np.array([-0.45, 0.45, 0.77])  # towards the sun, in the world's frame; length 1
_AMBIENT = 0.55
_SUBPIXEL_BITS = 4
_LARGEST_PX = 30_000.0  # cv2 takes 32 bits with the bits below a pixel


class BodiesView:
    """Draws bodies as one camera sees them.

    Args:
        geometry: The camera.
    """

    def __init__(self, geometry: CameraGeometry) -> None:
        self.geometry = geometry
        sine, cosine = math.sin(geometry.pitch_rad), math.cos(geometry.pitch_rad)
        # From the car's frame to right, down and depth of the camera.
        self._turn = np.array([[0.0, -1.0, 0.0], [-sine, 0.0, -cosine], [cosine, 0.0, -sine]])
        self._eye_m = np.array([geometry.forward_m, 0.0, geometry.height_m])
        self.set_appearance(Appearance())

    def set_appearance(self, appearance: Appearance) -> None:
        """Draw in another light from now on."""
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
            frame: What the camera sees without them.
            pose: Where the car with the camera stands.
            bodies: The bodies.
            poses: x [m], y [m] and yaw [rad] of each, shape (bodies, 3).
            nearest_m: Least depth of those that are drawn [m].
            farthest_m: Their depth is less than this [m].
        """
        for index, depth_m in self.in_view(pose, bodies, poses):
            if nearest_m <= depth_m < farthest_m:
                self._draw_body(frame, pose, bodies[index], poses[index].tolist(), depth_m)

    def in_view(self, pose: Pose, bodies: Sequence[Body], poses: Array) -> list[tuple[int, float]]:
        """Return number and depth [m] of the bodies that may be seen, the farthest first."""
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

    def _draw_body(
        self, frame: Image, pose: Pose, body: Body, placed: list[float], depth_m: float
    ) -> None:
        shape, geometry = shape_of(body), self.geometry
        x_m, y_m, yaw_rad = placed
        relative_rad = yaw_rad - pose.yaw_rad
        cosine, sine = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        dx, dy = x_m - pose.x_m, y_m - pose.y_m
        ahead_m, left_m = cosine * dx + sine * dy, cosine * dy - sine * dx
        turned, aside = math.cos(relative_rad), math.sin(relative_rad)
        from_body = np.array([[turned, -aside, 0.0], [aside, turned, 0.0], [0.0, 0.0, 1.0]])
        offset_m = np.array([ahead_m, left_m, 0.0])
        # In the body's frame, where the normals are.
        to_eye_m = (self._eye_m - offset_m) @ from_body - shape.middles_m
        is_seen = np.einsum("ij,ij->i", shape.normals, to_eye_m) > 0.0
        seen = np.flatnonzero(is_seen)
        if not len(seen):
            return
        nearness = np.einsum("ij,ij->i", to_eye_m[seen], to_eye_m[seen])
        seen = seen[np.lexsort((-nearness, shape.layers[seen]))]
        corners = shape.corners_m[seen] @ (self._turn @ from_body).T
        corners += self._turn @ (offset_m - self._eye_m)
        colours = self._shade(shape.colours[seen], shape.normals[seen], yaw_rad, depth_m)
        depths_m = corners[..., 2]
        centre_u, centre_v = geometry.centre_px
        if depths_m.min() >= NEAR_M:
            scale = geometry.focal_px / depths_m
            pixels = np.stack(
                [centre_u + corners[..., 0] * scale, centre_v + corners[..., 1] * scale], axis=-1
            )
            outlines = list(_fixed(pixels))
        else:
            outlines = []
            for one in corners:
                cut = _cut_near(one)
                scale = geometry.focal_px / cut[:, 2:]
                outlines.append(_fixed((centre_u, centre_v) + cut[:, :2] * scale))
        for outline, colour in zip(outlines, colours, strict=True):
            if len(outline) > 2:
                cv2.fillPoly(frame, [outline], colour, cv2.LINE_AA, _SUBPIXEL_BITS)

    def _shade(
        self, colours: Array, normals: Array, yaw_rad: float, depth_m: float
    ) -> list[list[float]]:
        """Return the colours of faces in the light, faded by the haze between."""
        cosine, sine = math.cos(yaw_rad), math.sin(yaw_rad)
        sun = np.array(
            [cosine * _SUN[0] + sine * _SUN[1], cosine * _SUN[1] - sine * _SUN[0], _SUN[2]]
        )
        light = self._gain * (_AMBIENT + (1.0 - _AMBIENT) * np.maximum(normals @ sun, 0.0))
        faded = 1.0 - math.exp(-max(depth_m - HAZE_START_M, 0.0) / HAZE_DISTANCE_M)
        lit = np.minimum(colours * light[:, None], 255.0)
        return (lit + faded * (self._haze - lit)).tolist()


def _fixed(pixels: Array) -> NDArray[np.int32]:
    """Return pixels as cv2's fixed-point numbers."""
    pixels = np.clip(pixels, -_LARGEST_PX, _LARGEST_PX)
    return np.rint(pixels * 2**_SUBPIXEL_BITS).astype(np.int32)


def _cut_near(corners_m: Array) -> Array:
    """Return what of a face is at least `NEAR_M` deep, shape (corners, 3); nothing if none is.

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
