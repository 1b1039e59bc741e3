"""Read text of machine-written logs, in any encoding and with any line ends, even if damaged."""

import codecs
import io
import warnings
from pathlib import Path

_UTF_16 = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, stripped; empty lines are kept, so line numbers are correct.

    UTF-8 and UTF-16 are read with and without a byte-order mark. A line that is neither is read as
    Windows-1252, which includes Latin-1; damage of a line affects no other line.
    """
    return _lines_of(path.read_bytes())


def read_table_lines(path: Path) -> list[str]:
    """Return the lines of a table as `read_lines` does.

    Names of columns become part of a policy's contract, so a header whose letters are a guess gives
    a warning.
    """
    data = path.read_bytes()
    head = next(filter(bytes.strip, io.BytesIO(data)), b"").lstrip().partition(b"\r")[0]
    if _utf_16_of(data) is None and not _is_utf_8(head):
        warnings.warn(
            f"The header of '{path}' is not UTF-8: it was read as Windows-1252. If letters of its"
            " columns are wrong, save the file as UTF-8.",
            stacklevel=3,
        )
    return _lines_of(data)


def is_file(path: Path) -> bool:
    """True if a path is a file; False also for impossible file names, as in a damaged log."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _lines_of(data: bytes) -> list[str]:
    text = _decode(data)
    return [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def _decode(data: bytes) -> str:
    encoding = _utf_16_of(data)
    if encoding is not None:
        return data.decode(encoding, errors="replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\n".join(map(_decode_line, data.splitlines()))


def _decode_line(line: bytes) -> str:
    return line.decode() if _is_utf_8(line) else line.decode("cp1252", errors="replace")


def _utf_16_of(data: bytes) -> str | None:
    """Return the encoding of UTF-16 text; None if it is another text."""
    for mark, encoding in _UTF_16:
        if data.startswith(mark):
            return encoding
    # Without a mark: a log begins with two ASCII characters, which are four bytes in UTF-16.
    first, second, third, fourth = data[:4] if len(data) >= 4 else b"\xff" * 4
    if first and third and not second and not fourth:
        return "utf-16-le"
    if second and fourth and not first and not third:
        return "utf-16-be"
    return None


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
