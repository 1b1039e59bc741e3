"""A film of a drive: the car from behind, what its camera sees, and a line of instruments."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from scripts.pictures import FilmFile

WIDTH_PX, HEIGHT_PX = 1280, 720
_STRIP_PX = 56
_MARGIN_PX = 20
_INSET_SCALE = 2
_WHITE, _GREY = (255, 255, 255), (170, 170, 170)
_BLUE, _VERMILION = (86, 180, 233), (213, 94, 0)
_CRASH_NOTE_FRAMES = 30
_GAUGE_CENTRE_PX, _GAUGE_HALF_PX = 980, 150


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What one picture of the film shows."""

    picture: np.ndarray
    """The car from behind after the step, RGB, shape (height, width, 3)."""
    frame: np.ndarray
    """What the camera saw before it, RGB, shape (height, width, 3)."""
    steering: float
    """The policy's steering in [-1, 1], positive to the left."""
    expert_steering: float
    """The expert's."""
    speed_mps: float
    """Speed [m/s]."""
    cross_track_m: float
    """Offset from the centre line, positive to the left [m]."""
    crashed: bool
    """Whether the car left its lane in this step and was put back."""


class Film:
    """Write shots to an MP4 file, one by one, so that no film has to fit into memory.

    Args:
        path: The file.
        rate_hz: Pictures a second.

    Example:
        >>> with Film("drive.mp4") as film:
        ...     film.add(shot)
    """

    def __init__(self, path: Path | str, *, rate_hz: int = 30) -> None:
        self._file = FilmFile(Path(path), WIDTH_PX, HEIGHT_PX, rate_hz)
        font = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        self._font = ImageFont.truetype(str(font), 24)
        self._crash_note_left = 0

    def __enter__(self) -> "Film":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, traceback)

    def add(self, shot: Shot) -> None:
        """Append a picture."""
        self._file.add(self.compose(shot))

    def compose(self, shot: Shot) -> np.ndarray:
        """Return the whole picture, shape (720, 1280, 3)."""
        size = (WIDTH_PX, HEIGHT_PX)
        picture = cv2.resize(shot.picture, size, interpolation=cv2.INTER_CUBIC)
        self._crash_note_left = (
            _CRASH_NOTE_FRAMES if shot.crashed else max(self._crash_note_left - 1, 0)
        )
        _inset(picture, shot.frame)
        if self._crash_note_left:
            self._write_crash_note(picture)
        strip = picture[-_STRIP_PX:]
        strip[:] = (0.3 * strip).astype(np.uint8)
        self._write_line(strip, shot)
        return picture

    def _write_line(self, strip: np.ndarray, shot: Shot) -> None:
        """Write the instruments into the dark strip, in place."""
        image = Image.fromarray(strip)
        draw = ImageDraw.Draw(image)

        def write(x_px: float, text: str, colour: tuple[int, int, int], anchor: str = "lm") -> None:
            draw.text((x_px, _STRIP_PX // 2), text, colour, self._font, anchor=anchor)

        side = "left" if shot.cross_track_m >= 0.0 else "right"
        write(_MARGIN_PX, "speed", _GREY)
        write(_MARGIN_PX + 90, f"{shot.speed_mps:.1f} m/s", _WHITE)
        write(_MARGIN_PX + 250, "off centre", _GREY)
        write(_MARGIN_PX + 392, f"{abs(shot.cross_track_m):.2f} m {side}", _WHITE)
        write(_GAUGE_CENTRE_PX - _GAUGE_HALF_PX - _MARGIN_PX, "steering", _GREY, anchor="rm")
        _draw_gauge(draw, shot)
        write(_GAUGE_CENTRE_PX + _GAUGE_HALF_PX + _MARGIN_PX, "| expert", _WHITE)
        strip[:] = np.asarray(image)

    def _write_crash_note(self, picture: np.ndarray) -> None:
        """Say in the upper left corner, for a second, that the car was put back, in place."""
        corner = picture[_MARGIN_PX : _MARGIN_PX + _STRIP_PX, _MARGIN_PX : _MARGIN_PX + 360]
        image = Image.new("RGB", (corner.shape[1], corner.shape[0]), _VERMILION)
        text = "crash: put back on the lane"
        middle = (image.width // 2, image.height // 2)
        ImageDraw.Draw(image).text(middle, text, _WHITE, self._font, anchor="mm")
        corner[:] = np.asarray(image)


def _inset(picture: np.ndarray, frame: np.ndarray) -> None:
    """Show the camera's frame, framed in white, in the upper right corner, in place."""
    height, width = (_INSET_SCALE * size for size in frame.shape[:2])
    top, right = _MARGIN_PX, WIDTH_PX - _MARGIN_PX
    picture[top - 2 : top + height + 2, right - width - 2 : right + 2] = 255
    picture[top : top + height, right - width : right] = cv2.resize(
        frame, (width, height), interpolation=cv2.INTER_LINEAR
    )


def _draw_gauge(draw: ImageDraw.ImageDraw, shot: Shot) -> None:
    """Draw the policy's steering as a bar from the middle and the expert's as a white mark."""
    middle = _STRIP_PX // 2
    # Left on the gauge is left on the road.
    policy_px, expert_px = (
        _GAUGE_CENTRE_PX - round(_GAUGE_HALF_PX * value)
        for value in (shot.steering, shot.expert_steering)
    )
    ends = (_GAUGE_CENTRE_PX - _GAUGE_HALF_PX, _GAUGE_CENTRE_PX + _GAUGE_HALF_PX)
    draw.rounded_rectangle((ends[0], middle - 8, ends[1], middle + 8), 8, fill=(70, 70, 70))
    bar = sorted((_GAUGE_CENTRE_PX, policy_px))
    draw.rectangle((bar[0], middle - 8, bar[1], middle + 8), fill=_BLUE)
    draw.rectangle((_GAUGE_CENTRE_PX - 1, middle - 12, _GAUGE_CENTRE_PX, middle + 12), fill=_GREY)
    draw.rectangle((expert_px - 1, middle - 14, expert_px + 1, middle + 14), fill=_WHITE)
