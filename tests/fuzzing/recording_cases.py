"""Recordings of every format that is read, and what must hold of what comes back."""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from envs.recorded import load_recording, write_lerobot, write_minari
from ncp_control.contract import Contract
from ncp_control.deploy.links import Reading
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.realtime import drive
from ncp_control.loop.recording import DriveRecorder
from ncp_control.loop.settings import LoopSettings
from ncp_control.policy import Policy
from tests.fuzzing.cases import PRETRAINED, Reader


def _image(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    return cv2.GaussianBlur(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8), (5, 5), 0)


def _make_udacity(folder: Path, header: str = "") -> None:
    (folder / "IMG").mkdir(parents=True)
    lines = [header]
    for i in range(8):
        names = [
            f"{c}_2018_07_16_17_11_43_{100 * i + 100}.jpg" for c in ("center", "left", "right")
        ]
        lines.append(",".join([*(f"C:\\me\\IMG\\{n}" for n in names), f"{i / 8}", "1", "0", "30"]))
        for name in names:
            cv2.imwrite(str(folder / "IMG" / name), _image(i))
    (folder / "driving_log.csv").write_text("\n".join(line for line in lines if line) + "\n")


def _make_tub(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    records = []
    for i in range(12):
        name = f"{i}_cam_image_array_.jpg"
        cv2.imwrite(str(folder / "images" / name), _image(i))
        session = {
            "_index": i,
            "_session_id": "25-01-01_0",
            "_timestamp_ms": 1_600_000_000_000 + 50 * i,
        }
        user = {"user/angle": i / 12, "user/mode": "user", "user/throttle": 0.3}
        records.append(session | {"cam/image_array": name} | user)
    (folder / "catalog_0.catalog").write_text("".join(json.dumps(r) + "\n" for r in records))
    manifest = [
        ["cam/image_array", "user/angle", "user/throttle", "user/mode"],
        ["image_array", "float", "float", "str"],
        {},
        {"created_at": 1.6e9, "sessions": {}},
        {"paths": ["catalog_0.catalog"], "current_index": 12, "deleted_indexes": [3]},
    ]
    (folder / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in manifest))


def _make_old_tub(folder: Path) -> None:
    """Write a tub of version 1: one JSON file a record."""
    for i in range(8):
        name = f"{i}_cam-image_array_.jpg"
        cv2.imwrite(str(folder / name), _image(i))
        record = {"cam/image_array": name, "user/angle": i / 8, "user/throttle": 0.3,
                  "user/mode": "user", "milliseconds": 50 * i}  # fmt: skip
        (folder / f"record_{i}.json").write_text(json.dumps(record))
    inputs = {"inputs": ["cam/image_array", "user/angle", "user/throttle", "user/mode"],
              "types": ["image_array", "float", "float", "str"], "start": 1.6e9}  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(inputs))


def _make_table(folder: Path) -> None:
    """Write a table of frames, images and numbers."""
    lines = ["path,time_s,episode,steering,speed [m/s]"]
    for i in range(10):
        cv2.imwrite(str(folder / f"{i}.png"), _image(i))
        lines.append(f"{i}.png,{0.1 * i:.1f},{i // 5},{i / 10},{3 + i}")
    (folder / "frames.csv").write_text("\n".join(lines) + "\n")


def _make_lerobot(version: int) -> Callable[[Path], None]:
    """Return what writes a LeRobotDataset with videos."""

    def make(folder: Path) -> None:
        from tests.envs.recorded import lerobot_files

        write = lerobot_files.write_v2 if version == 2 else lerobot_files.write_v3
        lerobot_files.write_tasks(write(folder, (6, 5)), ["pick", "place"])

    return make


def _make_converted(write: Callable[..., None]) -> Callable[[Path], None]:
    """Return what writes a tub in another format: images in Parquet, pixels in HDF5."""

    def make(folder: Path) -> None:
        _make_tub(folder / "tub")
        shutil.rmtree(folder / "set", ignore_errors=True)
        write(load_recording(folder / "tub"), folder / "set")
        shutil.rmtree(folder / "tub")

    return make


def _make_comma(folder: Path) -> None:
    """Write a segment of comma2k19 without its video."""
    from tests.envs.recorded import test_comma

    test_comma.write_segment(folder)


