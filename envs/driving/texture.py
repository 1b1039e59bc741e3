"""Painted ground seen from above: painted once for a track, read in every frame.

The ground is a square of `EXTENT_M` around the origin, with x to the right and y up in the image.
Texel (column i, row j) of a level covers a square of side s centred on

    x = -EXTENT_M/2 + (i + ½) s,      y = EXTENT_M/2 - (j + ½) s

Each level has half the resolution of the one before it, by averaging. A camera reads distant ground
from a coarser level at about one texel a pixel, which avoids flickering.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from envs.driving.appearance import Appearance, Colour
from envs.driving.road import Road

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Outline = NDArray[np.int32]

EXTENT_M = 204.8
DRIVING_TEXELS = 2048  # per side; 0.1 m a texel, painted at every reset
VIDEO_TEXELS = 4096  # for larger images, painted when one is rendered
NUM_LEVELS = 3

SUBPIXEL_BITS = 4  # cv2 draws polygons on a grid of 1/16 pixel
_GRASS_CONTRAST, _ASPHALT_CONTRAST = 0.42, 0.16  # darkest to brightest, relative to the mean
# Patterns as (size [m], weight): clumps and blades, worn patches and grain. The last one is grain
# of one texel.
_OCTAVES = {
    "grass": ((25.6, 0.5), (3.2, 1.0), (0.4, 0.8), (0.0125, 0.7)),
    "asphalt": ((6.4, 0.6), (0.0125, 1.0)),
}


@dataclass(frozen=True)
class Ground:
    """A painted track.

    Attributes:
        levels: RGB images, finest first, each half the size of the one before it.
        appearance: Appearance used for painting; the camera takes the sky from it.
    """

    levels: tuple[Image, ...]
    appearance: Appearance

    @property
    def texel_m(self) -> float:
        """Side length of a texel of the finest level [m]."""
        return EXTENT_M / len(self.levels[0])


def texel_from_world(num_texels: int) -> Array:
    """Return the 3 x 3 matrix from (x [m], y [m], 1) to (column, row, 1) of a square image."""
    size_m = EXTENT_M / num_texels
    middle = 0.5 * num_texels - 0.5
    return np.array([[1.0 / size_m, 0.0, middle], [0.0, -1.0 / size_m, middle], [0.0, 0.0, 1.0]])


def paint_ground(
    road: Road,
    lane_half_width_m: float,
    appearance: Appearance,
    num_texels: int = DRIVING_TEXELS,
) -> Ground:
    """Paint a road on grass, with its markings and shadows.

    Args:
        road: The road, which must lie within the extent of the texture.
        lane_half_width_m: Distance from the centre line to the middle of an edge line [m].
        appearance: Colours and markings.
        num_texels: Texels per side of the finest level, a power of two.

    Returns:
        The ground at every level of resolution.
    """
    grass, asphalt = _noise("grass", num_texels), _noise("asphalt", num_texels)
    picture = _tint(grass, appearance.grass_rgb, _GRASS_CONTRAST, appearance.gain)
    surface = _tint(asphalt, appearance.asphalt_rgb, _ASPHALT_CONTRAST, appearance.gain)
    brush = _Brush(road, num_texels)
    half_width_m = lane_half_width_m + appearance.shoulder_m
    cv2.copyTo(surface, brush.mask(brush.band(-half_width_m, half_width_m)), picture)

    edge_m = 0.5 * appearance.edge_width_m
    edge_rgb = scale_colour(appearance.edge_rgb, appearance.gain)
    for side_m in (-lane_half_width_m, lane_half_width_m):
        brush.fill(picture, brush.band(side_m - edge_m, side_m + edge_m), edge_rgb)
    if appearance.dash_length_m > 0.0:
        centre_rgb = scale_colour(appearance.centre_rgb, appearance.gain)
        for dash in brush.dashes(appearance):
            brush.fill(picture, [dash], centre_rgb)
    if appearance.num_shadows:
        light = cv2.merge([brush.shadows(appearance)] * 3)
        cv2.multiply(picture, light, dst=picture, scale=1.0 / 255.0)

    levels = [picture]
    while len(levels) < NUM_LEVELS:
        half_size = (len(levels[-1]) // 2, len(levels[-1]) // 2)
        half = cv2.resize(levels[-1], half_size, interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.uint8))
    return Ground(tuple(levels), appearance)


def scale_colour(colour: Colour, gain: float) -> Colour:
    """Return a colour under another brightness, within [0, 255]."""
    red, green, blue = (min(max(gain * channel, 0.0), 255.0) for channel in colour)
    return (red, green, blue)


def fixed_point(pixels: Array) -> Outline:
    """Convert places in an image [px] to cv2's fixed-point numbers."""
    return np.rint(pixels * 2**SUBPIXEL_BITS).astype(np.int32)


