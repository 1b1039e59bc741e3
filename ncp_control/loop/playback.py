"""Recordings read back: the ticks of a drive, whose frames stay in the file until they are needed.

A file that was cut off is read up to its last whole chunk. What is damaged is left out and counted
in `Playback.faults`: a chunk whose checksum is wrong, a message that is no JSON of its topic.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ncp_control.contract import Contract
from ncp_control.json_files import shorten
from ncp_control.loop.chunks import StoredFrame, read_chunk, short_reason
from ncp_control.loop.levels import Level
from ncp_control.loop.lossless import decode_frame
from ncp_control.loop.recording import (
    ACTION,
    CAMERA,
    EVENTS,
    LOOP,
    METADATA,
    OBSERVATION,
    POLICY,
    STATE,
    import_mcap,
    labels,
)
from ncp_control.records import frames_part, join, record_frame

SUFFIX = ".mcap"
CUT_OFF, BAD_CHUNK, BAD_MESSAGE = "the file is cut off", "damaged chunk", "damaged message"
NOTHING_SEEN = "what was seen is lost"
_MAGIC = b"\x89MCAP0\r\n"
_DTYPES = ("float32", "float64", "float16", "uint8", "int8", "uint16", "int16", "uint32", "int32",
           "int64", "uint64")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PlayedTick:
    """What the policy was told and said in a tick."""

    elapsed_s: float
    """Time since it was asked before, as it was told [s]."""
    is_reset: bool
    """Whether it remembered nothing."""
    action: np.ndarray | None
    """What it said; None if that was of no use."""


@dataclass(kw_only=True)
class Tick:
    """What was recorded of one tick of the loop; None where nothing was."""

    number: int
    """Which tick."""
    time_s: float = math.nan
    """When, since the loop began [s]."""
    taken_s: float = math.nan
    """When what was seen was taken, since the loop began [s]."""
    frame: StoredFrame | None = None
    """The frame that was seen."""
    shape: tuple[int, int, int] | None = None
    """Its height, width and channels."""
    numbers: np.ndarray | None = None
    """The numbers that were seen."""
    command: np.ndarray | None = None
    """What was commanded."""
    level: Level = Level.DRIVE
    """What the body did."""
    asked: PlayedTick | None = None
    """What the policy was asked."""
    state: np.ndarray | None = None
    """What it remembered after that."""


@dataclass(kw_only=True)
class Playback:
    """A recording that was read."""

    path: Path
    """Its file."""
    contract: Contract
    """What was sensed and commanded."""
    policy: str
    """Who acted."""
    ticks: Sequence[Tick]
    """Ticks in order; one that is missing was lost."""
    events: Sequence[Mapping[str, Any]]
    """What the monitor found."""
    faults: list[tuple[str, str]] = field(default_factory=list)
    """What could not be read: what it is, and where."""

    def observation(self, tick: Tick) -> np.ndarray | None:
        """Return what was seen in a tick, None if nothing was.

        Raises:
            ValueError: If the frame is damaged.
        """
        is_record = record_frame(self.contract.observation) is not None
        if is_record and (tick.frame is None or tick.numbers is None):
            return None
        if tick.frame is None:
            return tick.numbers
        if tick.shape is None:
            raise ValueError(f"{tick.frame.name} is a frame of unknown shape")
        seen = frames_part(self.contract.observation)
        is_bgr = seen is not None and seen.colour == "BGR"
        frame = decode_frame(tick.frame.read_bytes(), tick.shape, is_bgr)
        return join(frame, tick.numbers) if is_record and tick.numbers is not None else frame

    def asked(self) -> Iterator[tuple[Tick, np.ndarray, PlayedTick]]:
        """Yield each tick in which the policy was asked, with what it saw and was asked.

        Where a tick or what was seen is lost, the memory counts as cleared; the latter is a fault.
        """
        is_lost, before = True, -1
        for tick in self.ticks:
            is_lost = is_lost or tick.number != before + 1
            before = tick.number
            if tick.asked is None:
                continue
            try:
                observation, reason = self.observation(tick), "nothing"
            except ValueError as error:
                observation, reason = None, short_reason(error)
            if observation is None:
                self.faults.append((NOTHING_SEEN, f"tick {tick.number}: {reason}"))
                is_lost = True
                continue
            yield tick, observation, replace(tick.asked, is_reset=tick.asked.is_reset or is_lost)
            is_lost = False


def is_recording(path: Path) -> bool:
    """True for a file that is, or is named as, a recording in MCAP."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix.lower() == SUFFIX or file.read(len(_MAGIC)) == _MAGIC


def read_recording(path: Path | str) -> Playback:
    """Read a recording, all but its frames.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no recording of ours, nothing of it can be read, or mcap is missing.
    """
    path = Path(path)
    import_mcap()
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"`recording` must be an MCAP file, got '{path}', which {fault}. Name the file"
            " recording.mcap that `ncp run --record` has written."
        )
    with path.open("rb") as file:
        if not _MAGIC.startswith(file.read(len(_MAGIC))):  # a file that was cut may be shorter
            raise ValueError(
                f"`recording` must be an MCAP file that `ncp run --record` has written, got"
                f" '{path}', which does not begin as one. Name another file."
            )
    reader = _Reader(path)
    reader.read()
    if reader.about is None:
        cause = f" ({reader.faults[0][0]})" if reader.faults else ""
        raise ValueError(
            f"`recording` must be an MCAP file that `ncp run --record` has written, got '{path}'"
            f" without a contract{cause}. Record a drive."
        )
    ticks = [reader.ticks[number] for number in sorted(reader.ticks)]
    return Playback(
        path=path,
        contract=reader.contract,
        policy=str(reader.about.get("policy", "")),
        ticks=ticks,
        events=reader.events,
        faults=reader.faults,
    )


