"""Recordings: one MCAP file per drive, written while it runs; Foxglove opens it without plug-ins.

Every message is JSON. All messages of one tick carry the number of the tick as their `sequence`.

| topic             | message                                                                  |
|-------------------|--------------------------------------------------------------------------|
| `/camera`         | the frame that was read, as foxglove.CompressedImage of lossless PNG     |
| `/observation`    | the numbers that were read: `dtype`, and `values` by name                |
| `/action`         | the command, by name; that of the person, if one drives; null if unknown |
| `/policy`         | if the policy ran: `action` by name, null if it was not usable;          |
|                   | `elapsed_s`, its elapsed time; `is_reset`, if its state was reset        |
| `/state`          | the circuit's state, by neuron                                           |
| `/time_constants` | its time constants [s], by neuron, for cells that have them              |
| `/info`           | further values reported by the link, by name                             |
| `/loop`           | `level`, `time_s`, `dt_s`, `model_s`, `jitter_s`, `is_late`,             |
|                   | `is_manual`, whether a person drives; and `shape` of a frame             |
| `/events`         | events of the monitor: `level`, `kind`, `reason`, `time_s`               |

`/camera` and `/observation` carry the time at which they were taken, other messages the time of the
tick. A number that is not finite is null. The metadata `ncp_control` hold the contract, the name of
the policy, the names of its neurons, and the time at which the loop began [ns]. A frame with more
channels than an image, e.g. a stack of frames, is stored as one image with its parts below each
other.

The recording is flushed to the file at least once in `FLUSH_S`. If the process is killed,
`playback` reads the file up to the last flush.

Sources: https://mcap.dev/spec, and the schema of frames
https://github.com/foxglove/foxglove-sdk/blob/main/schemas/jsonschema/CompressedImage.json (differs:
only its required properties).
"""

import base64
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from ncp_control.contract import Contract
from ncp_control.loop.levels import Event
from ncp_control.loop.link import Reading
from ncp_control.loop.lossless import encode_frame
from ncp_control.loop.pilot import Controller
from ncp_control.policy import Policy
from ncp_control.records import (
    entries_of,
    frames_in,
    frames_part,
    numbers_in,
    record_frame,
    record_size,
)

CAMERA, OBSERVATION, ACTION, POLICY = "/camera", "/observation", "/action", "/policy"
STATE, TIME_CONSTANTS, INFO = "/state", "/time_constants", "/info"
LOOP, EVENTS = "/loop", "/events"
METADATA = "ncp_control"
FLUSH_S = 1.0
"""Longest part of a recording that is lost if the process is killed [s]."""
_CHUNK_BYTES = 2**19
_TIME = {
    "type": "object",
    "title": "time",
    "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
}
_IMAGE = {
    "title": "foxglove.CompressedImage",
    "type": "object",
    "properties": {
        "timestamp": _TIME,
        "frame_id": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
        "format": {"type": "string"},
    },
    "required": ["timestamp", "frame_id", "data", "format"],
}
_NS = 1_000_000_000


def import_mcap() -> Any:
    """Import and return the package mcap.

    Raises:
        ValueError: If mcap, or OpenCV for frames, is not installed.
    """
    try:
        import cv2  # noqa: F401
        import mcap.reader
        import mcap.writer
    except ImportError as error:
        raise ValueError(
            f"{str(error.name).partition('.')[0]} is missing, which recordings need. Run"
            " `pip install ncp-control[record]`."
        ) from error
    return mcap


def labels(names: Sequence[str]) -> list[str]:
    """Return unique names: empty and repeated names get a number."""
    unique: list[str] = []
    for i, name in enumerate(names):
        tried = (f"{name} {n}".strip() for n in itertools.count(i))
        is_free = name and name not in unique
        unique.append(name if is_free else next(one for one in tried if one not in unique))
    return unique


