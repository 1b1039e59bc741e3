"""Read JSON files strictly, because others may have written or damaged them.

Files are JSON by RFC 8259 in UTF-8 (a byte order mark is skipped). Python's reader accepts NaN and
infinity, and keeps the last of two equal keys; both are errors here.
"""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

SHOWN_CHARACTERS = 120


def read_json(path: Path, *, max_bytes: int) -> Any:
    """Read a JSON file of limited size.

    Args:
        path: The file.
        max_bytes: Largest file size that is accepted [bytes].

    Raises:
        ValueError: If the file is larger, or not JSON. The message does not name the file; the
            caller adds the name.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"it has {size} bytes, and at most {max_bytes} are read")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error
    try:
        return json.loads(
            text,
            object_pairs_hook=_check_keys,
            parse_constant=_refuse_constant,
            parse_float=_read_float,
        )
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's message for its limit of digits
            raise ValueError("a whole number has too many digits") from error
        raise


def shorten(value: object) -> str:
    """Return the `repr` of a value, shortened to fit into an error message."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _check_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in values if names.count(name) > 1)
        raise ValueError(f"the key {shorten(repeated)} stands twice in one object")
    return values


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:SHOWN_CHARACTERS]} is too large")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")
