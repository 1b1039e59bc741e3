"""Write figures and films to files."""

import errno
import io
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import cv2
import imageio_ffmpeg
import numpy as np

from ncp_control import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
"""Errors of writing that the encoder reports only as text."""


def write_picture(path: Path, figure: "Figure") -> None:
    """Write a figure in the format of the file's suffix; never leave a partial file."""
    picture = io.BytesIO()  # writing to a file directly, Pillow would hide why it failed
    figure.savefig(picture, format=path.suffix[1:], dpi=150)
    files.write_file(path, picture.getvalue())


class FilmFile:
    """MP4 file that is encoded frame by frame; use it in a `with` block.

    H.264 with 4:2:0 colours and the index at the front of the file, which every browser plays.

    Args:
        path: The file. It is complete only when the block ends without an error, so write it into
            a `new_folder`.
        width_px: Width of the frames [px], an even number.
        height_px: Height of the frames [px], an even number.
        rate_hz: Frames per second.
    """

    def __init__(self, path: Path, width_px: int, height_px: int, rate_hz: float) -> None:
        self._path = path
        taken = f"-f rawvideo -pix_fmt yuv420p -s {width_px}x{height_px} -r {rate_hz} -i -"
        made = "-an -c:v libx264 -pix_fmt yuv420p -crf 25 -preset ultrafast -movflags +faststart"
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error"]
        self._encoder = subprocess.Popen(
            [*ffmpeg, *taken.split(), *made.split(), str(path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches this process, which ends the encoder
            restore_signals=False,  # so a file size limit is an error, not a fatal signal
        )

    def add(self, picture: np.ndarray) -> None:
        """Append a frame: RGB, shape (height, width, 3), uint8.

        Raises:
            OSError: If the encoder cannot write the file.
        """
        assert self._encoder.stdin is not None
        halved = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)  # halves the bytes to send
        try:
            self._encoder.stdin.write(np.ascontiguousarray(halved).data)
        except BrokenPipeError:
            self.close()

    def close(self) -> None:
        """Wait until the encoder has finished the file.

        Raises:
            OSError: If the encoder failed.
        """
        _, stderr = self._encoder.communicate()
        if self._encoder.returncode == 0:
            return
        words = stderr.decode(errors="replace").strip()
        for number in _WRITE_ERRORS:
            if os.strerror(number) in words:
                raise OSError(number, os.strerror(number), str(self._path))
        reason = words.splitlines()[-1] if words else f"status {self._encoder.returncode}"
        raise OSError(errno.EIO, f"ffmpeg could not encode the film ({reason})", str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._encoder.kill()
            self._encoder.communicate()
