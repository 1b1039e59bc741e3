"""Frame size, frame interval and random draws of one scene, which the effects use."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

SPELL_EVERY_S = 5.0
"""Time between two failures of the camera [s]."""
SCROLL_S = 1.5
"""Time in which the ground scrolls by one image height [s]."""


def at(severity: int, *values: float) -> float:
    """Return the value that belongs to a severity; the first value is that of severity 1."""
    return values[severity - 1]


@dataclass
class Scene:
    """Size, frame interval and randomness of one episode of frames."""

    height: int
    """Height of the frames [px]."""
    width: int
    """Width of the frames [px]."""
    frame_s: float
    """Time between two frames [s]."""
    random: np.random.Generator
    """Source of the episode's randomness."""
    frames: int | None = None
    """Number of frames of the scene: the first camera failure then starts within them. If None, it
    starts at any time within the first `SPELL_EVERY_S`."""

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return y from 0 at the top to 1, and x from -1 at the left to 1, for every pixel."""
        y = np.linspace(0.0, 1.0, self.height, dtype=np.float32)
        x = np.linspace(-1.0, 1.0, self.width, dtype=np.float32)
        rows, columns = np.meshgrid(y, x, indexing="ij")
        return rows, columns

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return samples of the standard normal distribution, float32."""
        return self.random.standard_normal(shape, dtype=np.float32)

    def blots(self, covered: float, *, tall: int = 1) -> np.ndarray:
        """Return a mask of soft blots that cover about this share of it, `tall` frames high."""
        coarse = self.random.random((5 * tall, 10), dtype=np.float32)
        size = (self.width, self.height * tall)
        smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        edge = np.quantile(smooth, 1.0 - covered) if covered < 1.0 else -np.inf
        return np.clip((smooth - edge) / 0.1 + 0.5, 0.0, 1.0)

    def spells(self, lasts_s: float) -> Callable[[], bool]:
        """Return a function that says, called once a frame, whether the camera has failed.

        The camera fails for `lasts_s` once every `SPELL_EVERY_S`. `frames` decides when the first
        failure starts.
        """
        period = max(round(SPELL_EVERY_S / self.frame_s), 2)
        lasts = max(round(lasts_s / self.frame_s), 1)
        frame = int(self.random.integers(period))
        if self.frames is not None:
            frame = -1 - int(self.random.integers(self.frames))

        def has_failed() -> bool:
            nonlocal frame
            frame += 1
            return frame % period < lasts

        return has_failed


class Wander:
    """Gaussian noise that changes slowly and returns to 0 (a first-order autoregressive process).

    Args:
        scene: The episode.
        deviation: Standard deviation.
        time_s: Correlation time [s].
        size: Number of independent values.
    """

    def __init__(self, scene: Scene, deviation: float, time_s: float, size: int = 1) -> None:
        self._random, self._deviation = scene.random, deviation
        self._kept = float(np.exp(-scene.frame_s / time_s))
        self._value = deviation * self._random.standard_normal(size)

    def step(self) -> np.ndarray:
        """Return the values for the next frame: shape (size,), or a scalar if `size` is 1."""
        fresh = self._deviation * np.sqrt(1.0 - self._kept**2)
        fresh = fresh * self._random.standard_normal(len(self._value))
        self._value = self._kept * self._value + fresh
        return self._value if len(self._value) > 1 else self._value[0]


class Patches:
    """Blots on the ground that pass through the view from far to near, as marks on a road do.

    Args:
        scene: The episode.
        covered: Share of the view that the blots cover.
    """

    _TALL = 8

    def __init__(self, scene: Scene, covered: float) -> None:
        self._height = scene.height
        once = scene.blots(covered, tall=self._TALL)
        self._mask = np.concatenate([once, once[: scene.height]])  # wraps around
        self._step = scene.height * scene.frame_s / SCROLL_S
        self._top = float(scene.random.uniform(0.0, len(once)))

    def step(self) -> np.ndarray:
        """Return the mask of the next frame, shape (height, width)."""
        self._top = (self._top - self._step) % (self._height * self._TALL)
        return self._mask[int(self._top) : int(self._top) + self._height]
