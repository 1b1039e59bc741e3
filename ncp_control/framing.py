"""Turn camera images into the frames of a policy: cropped, grey, scaled and stacked.

Worlds (`views`), recordings (`envs.recorded`) and links to cameras and simulators all use this
module, so that a policy gets the same frames on a robot as in training.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ncp_control.contract import DictContract, FramesContract, View

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue for grey. Source: ITU-R BT.601."""


def crop_and_scale(
    image: np.ndarray, view: View, size: tuple[int, int], *, is_grey: bool = False
) -> np.ndarray:
    """Crop an image and scale it to the size of a frame.

    Args:
        image: Image (height, width[, channels]), uint8.
        view: Cropping and interpolation.
        size: Height and width of the frame.
        is_grey: Whether an RGB image is converted to grey.
    """
    import cv2

    kept = image[view.rows(len(image))]
    if is_grey:
        kept = np.rint(kept @ _LUMA).astype(np.uint8)
    if kept.shape[:2] == size:
        return kept
    how = cv2.INTER_AREA if view.resize == "area" else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(kept), size[::-1], interpolation=how)


class Framer:
    """Turns consecutive images into frames.

    Args:
        view: Cropping, interpolation and number of stacked frames.
        size: Height and width of a frame.
        is_grey: Whether RGB images are converted to grey.
        is_bgr: Whether RGB images are converted to BGR.
    """

    def __init__(
        self, view: View, size: tuple[int, int], *, is_grey: bool = False, is_bgr: bool = False
    ) -> None:
        self._view, self._size = view, size
        self._is_grey, self._is_bgr = is_grey, is_bgr
        self._latest: deque[np.ndarray] = deque(maxlen=view.stack)

    def clear(self) -> None:
        """Clear the stack; copies of the next frame will fill it."""
        self._latest.clear()

    def see(self, image: np.ndarray) -> np.ndarray:
        """Turn an image (height, width[, channels]), uint8, into a frame; add it to the stack."""
        frame = crop_and_scale(image, self._view, self._size, is_grey=self._is_grey)
        frame = frame.reshape(*self._size, -1)
        if self._is_bgr:
            frame = np.ascontiguousarray(frame[:, :, ::-1])
        while len(self._latest) < self._view.stack - 1:
            self._latest.append(frame)
        self._latest.append(frame)
        return np.concatenate(self._latest, axis=2)


def once_a_frame(
    change: Callable[[np.ndarray], np.ndarray], stack: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that changes stacked frames (height, width, stack · channels) one by one.

    Each frame is changed once, when it is the newest; its changed version is then kept in the
    stack. The first call also changes the older frames, oldest first; a frame equal to the one
    before it gets the same changed version, as at the beginning of an episode. A frame that was
    never the newest, because it was lost, is not in the result.

    Args:
        change: Function that changes one frame (height, width, channels); it may have a memory.
        stack: Number of stacked frames, oldest first; if 1: `change` itself is returned.
    """
    if stack == 1:
        return change
    changed: deque[np.ndarray] = deque(maxlen=stack)

    def change_newest(frames: np.ndarray) -> np.ndarray:
        parts = np.split(frames, stack, axis=2)
        if not changed:
            changed.append(change(parts[0].copy()))  # the pixels of a part are not contiguous
            for before, part in pairwise(parts):
                is_copy = np.array_equal(before, part)
                changed.append(changed[-1] if is_copy else change(part.copy()))
        else:
            changed.append(change(parts[-1].copy()))
        return np.concatenate(changed, axis=2)

    return change_newest


def check_opencv(what: str) -> None:
    """Check that OpenCV is installed.

    Args:
        what: What needs OpenCV, for the error message.

    Raises:
        ValueError: If OpenCV is not installed.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"OpenCV is missing, which {what} needs. Run `pip install opencv-python-headless`."
        ) from error


def framer_for(
    observation: object, where: str, crop_top: float | None, crop_bottom: float | None
) -> Framer:
    """Return a `Framer` that turns RGB images of a camera into the frames of a contract.

    Args:
        observation: Contract of the policy's observation.
        where: Source of the images, for the error message.
        crop_top: Share of the height to cut off at the top; if None: that of the contract.
        crop_bottom: Share of the height to cut off at the bottom; if None: that of the contract.

    Raises:
        ValueError: If the observation is not frames that can be made from RGB images, or OpenCV is
            missing.
    """
    check_opencv(where)
    if not isinstance(observation, FramesContract):
        kind = getattr(observation, "kind", observation)
        if isinstance(observation, DictContract):
            raise ValueError(
                f"`policy` must see frames alone for {where}, got {', '.join(observation.parts)}."
                " Choose a policy that observes only the camera."
            )
        raise ValueError(
            f"`policy` must see frames for {where}, got {kind!r}. Choose a policy with a camera."
        )
    height, width, channels = observation.shape
    per_frame = 1 if observation.colour == "grey" else 3
    is_known = observation.colour in ("RGB", "BGR", "grey") and observation.dtype == "uint8"
    if not is_known or channels != per_frame * observation.view.stack:
        raise ValueError(
            f"`policy` must see uint8 frames in RGB, BGR or grey for {where}, got"
            f" {observation.dtype} in {observation.colour!r} with {channels} channels."
        )
    view = observation.view
    if crop_top is not None:
        view = replace(view, crop_top=crop_top)
    if crop_bottom is not None:
        view = replace(view, crop_bottom=crop_bottom)
    is_grey, is_bgr = observation.colour == "grey", observation.colour == "BGR"
    return Framer(view, (height, width), is_grey=is_grey, is_bgr=is_bgr)
