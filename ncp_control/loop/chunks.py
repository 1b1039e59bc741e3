"""Chunks of a recording: frames are read from them only when they are needed."""

import base64
import binascii
import io
import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

_MOST_CHUNK_BYTES = 2**28
"""Largest uncompressed size of a chunk that is read [bytes]."""


@dataclass(frozen=True)
class StoredFrame:
    """Reference to a frame in a recording."""

    path: Path
    """File of the recording."""
    offset: int
    """Position in the file at which its chunk begins [bytes]."""
    index: int
    """Index of its message in the chunk."""

    @property
    def name(self) -> str:
        """Location of the frame, for messages."""
        return f"{self.path.name}, message {self.index} of the chunk at byte {self.offset}"

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """Return the frame as PNG.

        Raises:
            ValueError: If the chunk or the frame is damaged.
            OSError: If the file cannot be read.
        """
        try:
            data = read_chunk(self.path, self.offset)[self.index].data
            return base64.b64decode(json.loads(data)["data"], validate=True)
        except (IndexError, KeyError, TypeError, binascii.Error) as error:
            raise ValueError(f"{self.name} is no frame") from error


def read_chunk(path: Path, offset: int) -> list[Any]:
    """Return the records of a chunk; the two last chunks are cached, as frames are read in order.

    Raises:
        ValueError: If the chunk is damaged.
    """
    found = path.stat()
    return _read_chunk_once(path, offset, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=2)
def _read_chunk_once(path: Path, offset: int, size: int, changed_ns: int) -> list[Any]:
    from mcap.data_stream import ReadDataStream
    from mcap.records import Chunk
    from mcap.stream_reader import breakup_chunk

    with path.open("rb") as file:
        file.seek(offset)
        body = _body(file, size)
    try:
        chunk = Chunk.read(ReadDataStream(io.BytesIO(body)))
        if chunk.uncompressed_size > _MOST_CHUNK_BYTES:
            raise ValueError(f"larger than {_MOST_CHUNK_BYTES // 2**20} MiB")
        return breakup_chunk(chunk, validate_crc=True)
    except Exception as error:  # mcap raises many kinds of errors on damaged data
        raise ValueError(short_reason(error)) from error


def _body(file: BinaryIO, most: int) -> bytes:
    """Return the content of the record at the current position, at most `most` bytes."""
    head = file.read(9)
    if len(head) < 9:
        raise ValueError("the file is cut off")
    _, length = struct.unpack("<BQ", head)
    return file.read(min(length, most))


def short_reason(error: Exception) -> str:
    """Return the message of an error, cut to 100 characters."""
    return str(error)[:100] or type(error).__name__
