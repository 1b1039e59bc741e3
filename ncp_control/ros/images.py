"""Convert sensor_msgs/Image and sensor_msgs/CompressedImage to RGB images.

| encoding         | meaning of a pixel                                   |
|------------------|------------------------------------------------------|
| `rgb8`, `rgba8`  | red, green, blue (and alpha, which is left out)      |
| `bgr8`, `bgra8`  | blue, green, red (and alpha, which is left out)      |
| `mono8`          | grey; it becomes three equal channels                |

A message may be any object with the fields of the ROS type: from DDS, from a bag or from rclpy.
Source: sensor_msgs/msg/Image.msg and sensor_msgs/image_encodings.hpp of ROS 2.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ncp_control.framing import check_opencv
from ncp_control.json_files import shorten

ENCODINGS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
"""Bytes per pixel, and indices of its red, green and blue bytes, by encoding."""
MOST_BYTES = 2**27
"""Largest compressed image that is decoded [bytes]."""
MOST_PIXELS = 2**25
"""Largest image that is accepted [pixels]."""

Octets = bytes | bytearray | memoryview | np.ndarray | Sequence[int]
"""Bytes in the types that the libraries return."""


class RawImage(Protocol):
    """Required fields of a sensor_msgs/Image."""

    height: Any
    width: Any
    encoding: Any
    step: Any
    data: Any


def check_encoding(message: RawImage) -> None:
    """Raise ValueError unless the encoding of an image is in `ENCODINGS`."""
    encoding = str(message.encoding)
    if encoding not in ENCODINGS:
        raise ValueError(
            f"`encoding` of an image must be one of {', '.join(ENCODINGS)}, got"
            f" {shorten(encoding)}. Let the camera publish rgb8, or convert with image_proc."
        )


def rgb_of_image(message: RawImage) -> np.ndarray:
    """Convert an image message to RGB, shape (height, width, 3), uint8.

    Raises:
        ValueError: If the encoding is not in `ENCODINGS`, the data are shorter than the message
            states, or the image has more than `MOST_PIXELS` pixels.
    """
    check_encoding(message)
    encoding = str(message.encoding)
    size, order = ENCODINGS[encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = _octets(message.data)
    is_whole = height > 0 and width > 0 and step >= width * size and len(data) >= height * step
    if not is_whole or height * width > MOST_PIXELS:
        raise ValueError(
            f"`data` of an image must hold `height` rows of `step` bytes, got {len(data)} bytes for"
            f" {height} x {width} pixels of {encoding} with step {step}."
        )
    rows = data[: height * step].reshape(height, step)[:, : width * size]
    pixels = rows.reshape(height, width, size)
    return np.ascontiguousarray(pixels if encoding == "rgb8" else pixels[:, :, order])


def rgb_of_compressed(data: Octets) -> np.ndarray:
    """Decode the `data` of a CompressedImage, a JPEG or PNG, to RGB (height, width, 3), uint8.

    Raises:
        ValueError: If it cannot be decoded, or OpenCV is not installed.
    """
    check_opencv("a compressed image")
    import cv2

    octets = _octets(data)
    try:
        image = cv2.imdecode(octets, cv2.IMREAD_COLOR) if 0 < len(octets) <= MOST_BYTES else None
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(
            f"`data` of a compressed image must be a JPEG or PNG, got {len(octets)} bytes that"
            " OpenCV cannot decode."
        )
    return np.ascontiguousarray(image[:, :, ::-1])


def _octets(data: Octets) -> np.ndarray:
    if isinstance(data, bytes | bytearray | memoryview):
        return np.frombuffer(data, np.uint8)
    return np.asarray(data, np.uint8)
