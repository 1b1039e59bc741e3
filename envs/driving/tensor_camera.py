"""Ground-plane camera for many cars at once, as tensors on any device.

It gives the frames of `OpenCvCamera`, with the same bands of rows, levels and samples
(`row_bands`), bilinear interpolation, sky and haze. Bodies of traffic are not drawn. A test limits
the mean difference to 0.001 of 255 and the largest to 1, as float32 rounds a few values otherwise.

Cars may share a painted ground. Texels are gathered by index, since `grid_sample` would need a
float32 copy for each car.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from envs.driving.camera import Backdrop, Band, CameraGeometry, row_bands
from envs.driving.texture import Ground, Image, scale_colour


class TensorCamera:
    """Pinhole cameras on many cars.

    Args:
        geometry: Lens and mount, the same on all cars.
        grounds: Painted tracks, all with the same number of texels.
        device: Device of the computation.

    Raises:
        ValueError: If there is no ground, or the grounds differ in their number of texels.
    """

    def __init__(
        self,
        geometry: CameraGeometry,
        grounds: Sequence[Ground],
        device: torch.device | str = "cpu",
    ) -> None:
        sizes = {len(ground.levels[0]) for ground in grounds}
        if len(sizes) != 1:
            raise ValueError(
                f"`grounds` must have one number of texels, got {sorted(sizes)}. Paint all of them"
                " with the same `num_texels`."
            )
        self.geometry = geometry
        self.device = torch.device(device)
        self._bands = [
            _Rows(band, geometry, self.device) for band in row_bands(geometry, grounds[0])
        ]
        self._levels = [
            self._to_device(np.stack([_bordered(ground, level) for ground in grounds]))
            for level in range(len(grounds[0].levels))
        ]
        backdrops = [Backdrop(geometry, ground.appearance) for ground in grounds]
        self._first_row = backdrops[0].first_row
        self._last_hazy_row = backdrops[0].last_hazy_row
        self._sky = self._to_device(np.stack([one.sky for one in backdrops]))
        self._clear = self._to_device(backdrops[0].clear)
        self._haze = self._to_device(np.stack([one.haze[:, :1] for one in backdrops]))

    @property
    def num_bytes(self) -> int:
        """Device memory of the painted tracks and of the cameras' constants [bytes]."""
        own = (*self._levels, self._sky, self._clear, self._haze)
        return sum(part.nbytes for part in own) + sum(rows.num_bytes for rows in self._bands)

    def render(self, poses: Tensor, which: Tensor) -> Tensor:
        """Return the frames of all cameras.

        Args:
            poses: x [m], y [m] and yaw [rad] of each car, shape (cars, 3).
            which: Index of the ground of each car, int64, shape (cars,).

        Returns:
            RGB, uint8, shape (cars, height, width, 3).
        """
        geometry, num_cars = self.geometry, len(poses)
        poses = poses.double()
        cosine, sine = poses[:, 2].cos(), poses[:, 2].sin()
        world_from_car = torch.zeros(num_cars, 3, 3, dtype=torch.float64, device=self.device)
        world_from_car[:, 0, 0] = world_from_car[:, 1, 1] = cosine
        world_from_car[:, 1, 0], world_from_car[:, 0, 1] = sine, -sine
        world_from_car[:, :2, 2], world_from_car[:, 2, 2] = poses[:, :2], 1.0
        shape = (num_cars, geometry.height_px, geometry.width_px, 3)
        frames = torch.empty(shape, dtype=torch.uint8, device=self.device)
        frames[:, : self._first_row] = self._sky[which]
        for rows in self._bands:
            pixels = rows.read(self._levels[rows.level], world_from_car, which)
            hazy = max(min(self._last_hazy_row, rows.stop) - rows.start, 0)
            if hazy:
                first = rows.start - self._first_row
                part = slice(first, first + hazy)
                faded = pixels[:, :hazy] * self._clear[part] + self._haze[which, part]
                pixels[:, :hazy] = faded.round_().clamp_(0, 255)
            frames[:, rows.start : rows.stop] = pixels.to(torch.uint8)
        return frames

    def _to_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)


class _Rows:
    """Band of rows of all frames, read from one level of the grounds."""

    def __init__(self, band: Band, geometry: CameraGeometry, device: torch.device) -> None:
        self.start, self.stop, self.level = band.start, band.stop, band.level
        self._samples, self._width = band.samples, geometry.width_px
        self._texel_from_world = torch.tensor(band.texel_from_world, device=device)
        self._car_from_pixel = torch.tensor(band.car_from_pixel, device=device)
        rows = torch.arange(band.samples * (band.stop - band.start), device=device)
        columns = torch.arange(geometry.width_px, device=device)
        v, u = torch.meshgrid(rows, columns, indexing="ij")
        pixels = torch.stack([u, v, torch.ones_like(u)]).reshape(3, -1)
        self._pixels = pixels.float()
        own = (self._texel_from_world, self._car_from_pixel, self._pixels)
        self.num_bytes = sum(values.nbytes for values in own)

    def read(self, level: Tensor, world_from_car: Tensor, which: Tensor) -> Tensor:
        """Return the pixels, whole numbers in float32, shape (cars, rows, width, 3)."""
        matrices = self._texel_from_world @ world_from_car @ self._car_from_pixel
        x, y, scale = (matrices.float() @ self._pixels).unbind(1)  # each (cars, pixels)
        size = level.shape[1] - 2
        # The border of one texel around a level holds the colour outside of it.
        x, y = ((place / scale).clamp(-1.0, size) + 1.0 for place in (x, y))
        left, top = (place.floor().clamp_(max=size) for place in (x, y))
        right_share, lower_share = (x - left)[..., None], (y - top)[..., None]
        first = (which[:, None] * (size + 2) + top.long()) * (size + 2) + left.long()
        texels = level.reshape(-1, 3)
        upper, lower = (
            torch.lerp(texels[at].float(), texels[at + 1].float(), right_share)
            for at in (first, first + size + 2)
        )
        pixels = torch.lerp(upper, lower, lower_share).round_()
        pixels = pixels.reshape(len(which), -1, self._samples, self._width, 3)
        return pixels[:, :, 0] if self._samples == 1 else pixels.mean(2).round_()


def _bordered(ground: Ground, level: int) -> Image:
    """Return a level with a border of one texel in the colour outside of it."""
    picture, appearance = ground.levels[level], ground.appearance
    colour = np.rint(scale_colour(appearance.grass_rgb, appearance.gain)).astype(np.uint8)
    framed = np.empty((len(picture) + 2, len(picture) + 2, 3), np.uint8)
    framed[:] = colour
    framed[1:-1, 1:-1] = picture
    return framed
