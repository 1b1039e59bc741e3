"""Writer of demonstrations: frame by frame to disk, with an atomic result.

Frames are appended to `.npy` files whose header is updated at the end, so a store may be larger
than memory. The files are in a hidden folder beside the final one until `close()` renames it, so a
store under its final name is always complete. If the process is killed before that, the next
recording in the same place removes the hidden folder (see `ncp_control.files`).
"""

import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ncp_control import files
from ncp_control.learning.demonstrations.encoded import FILES as ENCODED_FILES
from ncp_control.learning.demonstrations.encoded import EncodedFile, encoding_for
from ncp_control.learning.demonstrations.npy_files import NpyFile
from ncp_control.learning.demonstrations.store import (
    ARRAYS,
    ENCODED_VERSION,
    FORMAT_VERSION,
    LABELS,
    META_FILE,
    OBSERVATION_DTYPES,
    check_actions,
    check_dt_s,
    check_labels,
    check_observations,
)
from ncp_control.ranges import check_count


class DemonstrationWriter:
    """Writer of one store of demonstrations; use it in a `with` block.

    Leaving the block finishes the store; an exception in the block discards it.

    Args:
        folder: Folder of the finished store.
        observation_shape: Shape of one observation, e.g. (78, 200, 3).
        observation_dtype: uint8 or float32.
        action_size: Number of entries of an action.
        frames_as: Storage format of frames: raw, png or jpeg. PNG keeps every pixel, JPEG changes
            them a little; both need OpenCV.
        frame_shape: Shape of the frame in a record, for png or jpeg; None if the observation is a
            frame.
        source: JSON-serializable description of the origin of the frames, saved as
            `meta["source"]`.
        overwrite: Whether to replace an existing store at `folder` when this one is finished.

    Raises:
        ValueError: If `folder` exists already (or holds something that is not a store), or an
            argument is out of range.
        OSError: If frames cannot be written, e.g. on a full disk; also from the methods below.
    """

    def __init__(
        self,
        folder: str | Path,
        observation_shape: tuple[int, ...],
        observation_dtype: DTypeLike = np.uint8,
        action_size: int = 1,
        *,
        frames_as: str = "raw",
        frame_shape: Sequence[int] | None = None,
        source: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        if np.dtype(observation_dtype) not in OBSERVATION_DTYPES:
            raise ValueError(
                f"`observation_dtype` must be uint8 or float32, got {observation_dtype!r}."
                " Convert the observations first."
            )
        # Convert NumPy integers, which cannot be written to JSON at the end.
        observation_shape = tuple(map(operator.index, observation_shape))
        action_size = check_count("action_size", action_size)
        encoding = encoding_for(frames_as, observation_shape, frame_shape)
        if encoding is not None and np.dtype(observation_dtype) != np.uint8:
            raise ValueError(
                f"`frames_as` must be 'raw' for observations of {observation_dtype!r}, got"
                f" {frames_as!r}. Image files hold uint8."
            )
        self.folder = Path(folder)
        self.observation_shape = observation_shape
        self.observation_dtype = np.dtype(observation_dtype)
        self.action_size = action_size
        self.num_frames = 0
        self._encoding = encoding
        self._overwrite = overwrite
        self._is_closed = False
        # Serialized now, so that an invalid source fails before the recording.
        self._source_json = json.dumps(dict(source or {}), allow_nan=False)
        self._check_destination()

        self._episode_starts: list[int] = []
        self._is_labelled = bytearray()
        self._arrays: list[NpyFile | EncodedFile] = []
        self._new = files.NewFolder(self.folder)
        inside = self._new.folder
        try:
            with files.naming_errors(self.folder):
                self._arrays.append(
                    EncodedFile(inside, encoding)
                    if encoding is not None
                    else NpyFile(inside / "observations.npy", observation_shape, observation_dtype)
                )
                self._arrays.append(NpyFile(inside / "actions.npy", (action_size,), np.float32))
                self._arrays.append(NpyFile(inside / "dt_s.npy", (), np.float32))
        except BaseException:
            self.discard()
            raise

    def describe(self, **about: Any) -> None:
        """Add JSON-serializable entries to `meta["source"]`."""
        about = {**json.loads(self._source_json), **about}
        self._source_json = json.dumps(about, allow_nan=False)

    def start_episode(self) -> None:
        """Start an episode with the next frame; episodes without frames are not stored."""
        if not self._episode_starts or self._episode_starts[-1] < self.num_frames:
            self._episode_starts.append(self.num_frames)

    def append(self, observation: ArrayLike, action: ArrayLike, dt_s: float) -> None:
        """Append one frame to the current episode.

        Args:
            observation: Observation of the declared shape and dtype.
            action: Action of the expert, shape (action_size,), finite.
            dt_s: Time since the previous frame of this episode [s]; for its first frame the
                nominal frame interval.

        Raises:
            ValueError: If a shape is wrong, a number is not finite, or dt is negative.
            TypeError: If the dtype of the observation is not the declared one.
        """
        self.extend(np.asarray(observation)[None], np.asarray(action)[None], np.asarray([dt_s]))

    def append_episode(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        dt_s: ArrayLike,
        is_labelled: np.ndarray | None = None,
    ) -> None:
        """Append a whole episode: `start_episode()`, then `extend(...)`."""
        self.start_episode()
        self.extend(observations, actions, dt_s, is_labelled)

    def extend(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        dt_s: ArrayLike,
        is_labelled: np.ndarray | None = None,
    ) -> None:
        """Append frames to the current episode; the arguments are those of `append`, stacked.

        Args:
            observations: Shape (N, *observation_shape).
            actions: Shape (N, action_size).
            dt_s: Shape (N,) [s].
            is_labelled: False for frames whose action is unknown: a finite number stands in for it.
                Shape (N,), bool; if None: all are known.

        Raises:
            ValueError: As in `append`.
            TypeError: As in `append`.
        """
        if self._is_closed:
            raise ValueError("the writer must be open, got a closed one. Begin another store.")
        observation_array = np.asarray(observations)
        if observation_array.dtype != self.observation_dtype:
            raise TypeError(
                f"`observations` must be {self.observation_dtype.name}, as declared, got"
                f" {observation_array.dtype.name!r}. Convert them, minding the range."
            )
        action_array = np.asarray(actions, dtype=np.float32)
        elapsed_s = np.asarray(dt_s, dtype=np.float32)
        frames = len(observation_array) if observation_array.ndim else 0
        for name, array, shape in (
            ("observations", observation_array, (frames, *self.observation_shape)),
            ("actions", action_array, (frames, self.action_size)),
            ("dt_s", elapsed_s, (frames,)),
        ):
            if array.shape != shape:
                raise ValueError(
                    f"`{name}` must have shape {shape}, got {array.shape}."
                    " Give one row a frame, of the shape declared to the writer."
                )
        check_observations(observation_array)
        check_actions(action_array)
        check_dt_s(elapsed_s)
        if is_labelled is None:
            is_labelled = np.ones(frames, np.bool_)
        check_labels(is_labelled, frames)
        # All arguments are checked before anything is written. If writing is interrupted, e.g. by a
        # full disk, the partly written frames do not count and are overwritten by the next ones.
        if frames and not self._episode_starts:
            self.start_episode()
        with files.naming_errors(self.folder):
            for array, added in zip(
                self._arrays, (observation_array, action_array, elapsed_s), strict=True
            ):
                array.write(self.num_frames, added)
        self._is_labelled += is_labelled.tobytes()
        self.num_frames += frames

    def close(self) -> None:
        """Finish the store and rename it to `folder`; further calls do nothing.

        Raises:
            ValueError: If there is no frame, or `folder` was created in the meantime.
        """
        if self._is_closed:
            return
        try:
            if self.num_frames == 0:
                raise ValueError(
                    f"`{self.folder.name}` must hold at least one frame, got 0."
                    " Append frames before closing the writer."
                )
            with files.naming_errors(self.folder):
                self._finish_files()
            self._check_destination()
            self._new.publish()
        finally:
            self.discard()

    def discard(self) -> None:
        """Close the writer and delete the unfinished store; `folder` is not changed."""
        self._is_closed = True
        for array in self._arrays:
            array.abandon()
        self._new.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _check_destination(self) -> None:
        if not self.folder.exists():
            return
        if not self._overwrite:
            raise ValueError(
                f"`folder` must not exist yet, got '{self.folder}'."
                " Choose another name, or pass overwrite=True to replace it."
            )
        if not (self.folder / META_FILE).is_file():
            raise ValueError(
                f"`folder` must be a store of demonstrations to be overwritten, got"
                f" '{self.folder}', which has no {META_FILE}. Choose another name."
            )
        own = {META_FILE, *ENCODED_FILES, *(f"{name}.npy" for name in (*ARRAYS, LABELS))}
        others = sorted({path.name for path in self.folder.iterdir()} - own)
        if others:
            raise ValueError(
                f"`folder` must hold nothing but a store to be overwritten, got '{self.folder}'"
                f" with {others[0]!r} in it. Choose another name."
            )

    def _finish_files(self) -> None:
        for array in self._arrays:
            array.finish(self.num_frames)
        starts = [start for start in self._episode_starts if start < self.num_frames]
        np.save(
            self._new.folder / "episode_starts.npy",
            np.asarray(starts, np.int64),
            allow_pickle=False,
        )
        meta = {
            "format_version": FORMAT_VERSION,
            "num_frames": self.num_frames,
            "num_episodes": len(starts),
            "observation_shape": list(self.observation_shape),
            "observation_dtype": self.observation_dtype.name,
            "action_size": self.action_size,
            "source": json.loads(self._source_json),
        }
        if self._encoding is not None:
            meta |= {"format_version": ENCODED_VERSION, "frames": self._encoding.as_json()}
        is_labelled = np.frombuffer(self._is_labelled, np.bool_)
        if not is_labelled.all():
            np.save(self._new.folder / f"{LABELS}.npy", is_labelled, allow_pickle=False)
            meta["num_labelled"] = int(is_labelled.sum())
        text = json.dumps(meta, indent=2) + "\n"
        (self._new.folder / META_FILE).write_text(text, encoding="utf-8")
