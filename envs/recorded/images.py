"""Images of a recording: detect damaged ones, and crop and resize them to observations.

A decoded image may still be incomplete: libjpeg fills lost parts with grey and returns the image.
Every image is therefore checked in three steps, at the cost of one decoding at an eighth of its
size:

1. The size in the header must be usable; this is checked before memory is allocated.
2. The image is decoded. Formats other than JPEG are also read by Pillow, which refuses lost data.
3. A JPEG that ends in the grey of lost data, and every progressive one, is decoded again with more
   data before its end marker. A complete image does not use the data and stays the same; a
   truncated one continues with them and changes.

Not detected are losses inside the last block of a JPEG (16 x 16 pixels or less), the loss of whole
last scans of a progressive JPEG, and data replaced by other data of the same length.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image

from ncp_control.contract import View
from ncp_control.framing import crop_and_scale


class StoredImage(Protocol):
    """An image inside a larger file, such as a recorded drive or a bag."""

    @property
    def path(self) -> Path:
        """The larger file."""
        ...

    @property
    def name(self) -> str:
        """Its location, for messages."""
        ...

    def read_bytes(self) -> bytes:
        """Return the bytes of the image as a file; ValueError or OSError if it is damaged."""
        ...


ImageFile = Path | StoredImage
"""Location of an image: its own file, or inside a larger file."""
MIN_SIDE_PIXELS = 16
"""Smallest usable height and width; smaller images are placeholders."""
MAX_CROP = 0.9
"""Largest share of the height that may be cut off; it leaves rows of the smallest usable image."""
MAX_PIXELS = 2**25
"""Number of pixels of the largest usable image, about 8K; damaged headers may claim far more."""
MAX_BYTES = 2**27
"""Largest file that is read as one image [bytes]."""
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats that are read. Pillow supports more, but runs other programs for some of them."""

_AS_THEY_ARE = {"JPEG": ".jpg", "PNG": ".png"}
"""Formats that are copied without conversion, and their suffixes."""
_JPEG_END = b"\xff\xd9"
_BYTES_AFTER_END = 4096  # some cameras append a few bytes to the end marker
_LOST_GREY = 128  # what libjpeg fills in for blocks without data
_MORE_DATA = bytes(range(1, 255))  # no 255, which would begin a marker


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Crop and size with which an image becomes an observation: crop rows, then resize.

    Raises:
        ValueError: If the size is not positive or the crop leaves too little.
    """

    image_size: tuple[int, int]
    """Height and width of an observation [pixels]."""
    crop: tuple[float, float]
    """Shares of the height cut off at the top (sky) and at the bottom (bonnet)."""
    is_cropped: bool = False
    """Whether the images were cropped before they were recorded, and are not cropped again."""

    def __post_init__(self) -> None:
        if not _are_two(self.image_size, int) or min(self.image_size) < 1:
            raise ValueError(
                f"`image_size` must be a positive height and width, got {self.image_size!r}."
                " Use (78, 200) for the paper's conv head."
            )
        if not _are_two(self.crop, (int, float)) or not (
            min(self.crop) >= 0.0 and sum(self.crop) <= MAX_CROP
        ):
            raise ValueError(
                "`crop` must be the shares of the height to cut at the top and bottom, adding up"
                f" to {MAX_CROP:g} at most, got {self.crop!r}. Use (0.0, 0.0) for the whole image."
            )

    @property
    def view(self) -> View:
        """Crop of the camera image, for the contract of a policy trained on these observations."""
        return View(crop_top=self.crop[0], crop_bottom=self.crop[1])

    @property
    def cut(self) -> View:
        """Crop that is still to be done."""
        return View() if self.is_cropped else self.view

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the observation, shape (*image_size, 3), uint8 RGB.

        The crop is given in shares, not rows, since a recording may have images of several sizes.
        """
        return crop_and_scale(image, self.cut, self.image_size)


class CroppedError(ValueError):
    """Error: another crop is asked for than the one with which the images were recorded."""


def framing_of_cropped(
    image_size: tuple[int, int],
    crop: tuple[float, float] | None,
    recorded: tuple[float, float],
    path: Path,
) -> Framing:
    """Return the framing of images that were cropped before they were recorded.

    Args:
        image_size: Height and width of an observation [pixels].
        crop: The crop that is asked for; None for the recorded one.
        recorded: The crop that the images have.
        path: The recording, for the message.

    Raises:
        CroppedError: If another crop is asked for.
    """
    asked = recorded if crop is None else crop
    framing = Framing(image_size=image_size, crop=asked, is_cropped=True)
    if list(asked) != list(recorded):
        raise CroppedError(
            f"`crop` must be {list(recorded)} for '{path}', whose frames were cropped so when they"
            f" were recorded, got {list(asked)}. Crop all recordings so, or leave the option out."
        )
    return framing


