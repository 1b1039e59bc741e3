"""Encoding of numbers and images for the inspector's page.

Numbers for display are quantized to 16 bits between the lowest and the highest value of their
column, so the error is at most 1/131070 of the column's range. Numbers for computations on the page
are stored in single precision. Images are combined into sheets: WebP images with a block of
consecutive frames, row by row. This saves a header per frame, and a sheet is decoded at once.
"""

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

_SHEET_PIXELS = 1_500_000  # about 6 MB when decoded
_LEVELS = 65535


@dataclass(frozen=True, kw_only=True)
class Detail:
    """Resolution and quality of stored images."""

    frame_height_px: int
    """Maximum height of a frame [px]."""
    frame_quality: int
    """WebP quality of frames, 0 to 100."""
    map_height_px: int
    """Maximum height of a saliency map [px]."""
    map_quality: int
    """WebP quality of maps, 0 to 100."""
    map_stride: int
    """Number of frames between stored maps."""


DETAILS = (
    Detail(frame_height_px=240, frame_quality=85, map_height_px=39, map_quality=70, map_stride=1),
    Detail(frame_height_px=240, frame_quality=70, map_height_px=39, map_quality=60, map_stride=2),
    Detail(frame_height_px=180, frame_quality=60, map_height_px=26, map_quality=50, map_stride=3),
    Detail(frame_height_px=120, frame_quality=45, map_height_px=20, map_quality=40, map_stride=5),
)
"""Levels of detail, from fine to coarse."""


def pack_table(values: np.ndarray | None) -> dict[str, Any] | None:
    """Return a table (rows, columns) quantized to 16 bits, in base 64, row by row."""
    if values is None:
        return None
    values = np.asarray(values, dtype=np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    step = np.where(high > low, (high - low) / _LEVELS, 1.0)
    levels = np.rint((values - low) / step).astype("<u2")
    return {
        "shape": list(values.shape),
        "low": low.tolist(),
        "step": step.tolist(),
        "levels": base64.b64encode(levels.tobytes()).decode(),
    }


def pack_floats(values: np.ndarray) -> dict[str, Any]:
    """Return a vector or a table in single precision and base 64, row by row."""
    values = np.ascontiguousarray(values, "<f4")
    return {"shape": list(values.shape), "floats": base64.b64encode(values.tobytes()).decode()}


def pack_images(
    images: np.ndarray | None, height_px: int, quality: int, stride: int
) -> dict[str, Any] | None:
    """Return images as WebP sheets in base 64.

    Args:
        images: RGB uint8 (time, height, width, 3), or one channel (time, height, width), uint8 or
            float in [0, 1].
        height_px: Maximum height; larger images are downscaled [px].
        quality: WebP quality, 0 to 100.
        stride: Keep every `stride`-th image.
    """
    if images is None:
        return None
    kept = images[::stride]
    if kept.dtype != np.uint8:
        kept = np.rint(kept * 255.0).astype(np.uint8)
    height = min(images.shape[1], height_px)
    width = max(round(images.shape[2] * height / images.shape[1]), 1)
    columns = max(math.isqrt(_SHEET_PIXELS) // width, 1)
    per_sheet = columns * max(math.isqrt(_SHEET_PIXELS) // height, 1)
    sheets = [
        _sheet(kept[first : first + per_sheet], width, height, columns, quality)
        for first in range(0, len(kept), per_sheet)
    ]
    return {
        "width": width,
        "height": height,
        "columns": columns,
        "per_sheet": per_sheet,
        "stride": stride,
        "sheets": sheets,
    }


def _sheet(images: np.ndarray, width: int, height: int, columns: int, quality: int) -> str:
    """Return consecutive images as one WebP image in base 64."""
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for i, pixels in enumerate(images):
        image = Image.fromarray(pixels)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BOX)
        sheet.paste(image, (i % columns * width, i // columns * height))
    content = io.BytesIO()
    sheet.save(content, "WEBP", quality=quality, method=2)
    return base64.b64encode(content.getvalue()).decode()
