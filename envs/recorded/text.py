"""Read text of machine-written logs, in any encoding and with any line ends, even if damaged."""

import codecs
import warnings
from pathlib import Path

_UTF_16 = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, stripped; empty lines are kept, so line numbers are correct.

    UTF-8 and UTF-16 are read with and without a byte-order mark. A line that is neither is read as
    Windows-1252, which includes Latin-1; damage of a line affects no other line.
    """
    text = _decode(path.read_bytes())
    return [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def read_table_lines(path: Path) -> list[str]:
    """Return the lines of a table as `read_lines` does.

    Names of columns become part of a policy's contract, so a header whose letters are a guess gives
    a warning.
    """
    lines = read_lines(path)
    head = next((line for line in path.read_bytes().splitlines() if line.strip()), b"")
    is_plain = not any(head.startswith(mark) for mark, _ in _UTF_16) and b"\0" not in head
    try:
        head.decode()
    except UnicodeDecodeError:
        if is_plain:
            warnings.warn(
                f"The header of '{path}' is not UTF-8: it was read as Windows-1252. If letters of"
                " its columns are wrong, save the file as UTF-8.",
                stacklevel=3,
            )
    return lines


def is_file(path: Path) -> bool:
    """True if a path is a file; False also for impossible file names, as in a damaged log."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _decode(data: bytes) -> str:
    for mark, encoding in _UTF_16:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    # Without a mark: a log begins with two ASCII characters, which are four bytes in UTF-16.
    first, second, third, fourth = data[:4] if len(data) >= 4 else b"\xff" * 4
    if first and third and not second and not fourth:
        return data.decode("utf-16-le", errors="replace")
    if second and fourth and not first and not third:
        return data.decode("utf-16-be", errors="replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\n".join(map(_decode_line, data.splitlines()))


def _decode_line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")