def _read_converted(folder: Path) -> None:
    _read_recording(folder / "set")


def _make_bag(storage: str, compression: str | None, what: str) -> Callable[[Path], None]:
    """Return what writes a ROS 2 bag of a drive or of an arm."""

    def make(folder: Path) -> None:
        from tests.envs.recorded import bag_files

        shutil.rmtree(folder)
        bag_files.write_bag(folder, getattr(bag_files, what)(8)[0], storage, compression)

    return make


def _read_bag(folder: Path) -> None:
    _read_recording(folder, max_steer_rad=0.4)


def _read_arm(folder: Path) -> None:
    _read_recording(folder, command_topic="/leader")


def _make_drive(folder: Path) -> None:
    """Record a policy on frames of noise."""
    policy = Policy.load(PRETRAINED / "drive-ncp")
    contract = policy.contract
    assert contract is not None
    rng = np.random.default_rng(0)
    with DriveRecorder(folder / "recording.mcap", policy, contract, name="drive-ncp") as recorder:
        drive(policy, contract, _Noise(contract, rng), clock=SimulatedClock(), recorder=recorder,
              settings=LoopSettings(seconds=2.5))  # fmt: skip


class _Noise:
    """A link that shows noise and moves nothing."""

    def __init__(self, contract: Contract, rng: np.random.Generator) -> None:
        self.contract, self._rng, self._number = contract, rng, 0

    def read(self, timeout_s: float) -> Reading:
        self._number += 1
        small = self._rng.integers(0, 255, (20, 50, 3), dtype=np.uint8)
        frame = cv2.resize(small, (200, 78))
        return Reading(observation=frame, time_s=self._number * self.contract.frame_s)

    def send(self, command: np.ndarray) -> None:
        pass

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def _read_drive(folder: Path) -> None:
    _read_recording(folder / "recording.mcap")


def _read_recording(folder: Path, **options: float) -> None:
    recording = load_recording(folder, options=options).choose()
    assert len(recording) > 0
    for episode in recording.episodes:
        for name in (*recording.actions, *recording.inputs):
            assert np.isfinite(episode.numbers[name]).all()
        if "steering" in recording.actions:
            assert (np.abs(episode.numbers["steering"]) <= 1).all()
        assert np.isfinite(episode.time_s).all()
    with tempfile.TemporaryDirectory() as other:
        store = Path(other) / "store"
        with recording.open_store(store) as writer:
            recording.write(writer)
        assert len(Demonstrations.open(store)) == len(recording)


RECORDINGS = {
    "udacity": Reader(make=_make_udacity, read=_read_recording),
    "udacity-header": Reader(
        make=lambda folder: _make_udacity(
            folder, "center,left,right,steering,throttle,brake,speed"
        ),
        read=_read_recording,
    ),
    "tub": Reader(make=_make_tub, read=_read_recording),
    "tub-v1": Reader(make=_make_old_tub, read=_read_recording),
    "drive": Reader(make=_make_drive, read=_read_drive),
    "table": Reader(make=_make_table, read=_read_recording),
    "comma": Reader(make=_make_comma, read=_read_recording),
}
"""Readers of recordings by name; those of a package that is not installed are left out."""
if importlib.util.find_spec("pyarrow") is not None and importlib.util.find_spec("av") is not None:
    RECORDINGS |= {
        "lerobot-v2": Reader(make=_make_lerobot(2), read=_read_recording),
        "lerobot-v3": Reader(make=_make_lerobot(3), read=_read_recording),
        "lerobot-images": Reader(make=_make_converted(write_lerobot), read=_read_converted),
    }
if importlib.util.find_spec("minari") is not None:
    RECORDINGS["minari"] = Reader(make=_make_converted(write_minari), read=_read_converted)
if importlib.util.find_spec("rosbags") is not None:
    RECORDINGS |= {
        "bag-mcap": Reader(make=_make_bag("mcap", "storage", "drive"), read=_read_bag),
        "bag-sqlite3": Reader(make=_make_bag("sqlite3", None, "drive"), read=_read_bag),
        "bag-arm": Reader(make=_make_bag("sqlite3", None, "arm"), read=_read_arm),
    }
