"""Synthetic logs of human driving, with known content."""

import json
from datetime import datetime, timedelta

import cv2
import numpy as np
import pytest

from envs.recorded import load_udacity
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter

START = datetime(2018, 7, 16, 23, 59, 59, 800_000)
RED = (255, 0, 0)


def write_image(path, size=(160, 320), color=RED):
    image = np.full((*size, 3), color[::-1], np.uint8)  # OpenCV writes BGR
    assert cv2.imwrite(str(path), image)


def stamp(milliseconds):
    time = START + timedelta(milliseconds=milliseconds)
    return f"{time:%Y_%m_%d_%H_%M_%S}_{time.microsecond // 1000:03d}.jpg"


def make_udacity(folder, times_ms, steering, *, cameras=("center",), header="", windows_paths=True):
    """Write a log of three cameras, and the images of those in `cameras`."""
    (folder / "IMG").mkdir(parents=True)
    prefix = "C:\\Users\\Someone\\drive\\IMG\\" if windows_paths else " IMG/"
    lines = [header]
    for time_ms, steer in zip(times_ms, steering, strict=True):
        names = [f"{camera}_{stamp(time_ms)}" for camera in ("center", "left", "right")]
        cells = [prefix + name for name in names]
        lines.append(",".join([*cells, str(steer), "1", "0", "30.19"]) + "\n")
        for name in names:
            if name.split("_")[0] in cameras:
                write_image(folder / "IMG" / name)
    (folder / "driving_log.csv").write_text("".join(lines))
    return folder


def quiet_udacity(folder, times_ms, steering=None, **settings):
    """Load a log whose side cameras are present, so that nothing is missing."""
    steering = [0.0] * len(times_ms) if steering is None else steering
    make_udacity(folder, times_ms, steering, cameras=("center", "left", "right"))
    return load_udacity(folder, **settings)


def make_tub(folder, records, *, deleted=(), size=(120, 160), images=True):
    """Write a tub of version 2; `records` holds the fields that differ from the defaults."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for i, changes in enumerate(records):
        record = {
            "_index": i,
            "_session_id": "22-02-10_0",
            "_timestamp_ms": 1_644_504_922_690 + 50 * i,
            "cam/image_array": f"{i}_cam_image_array_.jpg",
            "user/angle": 0.0,
            "user/mode": "user",
            "user/throttle": 0.5,
            **changes,
        }
        lines.append(json.dumps(record))
        if images:
            write_image(folder / "images" / f"{i}_cam_image_array_.jpg", size)
    half = len(lines) // 2
    (folder / "catalog_0.catalog").write_text("\n".join(lines[:half]) + "\n")
    (folder / "catalog_1.catalog").write_text("\n".join(lines[half:]) + "\n")
    manifest = [
        ["cam/image_array", "user/angle", "user/throttle", "user/mode"],
        ["image_array", "float", "float", "str"],
        {},
        {"created_at": 1644504876.7},
        {
            "paths": ["catalog_0.catalog", "catalog_1.catalog"],
            "current_index": len(lines),
            "deleted_indexes": list(deleted),
        },
    ]
    (folder / "manifest.json").write_text("\n".join(json.dumps(v) for v in manifest) + "\n")
    return folder


def make_old_tub(folder, records, *, time=lambda i: {"milliseconds": 50 * i}):
    """Write a tub of version 1, without meta.json; records and images lie side by side."""
    folder.mkdir(parents=True)
    for i, changes in enumerate(records):
        name = f"{i}_cam-image_array_.jpg"
        record = {"cam/image_array": name, "user/angle": 0.0, "user/throttle": 0.5, **time(i)}
        (folder / f"record_{i}.json").write_text(json.dumps({**record, **changes}))
        write_image(folder / name, (120, 160))
    return folder


def store_of(recording, folder):
    with DemonstrationWriter(
        folder, recording.observation_shape, source=recording.source
    ) as writer:
        recording.write(writer)
    return Demonstrations.open(folder)


def lengths(recording, camera="center"):
    return [len(episode) for episode in recording.episodes if episode.camera == camera]


@pytest.fixture(name="stamp")
def _stamp():
    return stamp


@pytest.fixture(name="make_udacity")
def _make_udacity():
    return make_udacity


@pytest.fixture(name="quiet_udacity")
def _quiet_udacity():
    return quiet_udacity


@pytest.fixture(name="make_tub")
def _make_tub():
    return make_tub


@pytest.fixture(name="make_old_tub")
def _make_old_tub():
    return make_old_tub


@pytest.fixture(name="store_of")
def _store_of():
    return store_of


@pytest.fixture(name="lengths")
def _lengths():
    return lengths
