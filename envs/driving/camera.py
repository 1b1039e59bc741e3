"""Pinhole camera on the car, and its image of the ground.

The camera sits `forward_m` ahead of the car's middle and `height_m` above the ground, and looks
down by the pitch θ. With the focal length f [px] and the principal point (c_u, c_v) in the middle
of the image, pixel (u, v) sees the ground at

    r = (u - c_u)/f,  q = (v - c_v)/f,  t = height / (sin θ + q cos θ)
    forward = forward_m + t (cos θ - q sin θ),      left = -t r

which is a homography. The horizon is the row where t grows without bound. Pixel centres have whole
coordinates, so c_u = (width - 1)/2.

`OpenCvCamera` warps the painted ground (`texture.py`) by this homography. Each row is read from the
resolution level whose texels are about as wide as the row's pixels. Where pixels cover a long strip
of ground, several samples are averaged. Above the horizon is sky, and distant ground fades into it.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from envs.driving.appearance import Appearance
from envs.driving.texture import Ground, Image, scale_colour, texel_from_world

Array = NDArray[np.float64]

# Ground fades with distance: from the first value on, by 1 - 1/e over the second.
HAZE_START_M, HAZE_DISTANCE_M = 8.0, 80.0
# A distant pixel covers a strip of ground many texels long: take the mean of several samples.
_LONG_PIXEL_TEXELS, _SAMPLES_OF_LONG_PIXEL = 6.0, 4
_MIN_ROWS_BELOW_HORIZON = 0.5  # rows nearer the horizon would see kilometres and show sky instead


class Pose(NamedTuple):
    """Pose of the car: the point midway between its axles [m] and its heading [rad]."""

    x_m: float
    y_m: float
    yaw_rad: float


@dataclass(frozen=True, kw_only=True)
class CameraGeometry:
    """Lens and mount of a pinhole camera on the car."""

    width_px: int = 200
    """Width of the image."""
    height_px: int = 78
    """Height of the image."""
    horizontal_fov_rad: float = math.radians(90.0)
    """Angle between the left and right borders of the image."""
    forward_m: float = 0.5
    """Position of the camera ahead of the car's middle; negative if behind it."""
    height_m: float = 1.3
    """Height of the camera above the ground."""
    pitch_rad: float = 0.15
    """Angle of the optical axis below the horizontal."""

    @property
    def focal_px(self) -> float:
        """Focal length [px]."""
        return 0.5 * self.width_px / math.tan(0.5 * self.horizontal_fov_rad)

    @property
    def centre_px(self) -> tuple[float, float]:
        """Principal point (column, row) [px]."""
        return 0.5 * (self.width_px - 1), 0.5 * (self.height_px - 1)

    @property
    def horizon_row(self) -> float:
        """Row of the horizon [px], in general not a whole number."""
        return self.centre_px[1] - self.focal_px * math.tan(self.pitch_rad)

    @property
    def first_ground_row(self) -> int:
        """First row that shows ground; all rows above show sky."""
        return min(max(math.ceil(self.horizon_row + _MIN_ROWS_BELOW_HORIZON), 0), self.height_px)

    def car_from_pixel(self) -> Array:
        """Return the homography from (u, v, 1) to the ground (forward [m], left [m], 1)."""
        sine, cosine = math.sin(self.pitch_rad), math.cos(self.pitch_rad)
        centre_u, centre_v = self.centre_px
        from_ray = np.array(
            [
                [0.0, self.forward_m * cosine - self.height_m * sine,
                 self.forward_m * sine + self.height_m * cosine],
                [-self.height_m, 0.0, 0.0],
                [0.0, cosine, sine],
            ]
        )  # fmt: skip
        to_ray = np.array(
            [
                [1.0 / self.focal_px, 0.0, -centre_u / self.focal_px],
                [0.0, 1.0 / self.focal_px, -centre_v / self.focal_px],
                [0.0, 0.0, 1.0],
            ]
        )
        return from_ray @ to_ray

    def project(self, points_m: Array) -> Array:
        """Project points from the car's frame of reference into the image.

        Args:
            points_m: (forward, left, up) from the ground below the car's middle [m], shape (n, 3),
                in front of the camera.

        Returns:
            Pixels (u, v), shape (n, 2).
        """
        sine, cosine = math.sin(self.pitch_rad), math.cos(self.pitch_rad)
        ahead_m = points_m[:, 0] - self.forward_m
        below_m = self.height_m - points_m[:, 2]
        depth_m = ahead_m * cosine + below_m * sine
        centre_u, centre_v = self.centre_px
        u = centre_u - self.focal_px * points_m[:, 1] / depth_m
        v = centre_v + self.focal_px * (below_m * cosine - ahead_m * sine) / depth_m
        return np.stack([u, v], axis=1)

    def depth_of_rows(self) -> Array:
        """Return the distance along the optical axis [m] of the ground in each ground row."""
        rows = np.arange(self.first_ground_row, self.height_px, dtype=np.float64)
        q = (rows - self.centre_px[1]) / self.focal_px
        return self.height_m / (math.sin(self.pitch_rad) + q * math.cos(self.pitch_rad))


