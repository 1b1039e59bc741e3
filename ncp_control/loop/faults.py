"""Simulated faults of sensors and memory between a link and the loop, to test the monitor.

If an observation has a frame and numbers, faults change the frame only.

| fault      | what happens while it lasts                                    |
|------------|----------------------------------------------------------------|
| missing    | no frames arrive                                               |
| late       | frames arrive `LATE_S` after they were taken                   |
| frozen     | the last frame is repeated                                     |
| black      | every pixel is nearly dark                                     |
| white      | every pixel is nearly bright                                   |
| blurred    | Gaussian blur of a tenth of the frame's height                 |
| size       | frames of half the height and width                            |
| type       | frames as real numbers from 0 to 1                             |
| colours    | red and blue are swapped                                       |
| not finite | frames as real numbers with NaN among them                     |
| hidden     | a grey patch hides two fifths of the view                      |
| state      | the policy's hidden state is overwritten with large numbers    |
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ncp_control.audit.faults import occlude
from ncp_control.loop.clocks import Clock
from ncp_control.loop.link import Link, Reading
from ncp_control.loop.pilot import Controller
from ncp_control.records import frames_in, join, numbers_in, record_frame

LATE_S = 0.5
"""Age of late frames [s]."""
_HIDDEN_SHARE, _BLUR_SHARE = 0.4, 0.1
_LARGE = 30.0


def _black(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 6, frame.shape, np.uint8)


def _white(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - rng.integers(0, 6, frame.shape, np.uint8)


def _blurred(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(frame, (0, 0), _BLUR_SHARE * len(frame)).reshape(frame.shape)


def _not_finite(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    values = frame.astype(np.float32)
    values[rng.integers(len(frame))] = np.nan
    return values


def _swapped(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a frame with red and blue swapped, in each frame of a stack."""
    if frame.shape[2] % 3:
        return frame
    colours = frame.reshape(*frame.shape[:2], -1, 3)
    return np.ascontiguousarray(colours[..., ::-1].reshape(frame.shape))


def _hidden(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return occlude(frame[None], _HIDDEN_SHARE, rng)[0]


SPOILED: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "black": _black,
    "white": _white,
    "blurred": _blurred,
    "size": lambda frame, rng: np.ascontiguousarray(frame[::2, ::2]),
    "type": lambda frame, rng: frame.astype(np.float32) / 255.0,
    "colours": _swapped,
    "not finite": _not_finite,
    "hidden": _hidden,
}
"""Faults that change a frame."""
FAULTS = ("missing", "late", "frozen", *SPOILED, "state")
"""All faults by name."""


def faults_for(controller: Controller) -> tuple[str, ...]:
    """Return the faults that can be simulated with a controller.

    The fault "state" needs an attribute `state` that can be set, which a controller in another
    process lacks.
    """
    kept = getattr(type(controller), "state", None)
    is_settable = hasattr(controller, "state") and getattr(kept, "fset", True) is not None
    return tuple(fault for fault in FAULTS if fault != "state" or is_settable)


class FaultyLink:
    """A link with a fault during a given time.

    Args:
        link: The link whose readings are changed.
        fault: A name in `faults_for(controller)`, or "" for no fault.
        begin_s: Time at which the fault begins, on the loop's clock [s].
        end_s: Time at which the fault ends, on the loop's clock [s].
        clock: The loop's clock.
        controller: Controller whose state the fault "state" overwrites.
        seed: Random seed, used anew for every reading, so that e.g. the grey patch stays in one
            place.
    """

    def __init__(
        self,
        link: Link,
        fault: str,
        *,
        begin_s: float,
        end_s: float,
        clock: Clock,
        controller: Controller,
        seed: int = 0,
    ) -> None:
        self.contract = link.contract
        self.send, self.stop, self.close = link.send, link.stop, link.close
        self._link, self._fault, self._seed = link, fault, seed
        self._record_frame = record_frame(link.contract.observation)
        self._begin_s, self._end_s = begin_s, end_s
        self._clock, self._controller = clock, controller
        self._delayed: deque[Reading] = deque()
        self._last: Reading | None = None

    def read(self, timeout_s: float) -> Reading | None:
        """Return the reading of the inner link, changed while the fault lasts."""
        reading = self._link.read(timeout_s)
        now_s = self._clock.now_s()
        if not self._begin_s <= now_s < self._end_s:
            self._last = reading if reading is not None else self._last
            self._delayed.clear()
            return reading
        if reading is None or reading.observation is None or self._fault == "":
            return reading
        if self._fault == "missing":
            return None
        if self._fault == "late":
            self._delayed.append(reading)
            is_due = now_s - self._delayed[0].time_s >= LATE_S - 1e-9
            return self._delayed.popleft() if is_due else None
        observation, rng = reading.observation, np.random.default_rng(self._seed)
        if self._fault == "frozen":
            if self._last is not None and self._last.observation is not None:
                observation = self._with_frame(observation, self._frame_of(self._last.observation))
        elif self._fault == "state":
            controller: Any = self._controller
            if (state := controller.state) is not None:
                controller.state = np.full_like(state, _LARGE)
        else:
            observation = self._with_frame(
                observation, SPOILED[self._fault](self._frame_of(observation), rng)
            )
        return replace(reading, observation=observation)

    def _frame_of(self, observation: np.ndarray) -> np.ndarray:
        shape = self._record_frame
        return observation if shape is None else frames_in(observation, shape)

    def _with_frame(self, observation: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Return an observation with another frame, perhaps of another shape or type."""
        shape = self._record_frame
        return frame if shape is None else join(frame, numbers_in(observation, shape))
