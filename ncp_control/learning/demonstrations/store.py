"""Datasets of demonstrations (stores), opened for reading.

A store is a folder with four `.npy` arrays and a `meta.json`, written by `writer.py`. The arrays
have one row per frame; episodes follow each other. With N frames:

| file                 | shape            | dtype            |
|----------------------|------------------|------------------|
| `observations.npy`   | (N, ...)         | uint8 or float32 |
| `actions.npy`        | (N, action_size) | float32          |
| `dt_s.npy`           | (N,)             | float32          |
| `episode_starts.npy` | (num_episodes,)  | int64            |

If the action of some frames is unknown, `is_labelled.npy` tells which: shape (N,), bool. If frames
are saved as image files, other files replace `observations.npy`; see `encoded.py`.

`dt_s[t]` is the time since the previous frame of the same episode: the time step over which a
circuit integrates before it outputs action t. For the first frame of an episode, it is the nominal
frame interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from ncp_control import files
from ncp_control.json_files import read_json, shorten
from ncp_control.learning.demonstrations.encoded import EncodedFrames, Encoding
from ncp_control.learning.demonstrations.npy_files import REMEDY, map_array
from ncp_control.ranges import check_count
from ncp_control.records import numbers_in

FORMAT_VERSION = 1
ENCODED_VERSION = 2
"""Format version of stores whose frames are image files."""
META_FILE = "meta.json"
MAX_META_BYTES = 2**24
"""Maximum size of `meta.json` [bytes]."""
ARRAYS = ("observations", "actions", "dt_s", "episode_starts")
LABELS = "is_labelled"
"""Name of the array of a store that has frames without a label."""
OBSERVATION_DTYPES = (np.dtype(np.uint8), np.dtype(np.float32))
STEADY, MOST_UNSTEADY = 0.1, 0.01
"""Largest deviation of a time step from the median, as a share of it, that counts as steady, and
largest share of steps that may deviate more, e.g. where a few frames were dropped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Demonstrations:
    """Frames of one or more episodes: a store opened from disk, a part of one, or plain arrays.

    Raises:
        ValueError: If the arrays disagree in length, shape or dtype, are empty, or hold an action
            or time step that is not finite. Observations on disk are not read here; `Windows`
            checks them when it reads them.
    """

    observations: np.ndarray
    """Observations, shape (N, ...), uint8 or float32. If opened from disk: memory-mapped, or
    `EncodedFrames`, which behave like an array and are decoded when read."""
    actions: np.ndarray
    """Actions of the expert, shape (N, action_size), float32."""
    dt_s: np.ndarray
    """Time since the previous frame of the episode [s], shape (N,), float32, >= 0."""
    episode_starts: np.ndarray
    """Index of the first frame of each episode, shape (num_episodes,), int64, increasing from 0."""
    is_labelled: np.ndarray = field(default_factory=lambda: np.empty(0, np.bool_))
    """False for frames whose action is unknown, shape (N,), bool. They are seen, but do not count
    in losses and errors. If it is left out: all are labelled."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Content of `meta.json`: format version, shapes, and the source of the frames."""

    def __post_init__(self) -> None:
        _check_kinds(self.observations, self.actions, self.dt_s, self.episode_starts)
        frames = len(self.observations)
        if not len(self.is_labelled):
            object.__setattr__(self, LABELS, np.ones(frames, np.bool_))
        check_labels(self.is_labelled, frames)
        if not self.is_labelled.any():
            raise ValueError(f"`{LABELS}` must be True for at least one frame, got none. {REMEDY}.")
        if type(self.observations) is np.ndarray:  # observations on disk were checked when written
            check_observations(self.observations)
        check_actions(self.actions)
        check_dt_s(self.dt_s)
        starts = self.episode_starts
        is_valid = len(starts) > 0 and starts[0] == 0
        if not (is_valid and starts[-1] < frames and (np.diff(starts) > 0).all()):
            raise ValueError(
                f"`episode_starts` must increase from 0 and stay below {frames} (the number of"
                f" frames), got {starts.tolist()[:8]!r}. {REMEDY}."
            )

    @classmethod
    def open(cls, folder: str | Path) -> "Demonstrations":
        """Open a store; observations stay on disk until they are read.

        Args:
            folder: Folder written by a `DemonstrationWriter`.

        Returns:
            The whole store.

        Raises:
            FileNotFoundError: If the folder or one of its files is missing.
            ValueError: If a file is truncated, has another format, or disagrees with the others.
                Sizes and types are checked before any array is read.
        """
        folder = Path(folder)
        files.restore(folder)
        meta = _read_meta(folder)
        arrays = {name: map_array(folder / f"{name}.npy") for name in ARRAYS[1:]}
        arrays[ARRAYS[0]] = _open_observations(folder, meta)
        expected = (meta["num_frames"], *meta["observation_shape"])
        if arrays["observations"].shape != expected:
            raise ValueError(
                f"`observations` must have the shape {expected} that {META_FILE} names, got"
                f" {arrays['observations'].shape} in '{folder}'. {REMEDY}."
            )
        _check_kinds(**arrays)
        if "num_labelled" in meta:
            arrays[LABELS] = map_array(folder / f"{LABELS}.npy")
            check_labels(arrays[LABELS], len(arrays["observations"]))
        # Only the observations can exceed memory; the other arrays take a few bytes per frame.
        in_memory = {name: np.array(arrays[name]) for name in arrays if name != "observations"}
        return cls(**arrays | in_memory, meta=MappingProxyType(meta))

    @classmethod
    def find(cls, folder: str | Path) -> "Demonstrations | None":
        """Open a store like `open`; return None if `folder` does not exist."""
        files.restore(folder)
        return cls.open(folder) if Path(folder).is_dir() else None

    @property
    def source(self) -> Mapping[str, Any]:
        """Where the frames come from, as the writer was told; empty if it was not."""
        return self.meta.get("source", {})

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def is_timed(self) -> bool:
        """Whether the time between frames varies, so that LSTM and GRU need it as an input."""
        usual_s = np.median(self.dt_s)
        is_unsteady = np.abs(self.dt_s - usual_s) > STEADY * usual_s
        return float(is_unsteady.mean()) > MOST_UNSTEADY

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.episode_starts)

    @property
    def episode_stops(self) -> np.ndarray:
        """Index after the last frame of each episode, shape (num_episodes,), int64."""
        return np.append(self.episode_starts[1:], len(self))

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.observations.shape[1:]

    @property
    def action_size(self) -> int:
        """Number of entries of an action."""
        return self.actions.shape[1]

    def episode(self, index: int) -> slice:
        """Return the frames of one episode as a slice of all arrays.

        Args:
            index: Index of the episode; negative values count from the end.

        Raises:
            ValueError: If there is no such episode.
        """
        if not -self.num_episodes <= index < self.num_episodes:
            raise ValueError(
                f"`index` must be below the number of episodes, {self.num_episodes}, got {index!r}."
                " Pick an existing episode."
            )
        return slice(int(self.episode_starts[index]), int(self.episode_stops[index]))

    def numbers(self, frame_shape: Sequence[int]) -> np.ndarray:
        """Return the numbers of all records, without the frames, shape (N, numbers), float32.

        Args:
            frame_shape: Shape of the frame in a record.
        """
        observations: Any = self.observations
        if isinstance(observations, EncodedFrames):
            return observations.behind().view(np.float32)
        return numbers_in(self.observations, frame_shape)


