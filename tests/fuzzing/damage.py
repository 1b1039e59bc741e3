"""Ways to damage the files of a folder: bits, pieces, numbers, JSON values and table cells."""

import json
import math
import random
import re
from pathlib import Path

ABSURD = (
    None, True, -1, 0, 1, 2**31, 10**9, 2**63, 10**30, -0.5, 1e-320, 1e308, math.nan, math.inf,
    "", "x", "../..", "\0", "NaN", "1e999", "true", "ü" * 300, [], {}, [[]], [0] * 1000,
)  # fmt: skip
"""What a JSON value or a cell of a table is replaced by."""
TOKENS = (
    b"\0",
    b"\xff",
    b"\n",
    b"\r",
    b",",
    b'"',
    b"'",
    b"{",
    b"]",
    b"(",
    b"\xef\xbb\xbf",
    b"1e999",
)
"""What is put into the bytes of a file."""
IMAGES = (".jpg", ".png")


def mutate(folder: Path, rng: random.Random) -> str:
    """Change one file of a folder and say which and how."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    logs = [p for p in paths if p.suffix not in IMAGES]
    path = rng.choice(logs if rng.random() < 0.6 else paths)  # one log lists many images
    data = path.read_bytes()
    ways = [_flip, _cut, _insert, _repeat, _truncate, _number]
    if path.suffix in (".json", ".catalog", ".csv", ".catalog_manifest"):
        ways += [_json_value, _json_value, _cell, _cell]  # what people and programs get wrong
    if path.suffix == ".safetensors":
        ways += [_header]
    way = rng.choice([*ways, None])
    if way is None:
        damage = rng.choice(("removed", "emptied", "a folder"))
        path.unlink()
        if damage == "emptied":
            path.touch()
        elif damage == "a folder":
            path.mkdir()
        return f"{path.relative_to(folder)} {damage}"
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = way(data, rng)
    path.write_bytes(data)
    return f"{path.relative_to(folder)} {way.__name__[1:]}"


def _place(data: bytes, rng: random.Random) -> int:
    """Choose a place, the beginning of the file more often than the rest."""
    return rng.randrange(len(data) + 1 if rng.random() < 0.6 else min(len(data), 200) + 1)


def _flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return b"\1"
    at, changed = min(_place(data, rng), len(data) - 1), bytearray(data)
    changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 1, 2, 7, 64, 1000)) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.choice(TOKENS) * rng.choice((1, 1, 2, 100)) + data[at:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at, length = _place(data, rng), rng.choice((1, 8, 100, 4000))
    return data[:at] + data[at : at + length] * 2 + data[at + length :]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)] + rng.choice((b"", b"", b"\0" * 100))


def _number(data: bytes, rng: random.Random) -> bytes:
    """Replace a number that is written out in the first 4000 bytes."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:4000]))
    if not found:
        return _flip(data, rng)
    number = rng.choice(found)
    return data[: number.start()] + str(rng.choice(ABSURD)).encode() + data[number.end() :]


def _cell(data: bytes, rng: random.Random) -> bytes:
    """Replace, add or remove a cell of a table, or a line."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    cells = lines[at].split(b",")
    column = rng.randrange(len(cells))
    what = rng.choice(("replace", "add", "remove", "swap", "drop line", "double line"))
    if what == "replace":
        cells[column] = str(rng.choice(ABSURD)).encode()
    elif what == "add":
        cells.insert(column, b"0")
    elif what == "remove":
        del cells[column]
    elif what == "swap":
        rng.shuffle(cells)
    lines[at : at + 1] = {"drop line": [], "double line": [lines[at]] * 2}.get(
        what, [b",".join(cells)]
    )
    return b"\n".join(lines)


def _json_value(data: bytes, rng: random.Random) -> bytes:
    """Replace or remove one value of a JSON document, or of one line of JSON."""
    try:
        return _change_json(data.decode(), rng).encode()
    except ValueError:
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        try:
            lines[at] = _change_json(lines[at].decode(), rng).encode()
        except ValueError:
            return _number(data, rng)
        return b"\n".join(lines)


def _change_json(text: str, rng: random.Random) -> str:
    root = [json.loads(text)]
    holder, key, value = root, 0, root[0]
    while isinstance(value, list | dict) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        holder, key = value, rng.choice(list(keys))
        value = holder[key]
    if holder is not root and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = rng.choice(ABSURD)
    return json.dumps(root[0])


def _header(data: bytes, rng: random.Random) -> bytes:
    """Change the JSON header of a safetensors file and keep its length field right."""
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size]
    if rng.random() < 0.4:
        types = (b"F16", b"F8_E4M3", b"F64", b"I64", b"BOOL", b"U8", b"C64")
        changed = header.replace(b"F32", rng.choice(types), rng.choice((1, -1)))
    else:
        changed = _json_value(header, rng)
    return len(changed).to_bytes(8, "little") + changed + data[8 + size :]
