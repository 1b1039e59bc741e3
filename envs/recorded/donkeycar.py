"""Donkeycar tubs of versions 1 and 2; `tub_records` describes a record.

Version 2: `manifest.json` has one JSON value per line: the fields of a record, their types,
metadata, session metadata, and last an object with the names of the catalogs (`paths`) and the
records deleted by the driver (`deleted_indexes`). A catalog has one record per line, with its
number `_index`, its `_session_id`, its time `_timestamp_ms` and the name of an image in `images/`.

Version 1: `record_N.json` is one record, with its image `N_cam-image_array_.jpg` beside it. The
time is in `milliseconds` since the tub was started, or in `timestamp`, a date and time. Old tubs
have neither: their frames are assumed to be 1/20 s apart, Donkeycar's usual rate, with a warning.
`meta.json` has the fields (`inputs`) and their types; `exclude.json` lists deleted records.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from envs.recorded.assembly import Listing, assemble_recording, check_folder, finite_number
from envs.recorded.own_notes import FILE, read_notes
from envs.recorded.recording import Recording
from envs.recorded.text import is_file, read_lines
from envs.recorded.tub_records import (
    ANGLE_FIELDS,
    IMAGE_FIELD,
    TubRecords,
    read_json,
    whole_number,
)

MANIFEST_FILE = "manifest.json"
META_FILE = "meta.json"
TIME_ASSUMED = "time taken from 20 frames a second"
_FRAMES_PER_SECOND = 20
_MANIFEST_LINES = 5
_RECORD_FILE = re.compile(r"record_(\d{1,15})\.json", re.ASCII)


def load_donkeycar(
    folder: str | Path,
    *,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] | None = None,
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a Donkeycar tub.

    Args:
        folder: Folder with `manifest.json`, the catalogs and `images/` (version 2), or with
            `record_N.json` and the images (version 1).
        image_size: Height and width of an observation [pixels].
        crop: Shares of the height cut off at the top and at the bottom; if None: the crop stored
            with a tub of ours, or no crop, since the images may have been cropped on the car.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing or deleted frames above which a new
            episode starts.

    Returns:
        The recording.

    Raises:
        FileNotFoundError: If the folder, its manifest or all its catalogs are missing.
        NotADirectoryError: If it is a file.
        ValueError: If the manifest is damaged, or no record can be used.
    """
    folder = Path(folder)
    check_folder(folder)
    framing = read_notes(folder / FILE).framing(image_size, crop, folder)
    is_version_2 = (folder / MANIFEST_FILE).is_file()
    if not is_version_2 and not is_tub(folder):
        raise FileNotFoundError(
            f"`folder` must hold a {MANIFEST_FILE} (tub of version 2) or record_N.json (version 1),"
            f" got '{folder}' with neither. Give the tub's folder."
        )
    return assemble_recording(
        _read_version_2(folder) if is_version_2 else _read_version_1(folder),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )


def is_tub(folder: Path) -> bool:
    """True if a folder looks like a tub of either version."""
    return (folder / MANIFEST_FILE).is_file() or any(_record_files(folder))


def _read_version_2(folder: Path) -> Listing:
    """Read the records of all catalogs."""
    image_field, catalogs, deleted = _read_manifest(folder / MANIFEST_FILE)
    records = TubRecords(folder, folder / "images", image_field, deleted)
    present = [name for name in catalogs if is_file(folder / name)]
    if catalogs and not present:
        raise FileNotFoundError(
            f"`{catalogs[0][:100]}` must lie in the tub, as its manifest says, got none in"
            f" '{folder}'. Restore the file from the car."
        )
    for name in catalogs:
        if name not in present:
            records.skipped.add("catalog missing", name)
            continue
        for number, line in enumerate(read_lines(folder / name), start=1):
            place = f"line {number} of {name}"
            record = records.parse(line, place) if line else None
            if record is None:
                continue
            row = whole_number(record.get("_index"))
            if row is None:
                records.skipped.add("record without a number", place)
                continue
            time_ms = finite_number(record.get("_timestamp_ms"))
            records.add(
                record,
                place,
                row=row,
                time_s=None if time_ms is None else time_ms / 1000.0,
                declared=str(record.get("_session_id", "")),
            )
    return records.listing()


def _read_manifest(manifest: Path) -> tuple[str, list[str], set[int]]:
    """Return the field of the image, the names of the catalogs and the deleted indexes."""
    try:
        values = [read_json(line) for line in read_lines(manifest) if line.strip("\0")]
        if len(values) < _MANIFEST_LINES:
            raise ValueError(f"{len(values)} lines instead of {_MANIFEST_LINES}")
        types = dict(zip(values[0], values[1], strict=True))
        image_field = _image_field(types)
        if image_field is None or not any(field in types for field in ANGLE_FIELDS):
            raise ValueError(f"fields {list(types)} without an image_array and user/angle")
        catalogs = [str(name) for name in values[-1]["paths"]]
        deleted = {int(index) for index in values[-1].get("deleted_indexes", [])}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"`{MANIFEST_FILE}` must be the manifest of a Donkeycar tub v2, got {error!r} in"
            f" '{manifest}'. Restore the file from the car."
        ) from error
    return image_field, catalogs, deleted


def _read_version_1(folder: Path) -> Listing:
    """Read all record files."""
    records = TubRecords(folder, folder, _meta_image_field(folder), _excluded(folder))
    found = []
    for row, path in sorted(_record_files(folder)):
        record = records.parse("\n".join(read_lines(path)), path.name)
        if record is not None:
            found.append((row, path.name, record, _time_s(record)))
    has_time = any(time_s is not None for *_, time_s in found)
    for row, place, record, time_s in found:
        if has_time:
            records.add(record, place, row=row, time_s=time_s)
        else:
            time_s = row / _FRAMES_PER_SECOND
            records.add(record, place, row=row, time_s=time_s, changes=(TIME_ASSUMED,))
    return records.listing()


def _record_files(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield number and path of each record of version 1, in any order."""
    for path in folder.glob("record_*.json"):
        match = _RECORD_FILE.fullmatch(path.name)
        if match is not None and path.is_file():
            yield int(match.group(1)), path


def _meta_image_field(folder: Path) -> str:
    """Return the field of the image; the default one if `meta.json` does not name it."""
    try:
        meta = read_json("\n".join(read_lines(folder / META_FILE)))
        field = _image_field(dict(zip(meta["inputs"], meta["types"], strict=True)))
    except (OSError, ValueError, TypeError, KeyError):
        field = None
    return IMAGE_FIELD if field is None else field


def _image_field(types: dict[str, Any]) -> str | None:
    return next((field for field, kind in types.items() if kind == "image_array"), None)


def _excluded(folder: Path) -> set[int]:
    """Return the numbers of the records that the driver deleted."""
    exclude = folder / "exclude.json"
    if not exclude.is_file():
        return set()
    try:
        return {int(index) for index in read_json("\n".join(read_lines(exclude)))}
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"`exclude.json` must be a list of deleted records, got {error!r} in '{exclude}'."
            " Restore the file from the car, or delete it to use every record."
        ) from error


def _time_s(record: dict[str, Any]) -> float | None:
    """Return the time of a record of version 1 [s]; only differences are meaningful."""
    time_ms = finite_number(record.get("milliseconds"))
    if time_ms is not None:
        return time_ms / 1000.0
    try:
        time = datetime.fromisoformat(record["timestamp"])
    except (KeyError, TypeError, ValueError):
        return None
    # Without the time zone, so that there are no jumps of daylight saving time.
    return (time.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
