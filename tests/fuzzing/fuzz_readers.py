"""Mutate the files that ncp-control reads, and check that each reader answers with one sentence.

    python tests/fuzzing/fuzz_readers.py                        2,000 inputs over all readers
    python tests/fuzzing/fuzz_readers.py --count 20000          the full campaign, some minutes
    python tests/fuzzing/fuzz_readers.py --readers policy       one reader
    python tests/fuzzing/fuzz_readers.py --readers policy --first 123 --count 1     one input again

A reader gets a folder of valid files, of which one is mutated: bits flipped, pieces cut out, put in
or repeated, numbers and JSON values replaced by absurd ones. It may read the folder, and then what
it returns must be usable, or refuse it with a ValueError or FileNotFoundError of one sentence.
A fault is any other exception, a sentence of several lines, more than 5 s of CPU time, or more than
1 GB of memory.
"""

import argparse
import importlib.util
import json
import math
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import RescaleAction
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from envs.recorded import load_recording, write_lerobot, write_minari
from ncp_control.contract import Contract
from ncp_control.deploy.links import Reading
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter, windows
from ncp_control.learning.reinforcement.checkpoint import load_checkpoint, save_checkpoint
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.rollouts import Rollouts
from ncp_control.learning.run import Run
from ncp_control.learning.sequences import load_traces
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.realtime import drive
from ncp_control.loop.recording import DriveRecorder
from ncp_control.loop.settings import LoopSettings
from ncp_control.policy import Policy
from policies.motor_circuits import make_motor_cell