class DriveRecorder:
    """Writes a drive to a file, tick by tick; use it in a `with` block.

    If the file cannot be written, e.g. on a full disk, the recording ends and the drive continues.
    `fault` then holds the reason.

    Args:
        path: Path of the new file.
        policy: The policy, for the names of its neurons and their time constants.
        contract: Its contract.
        name: Its name.
        begun_ns: Time of day at which the loop begins [ns since 1970]; if None: now.

    Raises:
        ValueError: If mcap is not installed.
        OSError: If the file cannot be created, or exists already.
    """

    def __init__(
        self,
        path: Path,
        policy: Policy,
        contract: Contract,
        *,
        name: str = "",
        begun_ns: int | None = None,
    ) -> None:
        writer = import_mcap().writer
        self.path, self.fault = path, ""
        self.num_ticks = self.num_given = 0
        self._policy = policy
        self._begun_ns = time.time_ns() if begun_ns is None else begun_ns
        self._start_s, self._flushed_s, self._num_events = 0.0, 0.0, 0
        self._action_names = labels([entry.name for entry in contract.action])
        self._neurons = labels(policy.circuit.cell.neuron_names)
        self._entries = labels([entry.name for entry in entries_of(contract.observation)])
        self._record_frame = record_frame(contract.observation)
        frames = frames_part(contract.observation)
        self._is_bgr = frames is not None and frames.colour == "BGR"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")
        self._writer = writer.Writer(self._file, chunk_size=_CHUNK_BYTES)
        self._writer.start(library="ncp-control")
        metadata = {"contract": contract.to_json(), "policy": name, "begun_ns": self._begun_ns,
                    "neurons": self._neurons}  # fmt: skip
        self._writer.add_metadata(METADATA, {k: json.dumps(value) for k, value in metadata.items()})
        self._file.flush()
        self._channels: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, start_s: float) -> None:
        """Begin the recording at the time `start_s` of the loop's clock [s]."""
        self._start_s = start_s

    def add(
        self,
        reading: Reading | None,
        row: Mapping[str, Any],
        controller: Controller,
        events: Sequence[Event],
    ) -> None:
        """Record one tick; arguments as in `TickRecorder.add`."""
        self.num_given += 1
        if self.fault:
            return
        with self._writing():
            time_s, shape = row["time_s"], None
            if reading is not None and reading.observation is not None:
                shape = self._add_observation(reading.observation, reading.time_s - self._start_s)
            if reading is not None and reading.info:
                self._write(INFO, time_s, _numbers(reading.info))
            self._write(ACTION, time_s, self._named(self._action_names, row["command"]))
            if row["elapsed_s"] is not None:
                answer = row["action"]
                action = None if answer is None else self._named(self._action_names, answer)
                known = {"action": action, "elapsed_s": row["elapsed_s"]}
                self._write(POLICY, time_s, {**known, "is_reset": bool(row["is_reset"])})
            if row["action"] is not None:
                assert reading is not None and reading.observation is not None
                self._add_inside(controller, reading.observation, time_s)
            loop = {key: row[key] for key in ("time_s", "dt_s", "model_s", "jitter_s", "level")}
            kept: dict[str, Any] = _numbers(loop)
            kept |= {name: bool(row[name]) for name in ("is_late", "is_manual")}
            self._write(LOOP, time_s, kept if shape is None else {**kept, "shape": shape})
            self._add_events(events, self._start_s)
            if not 0.0 <= time_s - self._flushed_s < FLUSH_S:
                self._writer.flush()
                self._flushed_s = time_s
            self.num_ticks += 1

    def end(self, events: Sequence[Event]) -> None:
        """Record the remaining events, timed from the loop's start, and close the file."""
        if self.fault:
            return
        with self._writing():
            self._add_events(events, 0.0)
        self.close()

    def close(self) -> None:
        """Finish and close the file; without effect if it is closed."""
        if self._file.closed:
            return
        with self._writing():
            self._writer.finish()
            self._file.close()

    # --- parts of a tick --------------------------------------------------------------------------

    def _add_observation(self, observation: np.ndarray, time_s: float) -> list[int] | None:
        """Write an observation; return the shape of its frame, None if it has none."""
        frame_shape = self._record_frame
        if frame_shape is not None and observation.dtype == np.uint8:
            if observation.shape != (record_size(frame_shape, len(self._entries)),):
                return None
            self._add_observation(numbers_in(observation, frame_shape), time_s)
            observation = frames_in(observation, frame_shape)
        if observation.ndim == 3 and observation.dtype == np.uint8 and observation.size:
            at_ns = self._time_ns(time_s)
            image = {
                "timestamp": {"sec": at_ns // _NS, "nsec": at_ns % _NS},
                "frame_id": "camera",
                "data": base64.b64encode(encode_frame(observation, self._is_bgr)).decode(),
                "format": "png",
            }
            self._write(CAMERA, time_s, image)
            return list(observation.shape)
        if observation.ndim == 1 and observation.dtype.kind in "iuf":
            is_named = len(observation) == len(self._entries)
            names = self._entries if is_named else map(str, range(len(observation)))
            values = self._named(list(names), observation)
            self._write(OBSERVATION, time_s, {"dtype": observation.dtype.name, "values": values})
        return None  # other observations were refused by the monitor

    @torch.no_grad()
    def _add_inside(self, controller: Controller, observation: np.ndarray, time_s: float) -> None:
        """Write the state of the circuit, and its time constants."""
        state = getattr(controller, "state", None)
        if state is None:
            return
        self._write(STATE, time_s, self._named(self._neurons, state))
        cell = self._policy.circuit.cell
        if cell.has_timescales:
            features = self._policy.sense(np.atleast_1d(observation)[None])
            now = torch.from_numpy(np.array(state)).to(features)
            taus_s = cell.timescales(features, now[None])[0].numpy()
            self._write(TIME_CONSTANTS, time_s, self._named(self._neurons, taus_s))

    def _add_events(self, events: Sequence[Event], start_s: float) -> None:
        for event in events[self._num_events :]:
            at_s = event.time_s - start_s
            message = {"time_s": at_s, "level": event.level.name.lower(), "kind": event.kind,
                       "reason": event.reason}  # fmt: skip
            self._write(EVENTS, at_s, message)
            self._num_events += 1

    # --- the file ---------------------------------------------------------------------------------

    def _named(self, names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
        return _numbers(dict(zip(names, np.asarray(values).ravel().tolist(), strict=True)))

    def _time_ns(self, time_s: float) -> int:
        return max(self._begun_ns + round(time_s * _NS), 0)

    def _write(self, topic: str, time_s: float, message: Mapping[str, Any]) -> None:
        if topic not in self._channels:
            self._channels[topic] = self._register(topic, message)
        at_ns = self._time_ns(time_s)
        self._writer.add_message(
            channel_id=self._channels[topic],
            log_time=at_ns,
            publish_time=at_ns,
            sequence=self.num_ticks,
            data=json.dumps(message, separators=(",", ":"), allow_nan=False).encode(),
        )

    def _register(self, topic: str, message: Mapping[str, Any]) -> int:
        """Register a topic with the schema of its first message; return the channel's number."""
        name = _IMAGE["title"] if topic == CAMERA else f"ncp_control.{topic[1:]}"
        schema = _IMAGE if topic == CAMERA else _schema_of(message)
        number = self._writer.register_schema(name, "jsonschema", json.dumps(schema).encode())
        return self._writer.register_channel(topic, "json", number)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Return a context in which an error of the file ends the recording but not the drive."""
        try:
            yield
        except OSError as error:
            self.fault = f"the recording ended early: {error}"
            self._abandon()

    def _abandon(self) -> None:
        try:
            self._file.close()
        except OSError:
            self._file.raw.close()


def _numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Return numbers for JSON: null replaces those that are not finite."""
    known = {name: x if isinstance(x, int) else float(x) for name, x in values.items()}
    return {name: x if math.isfinite(x) else None for name, x in known.items()}


def _schema_of(value: Any) -> dict[str, Any]:
    """Return a JSON schema that describes a message."""
    if isinstance(value, Mapping):
        return {"type": "object", "properties": {k: _schema_of(v) for k, v in value.items()}}
    if isinstance(value, bool | str):
        return {"type": "boolean" if isinstance(value, bool) else "string"}
    if isinstance(value, list | tuple):
        return {"type": "array", "items": {"type": "integer"}}
    return {"type": "number"}
