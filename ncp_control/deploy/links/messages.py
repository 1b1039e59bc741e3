"""Messages between the loop and a link's process: JSON text and one array as bytes, no pickle.

A message is a word, JSON values, and optionally one array of numbers:

| bytes     | what                                                               |
|-----------|--------------------------------------------------------------------|
| 4         | length of the JSON text, little endian                             |
| that many | `{"word": …, "value": …, "array": {"dtype": …, "shape": […]}}`     |
| the rest  | the numbers of the array, in C order; nothing without an array     |
"""

import json
import struct
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

_LENGTH = struct.Struct("<I")
_KINDS = "biuf"
"""NumPy kinds of numbers allowed in an array."""


def send_message(
    pipe: Connection, word: str, value: Any = None, array: np.ndarray | None = None
) -> None:
    """Send a message.

    Args:
        pipe: Connection to send to.
        word: Kind of message.
        value: JSON value; NaN and infinity are allowed.
        array: Numbers.

    Raises:
        TypeError: If a value is not JSON, or the array does not hold numbers.
        OSError: If the other end is gone.
    """
    header: dict[str, Any] = {"word": word, "value": value}
    numbers = b""
    if array is not None:
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"`array` must hold numbers, got {array.dtype}. Convert it first.")
        header["array"] = {"dtype": array.dtype.str, "shape": array.shape}
        numbers = array.tobytes()
    text = json.dumps(header).encode()
    pipe.send_bytes(_LENGTH.pack(len(text)) + text + numbers)


def receive_message(pipe: Connection) -> tuple[str, Any, np.ndarray | None]:
    """Wait for a message; return its word, its value, and its array or None.

    Raises:
        EOFError: If the other end is gone.
        OSError: If the pipe is broken, or the received bytes are not a message.
    """
    data = pipe.recv_bytes()
    try:
        begin = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        header = json.loads(data[_LENGTH.size : begin])
        word, value, kept = header["word"], header["value"], header.get("array")
        if kept is None:
            return word, value, None
        kind = np.dtype(kept["dtype"])
        if kind.kind not in _KINDS:
            raise ValueError(f"an array of {kind}")
        array = np.frombuffer(data, kind, offset=begin).reshape(kept["shape"]).copy()
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise OSError(f"what came through the pipe is no message: {error}") from error
    return word, value, array
