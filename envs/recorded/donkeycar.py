"""Donkeycar tubs, version 2.

`manifest.json` has one JSON value a line: the fields of a record, their types, metadata, session
metadata, and last an object with the catalogs' names (`paths`) and the records deleted by the
driver (`deleted_indexes`). A catalog has one JSON record a line: `_index`, `_session_id`,
`_timestamp_ms`, the name of an image in `images/`, and `user/angle`, the fraction of the maximum
steering angle, which is negative to the left in Donkeycar (`PWMSteering.LEFT_ANGLE = -1`) and
therefore negated here.

Records in another `user/mode` than `user` were driven by an autopilot and are left out.
"""

import json
import ntpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envs.recorded.assembly import (
    LoggedImage,
    assemble_recording,
    check_folder,
    left_positive_steering,
)
from envs.recorded.images import Framing
from envs.recorded.recording import Recording

MANIFEST_FILE = "manifest.json"
_MANIFEST_LINES = 5


def load_donkeycar(
    folder: str | Path,
    *,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] = (0.0, 0.0),
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a Donkeycar tub.

    Args:
        folder: Folder with `manifest.json`, the catalogs and `images/`.
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom; nothing by default, since
            a tub's images may have been cropped on the car.
        max_gap_s: A longer time between two frames begins a new episode [s].
        max_missing_frames: More missing or deleted frames in a row begin a new episode.

    Returns:
        The recording.

    Raises:
        FileNotFoundError: If the folder, its manifest or a catalog is missing.
        ValueError: If a line is damaged, or no image can be read.
    """
    folder = Path(folder)
    check_folder(folder)
    framing = Framing(image_size=image_size, crop=crop)
    image_field, catalogs, deleted = _read_manifest(folder / MANIFEST_FILE)
    images = [
        image
        for name in catalogs
        for image in _read_catalog(folder / name, image_field)
        if image.row not in deleted
    ]
    if not images:
        raise ValueError(
            f"`{MANIFEST_FILE}` must lead to at least one record driven by the user, got none in"
            f" '{folder}'. Record a drive first."
        )
    return assemble_recording(
        folder,
        "donkeycar",
        images,
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )


def _read_manifest(manifest: Path) -> tuple[str, list[str], set[int]]:
    """Return the image's field, the catalogs' names and the deleted indexes."""
    if not manifest.is_file():
        raise FileNotFoundError(
            f"`folder` must hold a {MANIFEST_FILE}, got '{manifest.parent}' without one."
            " Give the tub's folder; convert a tub of version 1 with Donkeycar first."
        )
    lines = manifest.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        values = [json.loads(line) for line in lines if line.strip()]
        if len(values) < _MANIFEST_LINES:
            raise ValueError(f"{len(values)} lines instead of {_MANIFEST_LINES}")
        types = dict(zip(values[0], values[1], strict=True))
        image_field = next((f for f, kind in types.items() if kind == "image_array"), None)
        if image_field is None or "user/angle" not in types:
            raise ValueError(f"fields {list(types)} without an image_array and user/angle")
        catalogs = [str(name) for name in values[-1]["paths"]]
        deleted = {int(index) for index in values[-1].get("deleted_indexes", [])}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"`{MANIFEST_FILE}` must be the manifest of a Donkeycar tub v2, got {error!r} in"
            f" '{manifest}'. Restore the file from the car."
        ) from error
    return image_field, catalogs, deleted


def _read_catalog(catalog: Path, image_field: str) -> Iterator[LoggedImage]:
    """Yield the records of one catalog that the user drove."""
    if not catalog.is_file():
        raise FileNotFoundError(
            f"`{catalog.name}` must lie in the tub, as its manifest says, got none in"
            f" '{catalog.parent}'. Restore the file from the car."
        )
    with catalog.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                image = _read_record(line.strip(), catalog, number, image_field)
                if image is not None:
                    yield image


def _read_record(line: str, catalog: Path, number: int, image_field: str) -> LoggedImage | None:
    """Return the image of one record, None if an autopilot drove."""
    where = f"line {number} of '{catalog}'"
    try:
        record: dict[str, Any] = json.loads(line)
        if record.get("user/mode", "user") != "user":
            return None
        row, time_ms = int(record["_index"]), int(record["_timestamp_ms"])
        name, angle = ntpath.basename(record[image_field]), record["user/angle"]
        session = str(record.get("_session_id", ""))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"`{catalog.name}` must have one complete JSON record a line, got {line[:60]!r}"
            f" ({error!r}) in {where}. Correct or delete that line."
        ) from error
    return LoggedImage(
        row=row,
        path=catalog.parent / "images" / name,
        steering=left_positive_steering(angle, where),
        time_s=time_ms / 1000.0,
        session=session,
    )
