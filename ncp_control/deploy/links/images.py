"""Images as simulators send them, a JPEG or PNG file in base64, and what a policy sees of them."""

import base64
import binascii

import numpy as np

from ncp_control.framing import Framer


def decode_image(text: object) -> np.ndarray | None:
    """Return the RGB image (height, width, 3) of a file in base64; None if it cannot be read."""
    import cv2

    try:
        data = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)  # type: ignore[arg-type]
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (binascii.Error, TypeError, ValueError, cv2.error):
        return None
    return None if picture is None else picture[:, :, ::-1]


def see(framer: Framer, image: object) -> np.ndarray | None:
    """Return the frame that a policy sees of an RGB image; None if it is no such image."""
    import cv2

    if not isinstance(image, np.ndarray):
        return None
    try:
        return framer.see(image)
    except (TypeError, ValueError, IndexError, cv2.error):
        return None