def _check_kinds(
    observations: np.ndarray, actions: np.ndarray, dt_s: np.ndarray, episode_starts: np.ndarray
) -> None:
    """Raise ValueError unless dtypes and shapes are those of a store; values are not read."""
    if observations.ndim == 0 or len(observations) == 0:
        raise ValueError(f"`observations` must hold at least one frame, got 0. {REMEDY}.")
    frames = len(observations)
    for name, array, ndim in (("actions", actions, 2), ("dt_s", dt_s, 1)):
        if array.ndim != ndim or len(array) != frames or 0 in array.shape:
            raise ValueError(
                f"`{name}` must have {ndim} dimension(s) and one row for each of the {frames}"
                f" observations, got shape {array.shape}. {REMEDY}."
            )
    if episode_starts.ndim != 1 or len(episode_starts) > frames:
        raise ValueError(
            f"`episode_starts` must have 1 dimension and at most one entry for each of the {frames}"
            f" observations, got shape {episode_starts.shape}. {REMEDY}."
        )
    real = (np.dtype(np.float32),)
    for name, array, dtypes in (
        ("observations", observations, OBSERVATION_DTYPES),
        ("actions", actions, real),
        ("dt_s", dt_s, real),
        ("episode_starts", episode_starts, (np.dtype(np.int64),)),
    ):
        if array.dtype not in dtypes:
            raise ValueError(
                f"`{name}` must be {' or '.join(dtype.name for dtype in dtypes)}, got"
                f" {array.dtype.str!r}. Convert them first."
            )