class Camera(Protocol):
    """Camera as the environment uses it."""

    geometry: CameraGeometry

    def set_ground(self, ground: Ground) -> None:
        """Set the painted ground for the following frames."""
        ...

    def render(self, pose: Pose) -> Image:
        """Return the camera's frame: a new array of shape (height, width, 3), RGB."""
        ...


class Backdrop:
    """The sky, and the haze into which distant ground fades; both cameras use it.

    Args:
        geometry: The camera.
        appearance: Colours and light.

    Attributes:
        first_row: First row that shows ground.
        last_hazy_row: First row below the faded rows.
        sky: Colours of the rows above `first_row`, shape (rows, width, 3).
        clear: Share of the ground's colour in the faded rows, shape (rows, width, 3).
        haze: Colour added to the faded rows, of the same shape.
    """

    def __init__(self, geometry: CameraGeometry, appearance: Appearance) -> None:
        self.first_row = geometry.first_ground_row
        zenith = np.array(scale_colour(appearance.sky_rgb, appearance.gain))
        haze = np.array(scale_colour(appearance.haze_rgb, appearance.gain))
        rows = np.arange(self.first_row)
        # Depends on the angle above the horizon, so that images of any size show the same sky.
        height = np.arctan(np.maximum(geometry.horizon_row - rows, 0.0) / geometry.focal_px)
        share = 1.0 - np.exp(-height / 0.16)
        sky = haze + share[:, None] * (zenith - haze)
        self.sky = np.broadcast_to(
            np.rint(sky).astype(np.uint8)[:, None], (self.first_row, geometry.width_px, 3)
        ).copy()
        beyond_m = np.maximum(geometry.depth_of_rows() - HAZE_START_M, 0.0)
        beyond_m = beyond_m[beyond_m > 0.0]  # rows further down are not faded
        faded = 1.0 - np.exp(-beyond_m / HAZE_DISTANCE_M)
        self.last_hazy_row = self.first_row + len(faded)
        shape = (len(faded), geometry.width_px, 3)
        self.clear = np.broadcast_to((1.0 - faded)[:, None, None], shape).astype(np.float32).copy()
        self.haze = np.broadcast_to(faded[:, None, None] * haze, shape).astype(np.float32).copy()

    def finish(self, frame: Image) -> None:
        """Draw the sky into a frame and fade its ground, in place."""
        frame[: self.first_row] = self.sky
        ground = frame[self.first_row : self.last_hazy_row]
        hazy = cv2.multiply(ground, self.clear, dtype=cv2.CV_32F)
        cv2.add(hazy, self.haze, dst=ground, dtype=cv2.CV_8U)


