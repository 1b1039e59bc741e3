"""Images of a recording: reading them from disk, and framing them as observations."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How an image becomes an observation: rows cut off, then resized.

    Raises:
        ValueError: If the size is not positive or the crop leaves nothing.
    """

    image_size: tuple[int, int]
    """Height and width of an observation [pixels]."""
    crop: tuple[float, float]
    """Share of the height cut off at the top (sky) and at the bottom (bonnet)."""

    def __post_init__(self) -> None:
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(
                f"`image_size` must be a positive height and width, got {self.image_size!r}."
                " Use (78, 200) for the paper's conv head."
            )
        if len(self.crop) != 2 or not (min(self.crop) >= 0.0 and sum(self.crop) < 1.0):
            raise ValueError(
                "`crop` must be the shares of the height to cut at the top and bottom, adding up"
                f" to less than 1, got {self.crop!r}. Use (0.0, 0.0) for the whole image."
            )

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the observation, shape (*image_size, 3), uint8 RGB.

        Shares, not rows, are cut, since one recording may hold images of several sizes.
        """
        height = len(image)
        top, bottom = (round(share * height) for share in self.crop)
        kept = image[top : max(height - bottom, top + 1)]
        return cv2.resize(kept, self.image_size[::-1], interpolation=cv2.INTER_AREA)


def read_image(path: Path) -> np.ndarray | None:
    """Return an image as uint8 RGB, grey ones spread to three channels; None if it is broken."""
    data = _read_bytes(path)
    image = _decode(data, cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def is_readable(path: Path) -> bool:
    """Tell whether `read_image` will return an image, at a fraction of its cost."""
    return _decode(_read_bytes(path), cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _decode(data: bytes, mode: int) -> np.ndarray | None:
    # OpenCV up to 4.10 or so fills the lost part of a truncated JPEG with grey and says nothing.
    # The end marker cannot occur in compressed data; some cameras append a few bytes after it.
    if not data or (data.startswith(_JPEG_START) and _JPEG_END not in data[-4096:]):
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), mode)