def read_image(path: ImageFile) -> np.ndarray | None:
    """Return an image as uint8 RGB, also if it is grey; None if it is damaged."""
    try:
        return cv2.cvtColor(_decode(_read_bytes(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    except _ImageFault:
        return None


def as_file(path: ImageFile) -> tuple[bytes, str, np.ndarray]:
    """Return an image as bytes and suffix of a JPEG or PNG file, and its pixels, uint8 RGB.

    The bytes of an RGB JPEG or PNG are returned unchanged; other images become PNG.

    Raises:
        ValueError: If the image is damaged.
    """
    image = read_image(path)
    if image is None:
        raise ValueError(f"`image` must stay readable while it is converted, got '{path}'.")
    data = _read_bytes(path)
    opened = _open(data)
    if opened.format in _AS_THEY_ARE and opened.mode == "RGB":
        return data, _AS_THEY_ARE[opened.format], image
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes(), ".png", image


def find_fault(path: ImageFile) -> str | None:
    """Return the fault of an image, e.g. "cut off"; None if `read_image` will return the image.

    This is much cheaper than `read_image`.
    """
    try:
        _decode(_read_bytes(path), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    except _ImageFault as fault:
        return str(fault)
    return None


def is_readable(path: ImageFile) -> bool:
    """True if `read_image` will return an image."""
    return find_fault(path) is None


def _are_two(values: Any, kind: type | tuple[type, ...]) -> bool:
    """True for two numbers of a kind, in a tuple or a list."""
    is_list = isinstance(values, tuple | list) and len(values) == 2
    return is_list and all(isinstance(value, kind) for value in values)


class _ImageFault(Exception):
    """An image cannot be used; the text says why."""


def _read_bytes(path: ImageFile) -> bytes:
    try:
        if isinstance(path, Path) and not path.is_file():
            raise _ImageFault("missing")
        if isinstance(path, Path) and path.stat().st_size > MAX_BYTES:
            raise _ImageFault(f"larger than {MAX_BYTES // 2**20} MiB")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a damaged log may contain an impossible file name
        raise _ImageFault("unreadable") from error
    if not data:
        raise _ImageFault("empty")
    return data


def _decode(data: bytes, mode: int) -> np.ndarray:
    """Return the decoded image.

    Raises:
        _ImageFault: If it is damaged or incomplete, or its size is not usable.
    """
    opened = _open(data)
    width, height = opened.size
    if min(width, height) < MIN_SIDE_PIXELS:
        raise _ImageFault(f"smaller than {MIN_SIDE_PIXELS} x {MIN_SIDE_PIXELS} pixels")
    if width * height > MAX_PIXELS:
        raise _ImageFault(f"larger than {MAX_PIXELS / 1e6:.1f} million pixels")
    is_jpeg = opened.format in ("JPEG", "MPO")  # MPO is a JPEG followed by further ones
    if is_jpeg and _JPEG_END not in data[-_BYTES_AFTER_END:]:
        raise _ImageFault("cut off")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise _ImageFault("unreadable") from error
    if image is None:
        raise _ImageFault("unreadable")
    if not is_jpeg:
        _load(opened)
    elif (opened.info.get("progressive") or _ends_in_grey(image)) and _is_cut_off(data):
        raise _ImageFault("cut off")
    return image


def _open(data: bytes) -> Image.Image:
    """Read only the header of an image."""
    with warnings.catch_warnings():
        # Sizes are checked by `_decode`; Pillow warns of large ones.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise _ImageFault(f"larger than {MAX_PIXELS / 1e6:.1f} million pixels") from error
        except Exception as error:  # Pillow's readers raise anything on damaged headers
            raise _ImageFault("unreadable") from error


def _load(opened: Image.Image) -> bytes:
    """Decode an opened image with Pillow, which refuses truncated data."""
    try:
        opened.load()
    except Exception as error:  # as in `_open`
        raise _ImageFault("cut off") from error
    return opened.tobytes()


def _ends_in_grey(image: np.ndarray) -> bool:
    """True if a corner has the colour of lost data; any corner, since an image may be rotated."""
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]].reshape(4, -1)
    return bool((corners == _LOST_GREY).all(axis=1).any())


def _is_cut_off(jpeg: bytes) -> bool:
    """True if a JPEG image changes when more data are inserted before its end marker."""
    end = jpeg.rfind(_JPEG_END)
    longer = jpeg[:end] + _MORE_DATA + jpeg[end:]
    return _load(_open(jpeg)) != _load(_open(longer))
