"""Strip in a film that shows what every neuron of the circuit did in the last seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps

from ncp_control.policy import Policy

NUM_COLUMNS = 60
"""Number of film frames that the strip shows."""
_COLOURS = colormaps["PRGn"]
_LEAST_RANGE = 1e-3  # a neuron that has moved less than this is nearly white


@contextmanager
def watched_states(policy: Policy) -> Iterator[Callable[[], np.ndarray]]:
    """Yield a function that returns the newest activity of a policy's neurons, shape (neurons,)."""
    newest: list[Any] = []

    def keep(_module: Any, _inputs: Any, outputs: Any) -> None:
        newest[:] = [outputs[1]]

    num_visible = policy.circuit.cell.num_visible
    handle = policy.circuit.register_forward_hook(keep)
    try:
        yield lambda: newest[0][0, :num_visible].float().cpu().numpy()
    finally:
        handle.remove()


class NeuronStrip:
    """Heat map of the newest film frames: a row for each neuron, a column for each frame.

    Each neuron is coloured within the range of its values so far: violet at the lowest, green at
    the highest.

    Args:
        num_neurons: Number of neurons.
        width_px: Width of the picture [px].
        height_px: Height of the picture [px].
    """

    def __init__(self, num_neurons: int, width_px: int, height_px: int) -> None:
        self._size = (width_px, height_px)
        self._low = np.full(num_neurons, np.inf)
        self._high = np.full(num_neurons, -np.inf)
        self._columns = np.full((num_neurons, NUM_COLUMNS, 3), 255, np.uint8)

    def add(self, states: np.ndarray) -> np.ndarray:
        """Add a column for the activity of all neurons; return the picture, RGB.

        Args:
            states: Activity of the neurons, shape (neurons,).
        """
        self._low, self._high = np.minimum(self._low, states), np.maximum(self._high, states)
        ranges = np.maximum(self._high - self._low, _LEAST_RANGE)
        middle = 0.5 * (self._low + self._high)
        colours = _COLOURS(0.5 + (states - middle) / ranges, bytes=True)[:, :3]
        self._columns = np.concatenate([self._columns[:, 1:], colours[:, None]], axis=1)
        return cv2.resize(self._columns, self._size, interpolation=cv2.INTER_NEAREST)
