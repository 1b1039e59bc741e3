"""Conversion of frames to PNG and back, without loss.

A frame with more channels than an image, e.g. a stack of frames, becomes one image with its parts
below each other.
"""

from collections.abc import Sequence

import numpy as np

_PNG_LEVEL = 1
"""Compression level of PNG: higher levels cost much time and save little space."""


def encode_frame(frame: np.ndarray, is_bgr: bool = False) -> bytes:
    """Return a frame (height, width, channels) of uint8 as PNG, without loss.

    Args:
        frame: The frame.
        is_bgr: Whether its channels are blue, green, red.
    """
    import cv2

    height, width, channels = frame.shape
    depth = 3 if channels % 3 == 0 else 1
    parts = frame.reshape(height, width, channels // depth, depth).transpose(2, 0, 1, 3)
    picture = parts.reshape(-1, width, depth)
    picture = picture if is_bgr else picture[:, :, ::-1]
    settings = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL]
    is_done, data = cv2.imencode(".png", np.ascontiguousarray(picture), settings)
    if not is_done:
        raise OSError("the frame cannot be written as PNG")
    return data.tobytes()


def decode_frame(png: bytes, shape: Sequence[int], is_bgr: bool = False) -> np.ndarray:
    """Return the frame that `encode_frame` has encoded.

    Args:
        png: The encoded frame.
        shape: Height, width and channels of the frame.
        is_bgr: Whether its channels are blue, green, red.

    Raises:
        ValueError: If the PNG is damaged or of another shape.
    """
    import cv2

    height, width, channels = shape
    depth = 3 if channels % 3 == 0 else 1
    mode = cv2.IMREAD_COLOR if depth == 3 else cv2.IMREAD_GRAYSCALE
    try:
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), mode)
    except cv2.error as error:
        raise ValueError("the frame is no PNG") from error
    if picture is None or picture.shape[:2] != (height * (channels // depth), width):
        raise ValueError(f"the frame is no PNG of shape {tuple(shape)}")
    picture = picture.reshape(channels // depth, height, width, depth)
    picture = picture if is_bgr else picture[..., ::-1]
    return np.ascontiguousarray(picture.transpose(1, 2, 0, 3)).reshape(height, width, channels)