class _Reader:
    """Reads the messages of a file one after the other, and puts those of a tick together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: dict[str, Any] | None = None
        self.ticks: dict[int, Tick] = {}
        self.events: list[dict[str, Any]] = []
        self.faults: list[tuple[str, str]] = []
        self._topics: dict[int, str] = {}

    def read(self) -> None:
        """Read the file; first the names of the topics, which a damaged chunk may hide."""
        from mcap.records import Channel, Chunk, Message, Metadata

        chunks: list[int] = []
        for offset, record in self._records():
            if isinstance(record, Channel):
                self._topics[record.id] = record.topic
            elif isinstance(record, Metadata) and record.name == METADATA and self.about is None:
                self._read_about(record.metadata)
            elif isinstance(record, Chunk):
                chunks.append(offset)
        if self.about is None:
            return
        for offset in chunks:
            try:
                records = read_chunk(self.path, offset)
            except ValueError as error:
                self.faults.append((BAD_CHUNK, f"byte {offset}: {error}"))
                continue
            for index, record in enumerate(records):
                if isinstance(record, Channel):
                    self._topics[record.id] = record.topic
                elif isinstance(record, Message):
                    self._read_message(record, StoredFrame(self.path, offset, index))

    def _records(self) -> Iterator[tuple[int, Any]]:
        """Yield each record of the file with the place at which it begins."""
        from mcap.stream_reader import StreamReader

        with self.path.open("rb") as file:
            size, offset = self.path.stat().st_size, len(_MAGIC)
            reader = StreamReader(file, emit_chunks=True, record_size_limit=size)
            try:
                for record in reader.records:
                    yield offset, record
                    offset = file.tell()
            except Exception as error:  # mcap raises nearly anything on what is damaged
                self.faults.append((CUT_OFF, f"byte {offset} of {size}: {short_reason(error)}"))

    def _read_about(self, values: Mapping[str, str]) -> None:
        try:
            about = {name: json.loads(text) for name, text in values.items()}
            self.contract = Contract.from_json(about["contract"])
            self._begun_ns = int(about["begun_ns"])
            self._actions = labels([entry.name for entry in self.contract.action])
            self._neurons = [str(name) for name in about["neurons"]]
            self.about = about
        except (ValueError, KeyError, TypeError) as error:
            self.faults.append(("damaged contract", short_reason(error)))

    def _read_message(self, message: Any, stored: StoredFrame) -> None:
        topic = self._topics.get(message.channel_id, "")
        tick = self.ticks.get(message.sequence) or Tick(number=message.sequence)
        try:
            if topic == CAMERA:  # read when it is needed
                tick.frame, tick.taken_s = stored, self._time_s(message)
            else:
                self._take(topic, tick, json.loads(message.data), self._time_s(message))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            where = f"{topic or 'unknown topic'} of tick {message.sequence}: {short_reason(error)}"
            self.faults.append((f"{BAD_MESSAGE} of {topic}", where))
            return
        if topic != EVENTS:
            self.ticks[message.sequence] = tick

    def _take(self, topic: str, tick: Tick, value: Any, time_s: float) -> None:
        """Put what a message says into its tick."""
        if topic == OBSERVATION:
            if value["dtype"] not in _DTYPES:
                raise ValueError(f"numbers of type {shorten(value['dtype'])}")
            numbers = _finite(list(value["values"].values()))
            tick.numbers, tick.taken_s = numbers.astype(value["dtype"]), time_s
        elif topic == ACTION:
            tick.command = self._action(value)
        elif topic == POLICY:
            action = None if value["action"] is None else self._action(value["action"])
            elapsed_s = float(_finite([value["elapsed_s"]])[0])
            tick.asked = PlayedTick(
                elapsed_s=elapsed_s, is_reset=value["is_reset"] is True, action=action
            )
        elif topic == STATE:
            tick.state = _finite([value[name] for name in self._neurons]).astype(np.float32)
        elif topic == LOOP:
            tick.level, tick.time_s = Level(value["level"]), float(value["time_s"])
            if "shape" in value:
                height, width, channels = (int(size) for size in value["shape"])
                if min(height, width, channels) < 1:
                    raise ValueError(f"a frame of shape {shorten(value['shape'])}")
                tick.shape = height, width, channels
        elif topic == EVENTS:
            self.events.append({k: value[k] for k in ("time_s", "level", "kind", "reason")})

    def _action(self, values: Mapping[str, Any]) -> np.ndarray:
        kind = np.int64 if self.contract.choices else np.float32
        return _finite([values[name] for name in self._actions]).astype(kind)

    def _time_s(self, message: Any) -> float:
        return (message.log_time - self._begun_ns) * 1e-9


def _finite(values: list[Any]) -> np.ndarray:
    """Return finite numbers as an array."""
    if not all(type(x) in (int, float) and math.isfinite(x) for x in values):
        raise ValueError(f"not all finite numbers: {shorten(values)}")
    return np.array(values, np.float64)
