"""Roads for many cars at once: the formulas of `Road` as tensors on any device.

They use float64, since float32 rounds a place on a lap of 600 m by up to 0.03 mm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from envs.driving.road import STRAIGHT_1PM, Road

_REACH = 8
"""Number of samples searched ahead and behind for the nearest one: 2 m; a car moves 0.3 m."""


class TensorPlaces(NamedTuple):
    """Points on roads, each field of shape (cars,) or (cars, points), float64."""

    x_m: Tensor
    y_m: Tensor
    heading_rad: Tensor
    """Direction of travel, unwrapped."""


class TensorRoads:
    """Closed roads, addressed by index.

    Args:
        roads: The roads, at least one.
        device: Device of the computation.
    """

    def __init__(self, roads: Sequence[Road], device: torch.device | str = "cpu") -> None:
        def put(values: Sequence[float], dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.length_m = put([road.length_m for road in roads])
        self._spacing_m = put([road.spacing_m for road in roads])
        self._counts = put([len(road.x_m) for road in roads], torch.int64)
        self._firsts = self._counts.cumsum(0) - self._counts
        names = ("x_m", "y_m", "heading_rad", "curvature_1pm")
        self._samples = {
            name: torch.cat([torch.as_tensor(getattr(road, name)) for road in roads]).to(device)
            for name in names
        }
        self._reach = torch.arange(-_REACH, _REACH + 1, device=device)

    @property
    def num_bytes(self) -> int:
        """Device memory of the roads [bytes]."""
        own = (self.length_m, self._spacing_m, self._counts, self._firsts, self._reach)
        return sum(values.nbytes for values in (*own, *self._samples.values()))

    def project(
        self, which: Tensor, x_m: Tensor, y_m: Tensor, near_m: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Find the places of cars on their roads, as `Road.project` does.

        Args:
            which: Index of each car's road, int64, shape (cars,).
            x_m: x of the points [m], float64, shape (cars,).
            y_m: y of the points [m], of the same shape.
            near_m: Arc lengths at most 2 m from the true ones [m], of the same shape.

        Returns:
            Arc length in [0, length) and lateral offset, positive to the left [m].
        """
        around = (near_m / self._spacing_m[which]).round().long()[:, None] + self._reach
        at = self._at(which[:, None], around)
        squared = (self._samples["x_m"][at] - x_m[:, None]).square()
        squared += (self._samples["y_m"][at] - y_m[:, None]).square()
        at = at.gather(1, squared.argmin(1, keepdim=True))[:, 0]
        x, y, heading, curvature = (values[at] for values in self._samples.values())
        dx, dy = x_m - x, y_m - y
        cosine, sine = heading.cos(), heading.sin()
        along_m, left_m = cosine * dx + sine * dy, cosine * dy - sine * dx
        is_straight = curvature.abs() <= STRAIGHT_1PM
        bend = torch.where(is_straight, torch.ones_like(curvature), curvature)
        forward, inward = bend * along_m, 1.0 - bend * left_m
        excess = 2.0 * left_m - bend * (along_m.square() + left_m.square())
        offset_m = excess / (1.0 + torch.hypot(forward, inward))
        step_m = torch.where(is_straight, along_m, torch.atan2(forward, inward) / bend)
        arc_m = (at - self._firsts[which]) * self._spacing_m[which] + step_m
        return arc_m % self.length_m[which], torch.where(is_straight, left_m, offset_m)

    def places_at(self, which: Tensor, arc_m: Tensor) -> TensorPlaces:
        """Return points of the centre lines, as `Road.frame_at` does.

        Args:
            which: Index of each car's road, int64, shape (cars,).
            arc_m: Distances along the road [m], float64, shape (cars,) or (cars, points), taken
                modulo the road's length.
        """
        which = which.reshape(-1, *[1] * (arc_m.ndim - 1))
        arc_m = arc_m % self.length_m[which]
        at, step_m = self._nearest(which, arc_m)
        x, y, heading, curvature = (values[at] for values in self._samples.values())
        # A chord of the circle points half-way between the headings at its ends.
        half_turn = 0.5 * curvature * step_m
        chord_m = step_m * torch.sinc(half_turn / torch.pi)
        return TensorPlaces(
            x + chord_m * (heading + half_turn).cos(),
            y + chord_m * (heading + half_turn).sin(),
            heading + 2.0 * half_turn,
        )

    def curvature_at(self, which: Tensor, arc_m: Tensor) -> Tensor:
        """Return the curvature [1/m] of the nearest samples, positive to the left.

        Args:
            which: Index of each car's road, int64, shape (cars,).
            arc_m: Distances along the road [m], float64, shape (cars,).
        """
        at, _ = self._nearest(which, arc_m)
        return self._samples["curvature_1pm"][at]

    def _nearest(self, which: Tensor, arc_m: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest samples, and the arc lengths relative to them [m]."""
        spacing_m = self._spacing_m[which]
        number = (arc_m / spacing_m).round()
        return self._at(which, number.long()), arc_m - number * spacing_m

    def _at(self, which: Tensor, number: Tensor) -> Tensor:
        """Return the memory index of samples, given by their number modulo the road's samples."""
        return self._firsts[which] + number % self._counts[which]
