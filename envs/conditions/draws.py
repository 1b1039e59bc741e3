"""What the effects draw from: one scene's size, frame interval and randomness."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

SPELL_EVERY_S = 5.0
"""Time from one failure of the camera to the next [s]."""
SCROLL_S = 1.5
"""Time in which the ground passes through the view [s]."""


def at(severity: int, *values: float) -> float:
    """Return the value of a severity, from 1 on."""
    return values[severity - 1]


@dataclass
class Scene:
    """One episode of frames of one size."""

    height: int
    """Of the frames [px]."""
    width: int
    """Of the frames [px]."""
    frame_s: float
    """Time from a frame to the next [s]."""
    random: np.random.Generator
    """Source of the episode's randomness."""
    frames: int | None = None
    """How many frames there are, if a camera that fails at times shall do so in one of them; the
    first failure comes at any time if None."""

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return y from 0 at the top to 1, and x from -1 at the left to 1, for every pixel."""
        y = np.linspace(0.0, 1.0, self.height, dtype=np.float32)
        x = np.linspace(-1.0, 1.0, self.width, dtype=np.float32)
        rows, columns = np.meshgrid(y, x, indexing="ij")
        return rows, columns

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return normal numbers of unit deviation."""
        return self.random.standard_normal(shape, dtype=np.float32)

    def blots(
        self, covered: float, *, cells: tuple[int, int] = (5, 10), tall: int = 1
    ) -> np.ndarray:
        """Return a mask of soft blots that covers about this share, `tall` frames high."""
        coarse = self.random.random((cells[0] * tall, cells[1]), dtype=np.float32)
        size = (self.width, self.height * tall)
        smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        edge = np.quantile(smooth, 1.0 - covered) if covered < 1.0 else -np.inf
        return np.clip((smooth - edge) / 0.1 + 0.5, 0.0, 1.0)

    def patches(self, covered: float) -> "Patches":
        """Return blots that come nearer from frame to frame, as what lies on the ground does."""
        return Patches(self, covered)

    def spells(self, lasts_s: float) -> Callable[[], bool]:
        """Return what tells, frame by frame, whether the camera has failed.

        It fails for a time once in every `SPELL_EVERY_S`, at first somewhere within it, or within
        the frames that there are.
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
    """A normal number that wanders about 0 and is drawn back to it.

    Args:
        scene: The episode.
        deviation: Its deviation.
        time_s: How long it remembers [s].
        size: How many numbers.
    """

    def __init__(self, scene: Scene, deviation: float, time_s: float, size: int = 1) -> None:
        self._random, self._deviation = scene.random, deviation
        self._kept = float(np.exp(-scene.frame_s / time_s))
        self._value = deviation * self._random.standard_normal(size)

    def step(self) -> np.ndarray:
        """Return the numbers of the next frame."""
        fresh = self._deviation * np.sqrt(1.0 - self._kept**2)
        fresh = fresh * self._random.standard_normal(len(self._value))
        self._value = self._kept * self._value + fresh
        return self._value if len(self._value) > 1 else self._value[0]


class Patches:
    """Blots on the ground, which pass through the view from far to near.

    Args:
        scene: The episode.
        covered: Share of the view that they cover.
    """

    _TALL = 8

    def __init__(self, scene: Scene, covered: float) -> None:
        self._height = scene.height
        once = scene.blots(covered, tall=self._TALL)
        self._mask = np.concatenate([once, once[: scene.height]])  # goes round
        self._step = scene.height * scene.frame_s / SCROLL_S
        self._top = float(scene.random.uniform(0.0, len(once)))

    def step(self) -> np.ndarray:
        """Return the mask of the next frame, shape (height, width)."""
        self._top = (self._top - self._step) % (self._height * self._TALL)
        return self._mask[int(self._top) : int(self._top) + self._height]
