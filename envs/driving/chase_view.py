"""View of the car from behind and above, for videos: the OpenCV camera plus a drawn car.

The car's faces (`car_shape.py`) are drawn from the farthest to the nearest, each in one shade:
colour · (ambient + (1 - ambient) · max(0, n · sun)). The camera follows the car's heading with a
delay, so that bends are visible.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from envs.driving.bodies import Body
from envs.driving.bodies_view import BodiesView, light_on, towards_sun
from envs.driving.camera import CameraGeometry, OpenCvCamera, Pose
from envs.driving.car_shape import Face, car_faces, turns
from envs.driving.periodic import wrap_angle
from envs.driving.texture import SUBPIXEL_BITS, Ground, Image, fixed_point

Array = NDArray[np.float64]

CHASE_GEOMETRY = CameraGeometry(
    width_px=640,
    height_px=360,
    horizontal_fov_rad=math.radians(66.0),
    forward_m=-7.4,
    height_m=3.0,
    pitch_rad=0.2,
)
_FOLLOW_SHARE = 0.12  # share of the heading difference that the camera makes up in each frame
_SHADOW_LIGHT = 0.5
_OVERSAMPLING = 2  # the car is drawn this much larger and then reduced, for smooth outlines


class ChaseView:
    """Draws images of the car from behind.

    Args:
        wheelbase_m: Distance between the axles [m].
        track_width_m: Distance between the wheels of an axle [m].
    """

    def __init__(self, wheelbase_m: float, track_width_m: float) -> None:
        self.geometry = CHASE_GEOMETRY
        self._camera = OpenCvCamera(self.geometry)
        self._wheelbase_m, self._track_width_m = wheelbase_m, track_width_m
        self._yaw_rad: float | None = None
        self._gain = 1.0
        self._view = BodiesView(self.geometry)
        self._bodies: Sequence[Body] = ()
        self._poses = np.empty((0, 3))

    def set_ground(self, ground: Ground) -> None:
        """Set the painted ground for the following frames, and put the camera behind the car."""
        self._camera.set_ground(ground)
        self._gain = ground.appearance.gain
        self._view.set_appearance(ground.appearance)
        self._yaw_rad = None

    def set_bodies(self, bodies: Sequence[Body], poses: Array) -> None:
        """Set the other bodies for the following frames.

        Args:
            bodies: The bodies.
            poses: x [m], y [m] and yaw [rad] of each body, shape (bodies, 3).
        """
        self._bodies, self._poses = bodies, poses

    def render(self, pose: Pose, steer_rad: float) -> Image:
        """Return an image of the car.

        Args:
            pose: Pose of the car.
            steer_rad: Angle of the front wheels [rad], positive to the left.

        Returns:
            RGB image, shape (360, 640, 3).
        """
        if self._yaw_rad is None:
            self._yaw_rad = pose.yaw_rad
        behind_rad = wrap_angle(pose.yaw_rad - self._yaw_rad)
        self._yaw_rad += _FOLLOW_SHARE * behind_rad
        view = Pose(pose.x_m, pose.y_m, self._yaw_rad)
        frame = self._camera.render(view)
        own_m = -self.geometry.forward_m * math.cos(self.geometry.pitch_rad)
        scene = (view, self._bodies, self._poses)
        self._view.draw(frame, *scene, nearest_m=own_m)
        relative_rad = pose.yaw_rad - self._yaw_rad
        faces = car_faces(self._wheelbase_m, self._track_width_m, steer_rad)
        self._draw_shadow(frame, relative_rad, pose.yaw_rad)
        self._draw_faces(frame, faces, relative_rad, pose.yaw_rad)
        self._view.draw(frame, *scene, farthest_m=own_m)
        return frame

    def _draw_shadow(self, frame: Image, relative_rad: float, yaw_rad: float) -> None:
        """Darken the ground under the car, with a soft border and shifted away from the sun."""
        angle = np.linspace(0.0, 2.0 * math.pi, 32, endpoint=False)
        # Shape between an ellipse and a box, like a car seen from above.
        x_m = 1.95 * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.5
        y_m = 0.95 * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.5
        away = -0.35 * towards_sun(yaw_rad)
        outline_m = np.stack([x_m + away[0], y_m + away[1], np.zeros_like(x_m)], axis=1)
        pixels = self.geometry.project(outline_m @ turns(relative_rad).T)
        light = np.full(frame.shape[:2], 255, np.uint8)
        shade = (255.0 * _SHADOW_LIGHT,)
        cv2.fillPoly(light, [fixed_point(pixels)], shade, shift=SUBPIXEL_BITS)
        light = cv2.GaussianBlur(light, (0, 0), 5.0)
        cv2.multiply(frame, cv2.merge([light] * 3), dst=frame, scale=1.0 / 255.0)

    def _draw_faces(
        self, frame: Image, faces: list[Face], relative_rad: float, yaw_rad: float
    ) -> None:
        """Draw the faces seen from outside into an enlarged window of the frame."""
        geometry, turn = self.geometry, turns(relative_rad)
        eye_m = turn.T @ np.array([geometry.forward_m, 0.0, geometry.height_m])
        first_three = np.stack([face.corners_m[:3] for face in faces])
        normals = np.cross(
            first_three[:, 1] - first_three[:, 0], first_three[:, 2] - first_three[:, 0]
        )
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        to_eye_m = eye_m - np.stack([face.corners_m.mean(axis=0) for face in faces])
        is_seen = np.sum(normals * to_eye_m, axis=1) > 0.0
        light = self._gain * light_on(normals, towards_sun(yaw_rad))
        distance_m = np.linalg.norm(to_eye_m, axis=1)
        order = np.lexsort((-distance_m, [face.layer for face in faces]))

        every_px = geometry.project(np.concatenate([face.corners_m for face in faces]) @ turn.T)
        left, top = np.maximum(np.floor(every_px.min(axis=0)).astype(int) - 2, 0)
        right, bottom = np.ceil(every_px.max(axis=0)).astype(int) + 3
        window = frame[top:bottom, left:right]  # numpy limits it to the frame
        size = (window.shape[1], window.shape[0])
        large_size = (_OVERSAMPLING * size[0], _OVERSAMPLING * size[1])
        large = cv2.resize(window, large_size, interpolation=cv2.INTER_NEAREST)
        # Pixel centres are whole numbers at both sizes.
        large_px = _OVERSAMPLING * (every_px - (left, top) + 0.5) - 0.5
        ends = np.cumsum([len(face.corners_m) for face in faces])[:-1]
        outlines = np.split(fixed_point(large_px), ends)
        for index in order[is_seen[order]]:
            colour = tuple(min(light[index] * channel, 255.0) for channel in faces[index].colour)
            cv2.fillPoly(large, [outlines[index]], colour, cv2.LINE_AA, SUBPIXEL_BITS)
        window[:] = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
