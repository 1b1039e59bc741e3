"""Images from simulators (JPEG or PNG in base64), and their conversion to a policy's frames."""

import base64
import binascii

import numpy as np

from ncp_control.framing import Framer


def decode_image(text: object) -> np.ndarray | None:
    """Decode a base64 image file to RGB (height, width, 3); None if it cannot be read."""
    import cv2

    try:
        data = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)  # type: ignore[arg-type]
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (binascii.Error, TypeError, ValueError, cv2.error):
        return None
    return None if picture is None else picture[:, :, ::-1]


def see(framer: Framer, image: object) -> np.ndarray | None:
    """Return the policy's frame for an image; None if the image is not valid.

    Args:
        framer: Makes the frame.
        image: RGB image (height, width, 3), or grey one (height, width[, 1]), which becomes three
            equal channels, uint8.
    """
    import cv2

    if not isinstance(image, np.ndarray):
        return None
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim == 3 and image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    try:
        return framer.see(image)
    except (TypeError, ValueError, IndexError, cv2.error):
        return None