@lru_cache(maxsize=4)
def _noise(material: str, num_texels: int) -> Image:
    """Return a fixed pattern in [0, 255] with patches and grain at several scales."""
    rng = np.random.default_rng(len(material))
    total = np.zeros((num_texels, num_texels), np.float32)
    for cell_m, weight in _OCTAVES[material]:
        num_cells = min(round(EXTENT_M / cell_m), num_texels)
        coarse = rng.standard_normal((num_cells, num_cells), dtype=np.float32)
        total += weight * cv2.resize(coarse, total.shape, interpolation=cv2.INTER_CUBIC)
    pattern = np.clip(127.5 + 48.0 * total / total.std(), 0.0, 255.0).astype(np.uint8)
    pattern.setflags(write=False)
    return pattern


def _tint(pattern: Image, colour: Colour, contrast: float, gain: float) -> Image:
    relative = 1.0 + contrast * (np.arange(256.0)[:, None] / 255.0 - 0.5)
    # One look-up of four bytes per texel takes a third of the time of three one-byte look-ups.
    table = np.zeros((256, 4), np.uint8)
    table[:, :3] = np.clip(gain * relative * np.array(colour), 0.0, 255.0)
    texels = cv2.LUT(pattern, table.view(np.int32).reshape(1, 256))
    rgba = texels.view(np.uint8).reshape(*pattern.shape, 4)
    return np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)


class _Brush:
    """Outlines along a road, in texels, and functions to fill them."""

    def __init__(self, road: Road, num_texels: int) -> None:
        self.road = road
        self.num_texels = num_texels
        self._to_texel = texel_from_world(num_texels)

    def outline(self, x_m: Array, y_m: Array) -> Outline:
        """Convert points to cv2's fixed-point texel coordinates, shape (n, 2)."""
        column = x_m * self._to_texel[0, 0] + self._to_texel[0, 2]
        row = y_m * self._to_texel[1, 1] + self._to_texel[1, 2]
        return fixed_point(np.stack([column, row], axis=-1))

    def band(self, right_m: float, left_m: float) -> list[Outline]:
        """Return the two outlines that bound the strip from `right_m` to `left_m`."""
        road = self.road
        sine, cosine = np.sin(road.heading_rad), np.cos(road.heading_rad)
        return [
            self.outline(road.x_m - offset_m * sine, road.y_m + offset_m * cosine)
            for offset_m in (right_m, left_m)
        ]

    def dashes(self, appearance: Appearance) -> list[Outline]:
        """Return the outlines of the dashes on the centre line."""
        length_m, road = appearance.dash_length_m, self.road
        # The period is adjusted to divide the lap, so that the pattern has no seam.
        num_dashes = max(1, round(road.length_m / (length_m + appearance.dash_gap_m)))
        half_m = 0.5 * appearance.centre_width_m
        start_m = np.arange(num_dashes) * (road.length_m / num_dashes)
        along_m = start_m[:, None] + np.linspace(0.0, length_m, 6)
        left = self.outline(*road.point_at(along_m, half_m))
        right = self.outline(*road.point_at(along_m[:, ::-1], -half_m))
        return list(np.concatenate([left, right], axis=1))

    def shadows(self, appearance: Appearance) -> Image:
        """Return the light on the ground, 255 in the sun: soft shadows, all slanted alike."""
        rng = np.random.default_rng(appearance.pattern_seed)
        light = np.full((self.num_texels, self.num_texels), 255, np.uint8)
        sun_rad = rng.uniform(0.0, np.pi)
        angle_rad = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
        for _ in range(appearance.num_shadows):
            arc_length_m, lateral_m = rng.uniform(0.0, self.road.length_m), rng.uniform(-4.0, 4.0)
            x_m, y_m = self.road.point_at(arc_length_m, lateral_m)
            along_m = rng.uniform(2.0, 9.0) * np.cos(angle_rad)
            across_m = rng.uniform(0.3, 2.5) * rng.uniform(0.8, 1.2, 16) * np.sin(angle_rad)
            outline = self.outline(
                x_m + along_m * np.cos(sun_rad) - across_m * np.sin(sun_rad),
                y_m + along_m * np.sin(sun_rad) + across_m * np.cos(sun_rad),
            )
            level = 255.0 * appearance.shadow_gain
            cv2.fillPoly(light, [outline], (level,), shift=SUBPIXEL_BITS)
        return np.asarray(cv2.GaussianBlur(light, (5, 5), 0), np.uint8)

    def mask(self, outlines: list[Outline]) -> Image:
        """Return 255 inside the outlines, 0 outside."""
        mask = np.zeros((self.num_texels, self.num_texels), np.uint8)
        cv2.fillPoly(mask, outlines, (255,), shift=SUBPIXEL_BITS)
        return mask

    def fill(self, picture: Image, outlines: list[Outline], colour: Colour) -> None:
        """Fill the area between the outlines, with smooth borders."""
        cv2.fillPoly(picture, outlines, colour, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
