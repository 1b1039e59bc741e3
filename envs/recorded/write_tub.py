"""Write a recording as a Donkeycar tub of version 2, which Donkeycar's own tools can read.

Frames are copied unchanged, times are kept to the microsecond (`_timestamp_ms` gets decimals), and
each episode is a session. Records are numbered consecutively, as Donkeycar requires. The crop is in
`meta/ncp_control.json`, which Donkeycar ignores.

Source: https://github.com/autorope/donkeycar/blob/main/donkeycar/parts/datastore_v2.py
"""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from envs.recorded.images import as_file
from envs.recorded.own_notes import FILE, notes_of
from envs.recorded.quantities import STEERING
from envs.recorded.recording import Recording
from envs.recorded.tub_records import IMAGE_FIELD
from envs.recorded.writing import new_folder, written_episodes

_CATALOG_RECORDS = 1000


def write_tub(recording: Recording, folder: str | Path) -> None:
    """Write a recording as a tub.

    Args:
        recording: A recording with frames, and steering as a fraction of the largest angle.
        folder: Folder of the tub; it must not exist yet.

    Raises:
        ValueError: If the recording has no frames or no such steering, `folder` exists, or an image
            has become unreadable.
    """
    known = {one.name: one for one in recording.quantities}
    if recording.framing is None or STEERING not in known or known[STEERING].is_scaled:
        raise ValueError(
            "`recording` must have frames and steering in [-1, 1] to be a tub, got"
            f" {', '.join(known) or 'no numbers'}"
            f"{' without frames' if recording.framing is None else ''} of"
            f" '{recording.folder}'. Write another format, or convert an angle with"
            " --max-steer-deg."
        )
    with new_folder(folder) as new:
        (new / "images").mkdir()
        records, sessions = [], []
        for episode in written_episodes(recording):
            day = datetime.fromtimestamp(max(float(episode.time_s[0]), 0.0), UTC)
            sessions.append(f"{day:%y-%m-%d}_{len(sessions)}")
            for i in range(len(episode)):
                data, suffix, _ = as_file(episode.image_paths[i])
                name = f"{len(records)}_cam_image_array_{suffix}"
                (new / "images" / name).write_bytes(data)
                numbers = {key: float(values[i]) for key, values in episode.numbers.items()}
                records.append(
                    {
                        "_index": len(records),
                        "_session_id": sessions[-1],
                        "_timestamp_ms": _milliseconds(float(episode.time_s[i])),
                        IMAGE_FIELD: name,
                        "user/mode": "user",
                        **_fields(numbers),
                    }
                )
        _write_catalogs(new, records, sessions)
        text = json.dumps(notes_of(recording, {}, ()), indent=4, allow_nan=False)
        (new / FILE).parent.mkdir()
        (new / FILE).write_text(text + "\n", encoding="utf-8")


def _milliseconds(time_s: float) -> int | float:
    time_ms = round(1000.0 * time_s, 3)
    return int(time_ms) if time_ms.is_integer() else time_ms


def _fields(numbers: dict[str, float]) -> dict[str, float]:
    """Return the numbers of a record under the names of a tub; steering is right positive there."""
    found = {}
    for name, value in numbers.items():
        if not math.isfinite(value):
            continue
        if name == STEERING:
            found["user/angle"] = 0.0 - value
        else:
            found[f"user/{name}" if name == "throttle" else name] = value
    return found


def _write_catalogs(new: Path, records: list[dict[str, Any]], sessions: list[str]) -> None:
    """Write the catalogs, and the manifest with the fields of all records."""
    created_at = records[0]["_timestamp_ms"] / 1000.0
    types = {IMAGE_FIELD: "image_array", "user/mode": "str"}
    for record in records:
        types |= {key: "float" for key in record if key not in types and key[0] != "_"}
    paths = []
    for first in range(0, len(records), _CATALOG_RECORDS):
        lines = [json.dumps(one) + "\n" for one in records[first : first + _CATALOG_RECORDS]]
        paths.append(f"catalog_{len(paths)}.catalog")
        (new / paths[-1]).write_text("".join(lines), encoding="utf-8", newline="\n")
        lengths = {
            "created_at": created_at,
            "line_lengths": [len(line.encode()) for line in lines],
            "path": paths[-1],
            "start_index": first,
        }
        (new / f"{paths[-1]}_manifest").write_text(json.dumps(lengths) + "\n", encoding="utf-8")
    ids = {"all_full_ids": sessions, "last_id": len(sessions) - 1, "last_full_id": sessions[-1]}
    manifest = [
        list(types),
        list(types.values()),
        {},
        {"created_at": created_at, "sessions": ids},
        {"paths": paths, "current_index": len(records), "max_len": _CATALOG_RECORDS,
         "deleted_indexes": []},
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in manifest)
    (new / "manifest.json").write_text(text, encoding="utf-8")
