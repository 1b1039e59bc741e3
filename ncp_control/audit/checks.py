"""What an audit asks of the arrays it is given."""

from collections.abc import Sequence

import numpy as np


def check_finite(name: str, values: np.ndarray, columns: Sequence[str] | None = None) -> np.ndarray:
    """Return values as float64, shape (time,) or (time, …).

    Args:
        name: What the values are, as the user knows them.
        values: The values.
        columns: Names along the last axis, for the sentence.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    values = np.asarray(values, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        where = f"frame {int(bad[0][0])}" if values.ndim else "it"
        whose = f" of {columns[int(bad[0][-1])]}" if columns is not None else ""
        raise ValueError(
            f"`{name}` must be finite, got {float(values[tuple(bad[0])])} in {where}{whose}."
            " Check the weights and the recording."
        )
    return values


def check_num_frames(name: str, values: np.ndarray, least: int) -> None:
    """Refuse a recording shorter than `least` frames.

    Raises:
        ValueError: If it is.
    """
    if len(values) < least:
        raise ValueError(
            f"`{name}` must have at least {least} frames, got {len(values)}."
            " Record a longer episode."
        )


def check_shape(name: str, values: np.ndarray | None, shape: tuple[int | str, ...]) -> None:
    """Refuse an array of another shape, where a word stands for any length, or with NaN.

    Raises:
        ValueError: If it is one.
    """
    if values is None:
        return
    is_fitting = values.ndim == len(shape) and all(
        isinstance(want, str) or have == want
        for have, want in zip(values.shape, shape, strict=True)
    )
    if not is_fitting:
        wanted = ", ".join(map(str, shape))
        raise ValueError(
            f"`{name}` must have shape ({wanted}), got {values.shape}."
            " Check the axes and the lengths."
        )
    if values.dtype != np.uint8 and not np.isfinite(values).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(
            f"`{name}` must be finite, got {float(values[where])!r} at {where}."
            " Check the recorded values."
        )