def check_observations(observations: np.ndarray, first: int = 0) -> None:
    """Raise ValueError unless every observation is finite (uint8 always is).

    Args:
        observations: Observations, shape (N, ...).
        first: Index of the first one, for the message.
    """
    if np.issubdtype(observations.dtype, np.floating) and not np.isfinite(observations).all():
        is_bad = ~np.isfinite(observations.reshape(len(observations), -1)).all(axis=1)
        frame = first + int(np.argmax(is_bad))
        raise ValueError(
            f"`observations` must be finite, got NaN or infinity at frame {frame}."
            " Drop that frame or repair the recording."
        )


def check_actions(actions: np.ndarray) -> None:
    """Raise ValueError unless every action is finite."""
    if not np.isfinite(actions).all():
        frame = int(np.argmax(~np.isfinite(actions).all(axis=-1)))
        raise ValueError(
            f"`actions` must be finite, got {actions[frame].tolist()!r} at frame {frame}."
            " Drop that frame or repair the recording."
        )


def check_labels(is_labelled: np.ndarray, frames: int) -> None:
    """Raise ValueError unless there is one truth value for each frame; values are not read."""
    if is_labelled.shape != (frames,) or is_labelled.dtype != np.bool_:
        raise ValueError(
            f"`{LABELS}` must be bool of shape ({frames},), got {is_labelled.dtype} of shape"
            f" {is_labelled.shape}. Give one for each frame."
        )


def check_dt_s(dt_s: np.ndarray) -> None:
    """Raise ValueError unless every time step is finite and not negative."""
    is_bad = ~(np.isfinite(dt_s) & (dt_s >= 0.0))
    if is_bad.any():
        frame = int(np.argmax(is_bad))
        raise ValueError(
            f"`dt_s` must be finite and not negative, got {float(dt_s[frame])!r} at frame {frame}."
            " Start a new episode where time jumps."
        )


def _read_meta(folder: Path) -> dict[str, Any]:
    if not (folder / META_FILE).is_file():
        raise FileNotFoundError(
            f"`folder` must be a finished store of demonstrations with a {META_FILE}, got"
            f" '{folder}'. Check the path, or record demonstrations there first."
        )
    try:
        meta = read_json(folder / META_FILE, max_bytes=MAX_META_BYTES)
        if not isinstance(meta, dict):
            raise ValueError(f"it holds {shorten(meta)} instead of an object")
        missing = {"format_version", "num_frames", "observation_shape"} - meta.keys()
        if missing:
            raise ValueError(f"it has no {min(missing)!r}")
        version, shape = meta["format_version"], meta["observation_shape"]
        newest = ENCODED_VERSION if "frames" in meta else FORMAT_VERSION
        is_known = type(version) is int and version == newest
        if is_known:
            check_count("num_frames", meta["num_frames"])
            if not isinstance(shape, list):
                raise ValueError(f"`observation_shape` must be a list, got {shorten(shape)}")
            for size in shape:
                check_count("observation_shape", size, 0)
            if "frames" in meta:
                Encoding.from_json(meta["frames"])
    except ValueError as error:
        raise ValueError(
            f"`{META_FILE}` must describe a store of demonstrations: {str(error).rstrip('.')}, in"
            f" '{folder}'. {REMEDY}."
        ) from error
    if not is_known:
        raise ValueError(
            f"`format_version` must be {newest}, got {shorten(version)} in '{folder}'."
            f" {REMEDY} with this version."
        )
    return meta


def _open_observations(folder: Path, meta: Mapping[str, Any]) -> np.ndarray:
    """Return observations as a memory-mapped array or as frames that are decoded when read."""
    if "frames" not in meta:
        return map_array(folder / f"{ARRAYS[0]}.npy")
    encoding = Encoding.from_json(meta["frames"])
    return cast(np.ndarray, EncodedFrames.open(folder, encoding, meta["num_frames"]))