MAX_CPU_S, MAX_BYTES = 5.0, 1 << 30
PRETRAINED = Path(__file__).parents[2] / "policies" / "pretrained"
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


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One reader of files: how to make a valid folder, and how to read one."""

    make: Callable[[Path], None]
    read: Callable[[Path], None]
    """Reads the folder and uses what came back; raises AssertionError if it is not usable."""


# --- mutations ------------------------------------------------------------------------------------


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


# --- readers --------------------------------------------------------------------------------------


def _read_policy(folder: Path) -> None:
    policy = Policy.load(folder)
    size = getattr(policy, "observation_size", None)
    frame = np.zeros((78, 200, 3), np.uint8) if size is None else np.zeros(size)
    try:
        action = policy.act(frame)
    except ValueError:
        return  # changed weights can make it refuse, too
    assert np.isfinite(action).all() and (np.abs(action) <= 1).all(), action


def _copy(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.copytree(PRETRAINED / name, folder, dirs_exist_ok=True) and None


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
        write(folder, (6, 5))

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


def _make_store(folder: Path, frames_as: str = "raw") -> None:
    shutil.rmtree(folder)
    rng = np.random.default_rng(0)
    with DemonstrationWriter(folder, (6, 8, 3), frames_as=frames_as) as writer:
        for _ in range(2):
            writer.append_episode(
                rng.integers(0, 255, (20, 6, 8, 3), dtype=np.uint8),
                rng.uniform(-1, 1, (20, 1)),
                np.full(20, 0.03),
            )


def _read_store(folder: Path) -> None:
    store = Demonstrations.open(folder)
    batch = next(iter(windows([store], length=4, batch_size=2, seed=0)))
    assert torch.isfinite(batch.actions).all() and torch.isfinite(batch.dt_s).all()


def _make_traces(folder: Path) -> None:
    for name in "ab":
        np.save(folder / f"{name}.npy", np.random.default_rng(0).normal(size=(30, 3)))


def _read_traces(folder: Path) -> None:
    assert all(np.isfinite(trace).all() for trace in load_traces(folder))


def _make_results(folder: Path) -> None:
    results = ResultsFile(folder / "table.csv", ["mse", "note"])
    for seed in range(4):
        results.append(
            "ltc", seed, "32 units, rate 0.01", {"mse": 0.5, "note": 'a "b", c'}, "python x"
        )


def _read_results(folder: Path) -> None:
    results = ResultsFile(folder / "table.csv", ["mse", "note"])
    before = len(results.rows())
    results.append("new", 9, "s", {"mse": 1.0, "note": ""}, "python x")
    assert len(results.rows()) == before + 1, "an appended row must be read back"


def _make_rollouts(folder: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    Rollouts(
        observations=torch.randn(2, 9, 3, generator=rng),
        actions=torch.rand(2, 9, 1, generator=rng),
        dt_s=torch.full((2, 9), 0.03),
        reset=torch.zeros(2, 9, dtype=torch.bool),
    ).save(folder / "round-000.safetensors")


def _read_rollouts(folder: Path) -> None:
    rollouts = Rollouts.load(folder / "round-000.safetensors")
    rollouts.windows(2, 4, torch.Generator().manual_seed(0))


def _make_run(folder: Path) -> None:
    run = Run(folder)
    (folder / "config.json").write_text(json.dumps({"task": "drive", "settings": {"seed": 0}}))
    for step in range(4):
        run.log(step, loss=0.5 / (step + 1))
    run.close()
    for path in folder.glob("events.*"):
        path.unlink()


def _read_run(folder: Path) -> None:
    run = Run.reopen(folder, step=2)
    assert all(row["step"] <= 2 for row in run.rows)
    run.close()


def _learner() -> SequencePPO:
    env = VecNormalize(make_vec_env(lambda: RescaleAction(gym.make("InvertedPendulum-v5"), -1, 1)))
    cell = make_motor_cell("ltc", 4, 6, 1, frame_s=0.04)
    return SequencePPO(env, policy_kwargs={"cell": cell}, n_steps=32, batch_size=32, device="cpu")


_LEARNER: list[SequencePPO] = []


def _make_checkpoint(folder: Path) -> None:
    if not _LEARNER:
        _LEARNER.append(_learner().learn(32))
    save_checkpoint(folder / "training.pt", _LEARNER[0])


def _read_checkpoint(folder: Path) -> None:
    load_checkpoint(folder / "training.pt", _LEARNER[0])


READERS = {
    "policy": Reader(make=_copy("drive-ncp"), read=_read_policy),
    "walker": Reader(make=_copy("walker2d-ltc"), read=_read_policy),
    "lstm": Reader(make=_copy("drive-lstm"), read=_read_policy),
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
    "store": Reader(make=_make_store, read=_read_store),
    "store-png": Reader(make=partial(_make_store, frames_as="png"), read=_read_store),
    "traces": Reader(make=_make_traces, read=_read_traces),
    "results": Reader(make=_make_results, read=_read_results),
    "rollouts": Reader(make=_make_rollouts, read=_read_rollouts),
    "run": Reader(make=_make_run, read=_read_run),
    "checkpoint": Reader(make=_make_checkpoint, read=_read_checkpoint),
}
READERS |= {
    "table": Reader(make=_make_table, read=_read_recording),
    "comma": Reader(make=_make_comma, read=_read_recording),
}
if importlib.util.find_spec("pyarrow") is not None and importlib.util.find_spec("av") is not None:
    READERS |= {
        "lerobot-v2": Reader(make=_make_lerobot(2), read=_read_recording),
        "lerobot-v3": Reader(make=_make_lerobot(3), read=_read_recording),
        "lerobot-images": Reader(make=_make_converted(write_lerobot), read=_read_converted),
    }
if importlib.util.find_spec("minari") is not None:
    READERS["minari"] = Reader(make=_make_converted(write_minari), read=_read_converted)
if importlib.util.find_spec("rosbags") is not None:
    READERS |= {
        "bag-mcap": Reader(make=_make_bag("mcap", "storage", "drive"), read=_read_bag),
        "bag-sqlite3": Reader(make=_make_bag("sqlite3", None, "drive"), read=_read_bag),
        "bag-arm": Reader(make=_make_bag("sqlite3", None, "arm"), read=_read_arm),
    }


# --- the campaign ---------------------------------------------------------------------------------


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def try_one(reader: Reader, valid: Path, seed: int, root: Path) -> tuple[str, str]:
    """Mutate a copy of a valid folder, read it, and return the outcome and what is to be told.

    Returns:
        "read", "refused" or "fault"; and the sentence or the fault.
    """
    folder = root / "case"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(valid, folder)
    change = mutate(folder, random.Random(seed))
    memory, begin = peak_bytes(), time.process_time()
    outcome, told = "read", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
    except (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        outcome, told = "refused", str(error)
        # The subclasses of ValueError (UnicodeDecodeError, …) are nobody's sentence; jobs turn an
        # OSError that knows its file into one.
        is_own = type(error) is ValueError or getattr(error, "filename", None)
        is_own = is_own or type(error) is FileNotFoundError
        if not is_own or "\n" in told or len(told) > 900:
            outcome, told = (
                "fault",
                f"not one sentence of ours: {type(error).__name__}: {told[:300]}",
            )
    except Exception:
        outcome, told = "fault", traceback.format_exc(limit=-4)
    cpu_s, grown = time.process_time() - begin, peak_bytes() - memory
    if cpu_s > MAX_CPU_S:
        outcome, told = "fault", f"{cpu_s:.1f} s of CPU time; {told[:200]}"
    if grown > MAX_BYTES:
        outcome, told = "fault", f"{grown / 1e9:.1f} GB of memory; {told[:200]}"
    return outcome, f"{change}: {told}"


def campaign(names: list[str], first: int, count: int) -> int:
    """Try `count` inputs of each reader; print one row each and every fault. Return the faults."""
    total = Counter()
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary)
            (root / "valid").mkdir()
            READERS[name].make(root / "valid")
            READERS[name].read(root / "valid")  # else every outcome would be a refusal
            outcomes = Counter()
            for seed in range(first, first + count):
                outcome, told = try_one(READERS[name], root / "valid", seed, root)
                outcomes[outcome] += 1
                if outcome == "fault":
                    print(f"FAULT {name} --first {seed}: {told}", flush=True)
        total += outcomes
        print(
            f"{name:15} " + " ".join(f"{outcomes[o]:6} {o}" for o in ("read", "refused", "fault")),
            flush=True,
        )
    print(f"{'all':15} " + " ".join(f"{total[o]:6} {o}" for o in ("read", "refused", "fault")))
    return total["fault"]


def _row(name: str, outcomes: Counter[str]) -> str:
    counts = " ".join(f"{outcomes[o]:6} {o}" for o in ("read", "refused", "fault"))
    return f"{name:15} {counts}"


def main() -> None:
    """Parse the command line and run the campaign."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--readers", nargs="*", choices=list(READERS), default=list(READERS))
    parser.add_argument("--first", type=int, default=0, help="seed of the first mutation")
    parser.add_argument("--count", type=int, default=2000, help="inputs over all chosen readers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    each = max(1, math.ceil(arguments.count / len(arguments.readers)))
    sys.exit(campaign(arguments.readers, arguments.first, each) > 0)


if __name__ == "__main__":
    main()
