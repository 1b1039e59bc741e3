"""Reading of recordings: the ticks of a drive; frames stay in the file until they are needed.

A truncated file is read up to its last complete chunk. Damaged parts (a chunk with a wrong
checksum, a message that is not valid JSON for its topic) are skipped and listed in
`Playback.faults`.
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
from ncp_control.tally import Tally

SUFFIX = ".mcap"
CUT_OFF, BAD_CHUNK, BAD_MESSAGE = "the file is cut off", "damaged chunk", "damaged message"
NOTHING_SEEN = "the observation is lost"
_MAGIC = b"\x89MCAP0\r\n"
_DTYPES = ("float32", "float64", "float16", "uint8", "int8", "uint16", "int16", "uint32", "int32",
           "int64", "uint64")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PlayedTick:
    """Inputs and result of the policy in one tick."""

    elapsed_s: float
    """Elapsed time that the policy was given [s]."""
    is_reset: bool
    """Whether the policy was reset before this tick."""
    action: np.ndarray | None
    """Action of the policy, shape (actions,); None if its result was not usable."""


@dataclass(kw_only=True)
class Tick:
    """Recorded values of one tick of the loop; None for values that were not recorded."""

    number: int
    """Number of the tick."""
    time_s: float = math.nan
    """Time since the loop began [s]."""
    taken_s: float = math.nan
    """Time at which the observation was taken, since the loop began [s]."""
    frame: StoredFrame | None = None
    """Frame of the observation."""
    shape: tuple[int, int, int] | None = None
    """Height, width and channels of the frame."""
    numbers: np.ndarray | None = None
    """Numbers of the observation, shape (numbers,)."""
    command: np.ndarray | None = None
    """Command that was sent, shape (actions,)."""
    level: Level = Level.DRIVE
    """Level of the tick."""
    is_manual: bool = False
    """Whether a person drove; `command` is the person's then."""
    asked: PlayedTick | None = None
    """Inputs and result of the policy; None if it was not run."""
    state: np.ndarray | None = None
    """State of the policy after the tick, shape (state,)."""


@dataclass(kw_only=True)
class Playback:
    """A recording in memory, without its frames."""

    path: Path
    """File of the recording."""
    contract: Contract
    """Contract of the policy."""
    policy: str
    """Name of the policy."""
    ticks: Sequence[Tick]
    """Ticks in order; lost ticks are missing."""
    events: Sequence[Mapping[str, Any]]
    """Events of the monitor."""
    faults: list[tuple[str, str]] = field(default_factory=list)
    """Parts that could not be read: kind of damage, and place."""

    def skipped(self) -> Tally:
        """Return the counts of `faults`."""
        skipped = Tally()
        for fault, place in self.faults:
            skipped.add(fault, place)
        return skipped

    def observation(self, tick: Tick) -> np.ndarray | None:
        """Return the observation of a tick; None if it was not recorded.

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
        frames = frames_part(self.contract.observation)
        is_bgr = frames is not None and frames.colour == "BGR"
        frame = decode_frame(tick.frame.read_bytes(), tick.shape, is_bgr)
        return join(frame, tick.numbers) if is_record and tick.numbers is not None else frame

    def asked(self) -> Iterator[tuple[Tick, np.ndarray, PlayedTick]]:
        """Yield each tick in which the policy was run, with its observation, inputs and result.

        After a lost tick or a lost observation, `is_reset` is set. A lost observation is added to
        `faults`.
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
    """True for a file that is an MCAP file, by its first bytes or by its name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix.lower() == SUFFIX or file.read(len(_MAGIC)) == _MAGIC


def read_recording(path: Path | str) -> Playback:
    """Read a recording; its frames are read later, on demand.

    Raises:
        FileNotFoundError: If `path` is not a file.
        ValueError: If the file is not a recording of ours or unreadable, or mcap is not installed.
    """
    path = Path(path)
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"`recording` must be an MCAP file, got '{path}', which {fault}. Name the file"
            " recording.mcap that `ncp run --record` has written."
        )
    with path.open("rb") as file:
        if not _MAGIC.startswith(file.read(len(_MAGIC))):  # a truncated file may be shorter
            raise ValueError(
                f"`recording` must be an MCAP file that `ncp run --record` has written, got"
                f" '{path}', which does not begin as one. Name another file."
            )
    import_mcap()
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
    """Reads the messages of a file in order, and collects those of each tick."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: dict[str, Any] | None = None
        self.ticks: dict[int, Tick] = {}
        self.events: list[dict[str, Any]] = []
        self.faults: list[tuple[str, str]] = []
        self._topics: dict[int, str] = {}

    def read(self) -> None:
        """Read the file; names of topics first, because a damaged chunk may lack them."""
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
        """Yield each record of the file with the position at which it begins [bytes]."""
        from mcap.stream_reader import StreamReader

        with self.path.open("rb") as file:
            size, offset = self.path.stat().st_size, len(_MAGIC)
            reader = StreamReader(file, emit_chunks=True, record_size_limit=size)
            try:
                for record in reader.records:
                    yield offset, record
                    offset = file.tell()
            except Exception as error:  # mcap raises many kinds of errors on damaged data
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
            if topic == CAMERA:  # the frame is read when it is needed
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
        """Store the values of a message in its tick."""
        if topic == OBSERVATION:
            if value["dtype"] not in _DTYPES:
                raise ValueError(f"numbers of type {shorten(value['dtype'])}")
            numbers = _finite(list(value["values"].values()))
            tick.numbers, tick.taken_s = numbers.astype(value["dtype"]), time_s
        elif topic == ACTION:
            is_known = all(value[name] is not None for name in self._actions)
            tick.command = self._action(value) if is_known else None
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
            tick.is_manual = value.get("is_manual") is True
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
    """Return numbers as an array of float64; raise ValueError unless all are finite."""
    if not all(type(x) in (int, float) and math.isfinite(x) for x in values):
        raise ValueError(f"not all finite numbers: {shorten(values)}")
    return np.array(values, np.float64)
