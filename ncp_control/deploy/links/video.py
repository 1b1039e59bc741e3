"""Link to an OpenCV video file or camera, e.g. `--link video:drive.mp4` or `--link video:0`.

Nothing is moved: commands are only recorded, to see what a policy would do. Frames of a file come
at their own times; a late loop misses some, as with a camera. A camera that gives no frame for
`LOST_S` counts as lost.
"""

import math
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ncp_control.contract import Contract
from ncp_control.deploy.links.images import see
from ncp_control.framing import Framer, check_opencv, framer_for
from ncp_control.loop.clocks import Clock
from ncp_control.loop.link import Link, LinkEnded, LinkLost, Reading

LOST_S = 1.0
"""Time without a frame after which a camera counts as lost [s]; single failures are ignored."""
_NO_PATH = ("://", "%", "!")
"""Marks of sources that are not paths: stream addresses, patterns of image series, pipelines."""
_SLACK_S = 1e-9
_RETRY_S = 0.01


class VideoLink:
    """Link to a video file; `open_video` opens one.

    Args:
        contract: What the link offers.
        framer: Makes the policy's frames.
        capture: The open file.
        clock: The loop's clock.
        frame_s: Time between two frames [s].
    """

    def __init__(
        self, contract: Contract, framer: Framer, capture: Any, clock: Clock, frame_s: float
    ) -> None:
        self.contract, self._framer, self._capture = contract, framer, capture
        self._clock, self._frame_s = clock, frame_s
        self._number, self._start_s = 0, clock.now_s()

    def read(self, timeout_s: float) -> Reading | None:
        """Return the newest frame that is due."""
        next_s = self._start_s + self._number * self._frame_s
        if next_s > self._clock.now_s() + _SLACK_S:
            self._clock.sleep_until(min(next_s, self._clock.now_s() + timeout_s))
        image, time_s = None, 0.0
        while True:
            next_s = self._start_s + self._number * self._frame_s
            if next_s > self._clock.now_s() + _SLACK_S:
                break
            is_there, found = self._capture.read()
            if not is_there:
                if image is None:
                    raise LinkEnded("the video is over")
                break
            image, time_s = found, next_s
            self._number += 1
        if image is None:
            return None
        return Reading(observation=_see(self._framer, image), time_s=time_s)

    def send(self, command: np.ndarray) -> None:
        """Do nothing: there is no body."""

    def stop(self) -> None:
        """Do nothing: there is no body."""

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class CameraLink:
    """Link to a camera; `open_video` opens one. Arguments as for `VideoLink`."""

    def __init__(self, contract: Contract, framer: Framer, capture: Any, clock: Clock) -> None:
        self.contract, self._framer, self._capture = contract, framer, capture
        self._clock = clock
        self._changed = threading.Condition()
        self._newest: tuple[np.ndarray, float] | None = None
        self._has_gone = self._is_closed = False
        self._taker = threading.Thread(target=self._take, daemon=True)
        self._taker.start()

    def read(self, timeout_s: float) -> Reading | None:
        """Return the newest frame."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._has_gone, timeout_s)
            newest, self._newest = self._newest, None
        if newest is None:
            if self._has_gone:
                raise LinkLost("the camera gives no more frames")
            return None
        return Reading(observation=_see(self._framer, newest[0]), time_s=newest[1])

    def send(self, command: np.ndarray) -> None:
        """Do nothing: there is no body."""

    def stop(self) -> None:
        """Do nothing: there is no body."""

    def close(self) -> None:
        """Stop reading frames and release the camera."""
        self._is_closed = True
        self._taker.join(LOST_S)

    def _take(self) -> None:
        """Keep reading frames, because a camera buffers some and old frames are useless."""
        taken_s = self._clock.now_s()
        while not self._is_closed and self._clock.now_s() - taken_s < LOST_S:
            image = _grab(self._capture)
            if image is None:
                time.sleep(_RETRY_S)
                continue
            taken_s = self._clock.now_s()
            with self._changed:
                self._newest = image, taken_s
                self._changed.notify_all()
        self._capture.release()
        with self._changed:
            self._has_gone = True
            self._changed.notify_all()


def open_video(
    contract: Contract,
    target: str,
    *,
    clock: Clock,
    crop_top: float | None = None,
    crop_bottom: float | None = None,
) -> Link:
    """Open a video file, or a camera by its number.

    Args:
        contract: The policy's contract.
        target: The file, or the number of the camera.
        clock: The loop's clock.
        crop_top: Share of the image cut off at the top; that of the policy's contract if None.
        crop_bottom: The same at the bottom.

    Raises:
        ValueError: If the file or camera cannot be opened, the file has no frame rate, or the
            policy observes no frames.
    """
    kind = "camera" if target.isdecimal() else "video"
    framer = framer_for(contract.observation, f"a {kind}", crop_top, crop_bottom)
    offered = replace(contract, world=kind, world_options={})
    if kind == "camera":
        return CameraLink(offered, framer, _open(int(target)), clock)
    capture = _open(target)
    return VideoLink(offered, framer, capture, clock, 1.0 / _rate_of(capture, target))


def _open(source: str | int) -> Any:
    check_opencv("a video or a camera")
    import cv2

    is_path = isinstance(source, str) and not any(sign in source for sign in _NO_PATH)
    if source == "" or (is_path and not Path(str(source)).exists()):
        raise ValueError(
            f"`link` must name a video that is there, got {source!r}. Write video:PATH for a file,"
            " video:0 for the first camera."
        )
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        wanted = "a camera that can be opened" if isinstance(source, int) else "a video to read"
        raise ValueError(
            f"`link` must name {wanted}, got {source!r}, which OpenCV cannot open. Write video:PATH"
            " for a file, video:0 for the first camera."
        )
    return capture


def _grab(capture: Any) -> Any:
    """Return the next image of a camera; None if reading fails."""
    import cv2

    try:
        is_there, image = capture.read()
    except cv2.error:
        return None
    return image if is_there else None


def _see(framer: Framer, image: Any) -> np.ndarray | None:
    """Return the policy's frame for a BGR image of OpenCV; None if the image is not valid."""
    is_colour = isinstance(image, np.ndarray) and image.ndim == 3
    return see(framer, image[:, :, ::-1]) if is_colour else None


def _rate_of(capture: Any, path: str) -> float:
    """Return the frame rate of a video [Hz]; raise ValueError if it has none."""
    import cv2

    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    if not (math.isfinite(rate_hz) and rate_hz > 0.0):
        raise ValueError(
            f"`link` must name a video with a frame rate, got {path!r} with {rate_hz!r}."
            " Encode it again with one."
        )
    return rate_hz