class BlindCamera:
    """Camera that returns black frames at no cost, for users that do not need frames."""

    def __init__(self, geometry: CameraGeometry) -> None:
        self.geometry = geometry

    def set_ground(self, ground: Ground) -> None:
        """Do nothing: black frames show no ground."""

    def render(self, pose: Pose) -> Image:
        """Return a black frame."""
        return np.zeros((self.geometry.height_px, self.geometry.width_px, 3), dtype=np.uint8)


class OpenCvCamera:
    """Camera that warps the painted ground: no OpenGL, thousands of frames a second.

    Args:
        geometry: Lens and mount.
    """

    def __init__(self, geometry: CameraGeometry) -> None:
        self.geometry = geometry
        self._ground: Ground | None = None

    def set_ground(self, ground: Ground) -> None:
        """Set the painted ground for the following frames."""
        self._ground = ground
        self._bands = row_bands(self.geometry, ground)
        self._backdrop = Backdrop(self.geometry, ground.appearance)
        self._border_rgb = scale_colour(ground.appearance.grass_rgb, ground.appearance.gain)

    def render(self, pose: Pose) -> Image:
        """Return the frame seen from a pose: a new array of shape (height, width, 3), RGB."""
        if self._ground is None:
            raise RuntimeError(
                "`set_ground` must be called before `render`. Reset the environment."
            )
        geometry = self.geometry
        cosine, sine = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        world_from_car = np.array(
            [[cosine, -sine, pose.x_m], [sine, cosine, pose.y_m], [0.0, 0.0, 1.0]]
        )
        frame = np.empty((geometry.height_px, geometry.width_px, 3), np.uint8)
        for band in self._bands:
            rows = frame[band.start : band.stop]
            warped = cv2.warpPerspective(
                self._ground.levels[band.level],
                band.texel_from_world @ world_from_car @ band.car_from_pixel,
                (geometry.width_px, band.samples * len(rows)),
                dst=rows if band.samples == 1 else None,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=self._border_rgb,
            )
            if band.samples > 1:
                size = (geometry.width_px, len(rows))
                cv2.resize(warped, size, dst=rows, interpolation=cv2.INTER_AREA)
        self._backdrop.finish(frame)
        return frame


class Band(NamedTuple):
    """Rows `start` to `stop` of the image, read from one level as the mean of `samples` each."""

    start: int
    stop: int
    level: int
    samples: int
    texel_from_world: Array
    car_from_pixel: Array


def row_bands(geometry: CameraGeometry, ground: Ground) -> list[Band]:
    """Divide the ground rows into bands by the level and the samples that fit their pixels."""
    depth_m = geometry.depth_of_rows()
    width_m = depth_m / geometry.focal_px  # of a pixel on the ground; the length is far greater
    length_m = depth_m * depth_m / (geometry.focal_px * geometry.height_m)
    levels = np.rint(np.log2(width_m / ground.texel_m))
    levels = np.clip(levels, 0, len(ground.levels) - 1).astype(int)
    texel_m = ground.texel_m * 2.0**levels
    samples = np.where(length_m > _LONG_PIXEL_TEXELS * texel_m, _SAMPLES_OF_LONG_PIXEL, 1)
    keys = list(zip(levels.tolist(), samples.tolist(), strict=True))
    bands = []
    for level, num_samples in sorted(set(keys), key=keys.index):
        rows = [row for row, key in enumerate(keys) if key == (level, num_samples)]
        start = geometry.first_ground_row + rows[0]
        # Sample k of row v lies at v - 1/2 + (k + 1/2) / samples.
        first_row = start - 0.5 + 0.5 / num_samples
        from_sample = np.array([[1.0, 0.0, 0.0], [0.0, 1.0 / num_samples, first_row], [0, 0, 1.0]])
        bands.append(
            Band(
                start=start,
                stop=start + len(rows),
                level=level,
                samples=num_samples,
                texel_from_world=texel_from_world(len(ground.levels[level])),
                car_from_pixel=geometry.car_from_pixel() @ from_sample,
            )
        )
    return bands
