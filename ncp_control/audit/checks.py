"""Checks of the arrays that are passed to an audit."""

from collections.abc import Sequence

import numpy as np


def check_finite(name: str, values: np.ndarray, columns: Sequence[str] | None = None) -> np.ndarray:
    """Return values as float64 if all are finite.

    Args:
        name: Name of the values in the message.
        values: The values, shape (time,) or (time, …).
        columns: Names along the last axis, for the message.

    Raises:
        ValueError: If a value is NaN or infinite.
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
    """Check that a recording has at least `least` frames.

    Raises:
        ValueError: If it is shorter.
    """
    if len(values) < least:
        raise ValueError(
            f"`{name}` must have at least {least} frames, got {len(values)}."
            " Record a longer episode."
        )


def check_shape(name: str, values: np.ndarray | None, shape: tuple[int | str, ...]) -> None:
    """Check the shape of an array and that its values are finite; None passes.

    Args:
        name: Name of the array in the message.
        values: The array.
        shape: Required shape; a string stands for any length.

    Raises:
        ValueError: If the shape differs or a value is not finite.
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
