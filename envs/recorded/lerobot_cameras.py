"""Cameras of a LeRobotDataset: choose one, and find the frames of rows."""

import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.recorded.images import ImageFile
from envs.recorded.parquet import ParquetTable, TableImage, is_image
from envs.recorded.video import Video, VideoFrame, import_av
from ncp_control.tally import Tally

_EPISODE = re.compile(r"episode_(\d{1,9})\.mp4")
_FILE = re.compile(r"chunk-(\d{1,9})/file-(\d{1,9})\.mp4")
_LARGEST_DIFFERENCE = 0.05
"""Largest share by which the time steps of frames and rows differ where frames are missing."""


def choose_camera(
    folder: Path, info: Mapping[str, Any], tables: Sequence[ParquetTable], asked: str | None
) -> str | None:
    """Return the name of the camera whose frames are read; None, with a warning, if there is none.

    Args:
        folder: Folder of the data set.
        info: Content of its `info.json`.
        tables: Tables of its numbers.
        asked: Name given by the user, or its last part; None for the first camera.

    Raises:
        ValueError: If there is no such camera.
    """
    there = list_cameras(folder, tables)
    features = info.get("features")
    items = features.items() if isinstance(features, dict) else ()
    declared = sorted(
        str(key)
        for key, one in items
        if isinstance(one, dict) and one.get("dtype") in ("video", "image")
    )
    if asked is not None:
        matching = [key for key in there if key == asked or key.endswith(f".{asked}")]
        if len(matching) != 1:
            raise ValueError(
                f"`camera` must be one of {', '.join(there) or 'no cameras'} in '{folder}', got"
                f" {asked!r}. Name one of them."
            )
        return matching[0]
    if not there and declared:
        warnings.warn(
            f"The frames of {', '.join(declared)[:200]} are not in '{folder}': its numbers are read"
            " alone. Fetch its videos to see.",
            stacklevel=4,
        )
    if len(there) > 1:
        warnings.warn(
            f"'{folder}' has the cameras {', '.join(there)[:300]}: {there[0]} is read. Choose by"
            f" --log-options camera={there[-1]}.",
            stacklevel=4,
        )
    return there[0] if there else None


def list_cameras(folder: Path, tables: Sequence[ParquetTable]) -> list[str]:
    """Return the names of the cameras that have images or a video."""
    found = [one.name for table in tables for one in table.schema if is_image(one.type)]
    for path in (folder / "videos").glob("*/*/*.mp4"):
        is_old = _EPISODE.fullmatch(path.name) is not None
        found.append(path.parent.name if is_old else path.parent.parent.name)
    return sorted(set(found))


def rows_of_episodes(episodes: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each episode.

    Args:
        episodes: Number of the episode of each row, shape (rows,).
    """
    order = np.argsort(episodes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(episodes[order])) + 1) if len(order) else []


class _Place(NamedTuple):
    """Where the frames of an episode are."""

    path: Path
    begin_s: float
    """Time in the video at which it begins [s]."""
    length: float
    """Number of its rows; NaN if it is unknown."""


class _Timed(NamedTuple):
    """A video with the times of its frames."""

    video: Video
    times_s: np.ndarray
    """Time of each frame [s]."""
    half_s: float
    """Half of the time between two frames [s]."""
    pieces: Mapping[int, slice]
    """Frames of each episode."""

    def nearest(self, piece: slice, times_s: np.ndarray) -> np.ndarray:
        """Return the frame of a piece that is nearest to each time, shape (times,); -1 for none.

        None is more than half an interval away, and each is the frame of one time at most.
        """
        found = np.full(len(times_s), -1)
        there_s = self.times_s[piece]
        if not len(there_s):
            return found
        after = np.clip(np.searchsorted(there_s, times_s), 0, len(there_s) - 1)
        both = np.stack([np.maximum(after - 1, 0), after])
        away_s = np.abs(there_s[both] - times_s)
        at, away_s = np.where(away_s[0] <= away_s[1], *both), away_s.min(axis=0)
        order = np.argsort(away_s)
        order = order[away_s[order] <= 1.01 * self.half_s]
        own = order[np.unique(at[order], return_index=True)[1]]
        found[own] = piece.start + at[own]
        return found


class Cameras:
    """Finds the frames of one camera.

    Args:
        folder: Folder of the data set.
        key: Name of the camera.
        skipped: Counts unreadable videos, and episodes whose frames cannot be told apart.
    """

    def __init__(self, folder: Path, key: str, skipped: Tally) -> None:
        self.key = key
        self._folder, self._skipped = folder, skipped
        self.fault: str | None = None
        """Reason why the last unreadable file could not be read; None if there is none."""
        self.by_number: list[str] = []
        """Descriptions of the episodes whose frames are found by their numbers."""
        self._videos: dict[Path, _Timed | None] = {}
        self._places = self._of_episodes()
        self._inside: dict[Path, list[int]] = {}
        for episode, place in sorted(self._places.items(), key=lambda item: item[1].begin_s):
            self._inside.setdefault(place.path, []).append(episode)

    def find(
        self, table: ParquetTable, episodes: np.ndarray, stamps_s: np.ndarray
    ) -> list[ImageFile | None]:
        """Return the location of the frame of each row; None where there is no frame.

        Args:
            table: The table of the rows.
            episodes: Number of the episode of each row, shape (rows,).
            stamps_s: Time of each row since its episode began [s], shape (rows,); NaN if unknown.
        """
        if self.key in table.schema.names:
            return [TableImage(table.path, self.key, i, table) for i in range(len(episodes))]
        found: list[ImageFile | None] = [None] * len(episodes)
        for rows in rows_of_episodes(episodes):
            number = episodes[rows[0]]
            place = self._places.get(int(number)) if np.isfinite(number) else None
            if place is None:
                continue
            if place.path not in self._videos:
                self._videos[place.path] = self._open(place.path)
            timed = self._videos[place.path]
            if timed is None:
                continue
            frames = self._pair(int(number), timed, place.begin_s, stamps_s[rows])
            for row, frame in zip(rows.tolist(), frames.tolist(), strict=True):
                found[row] = None if frame < 0 else VideoFrame(place.path, frame, timed.video)
        return found

    def _pair(
        self, episode: int, timed: _Timed, begin_s: float, stamps_s: np.ndarray
    ) -> np.ndarray:
        """Return the frame of each row of an episode, shape (rows,); -1 for none.

        Frames are found by their times if these give each row a frame of its own, else by their
        numbers if there are as many as rows, else by the times of those that are there if the rate
        is that of the rows.
        """
        piece = timed.pieces[episode]
        num_frames, is_known = piece.stop - piece.start, np.isfinite(stamps_s)
        frames = timed.nearest(piece, begin_s + stamps_s)
        if not num_frames or (frames[is_known] >= 0).all():
            return frames
        steps_s = np.diff(stamps_s[is_known])
        step_s, shown_s = float(np.median(steps_s)) if len(steps_s) else 0.0, 2.0 * timed.half_s
        words = (
            f"episode {episode}, with {len(stamps_s)} rows {step_s:.3g} s apart and"
            f" {num_frames} frames {shown_s:.3g} s apart"
        )
        if num_frames == len(stamps_s):
            self.by_number.append(words)
            return np.arange(piece.start, piece.stop)
        if abs(step_s - shown_s) > _LARGEST_DIFFERENCE * shown_s:
            self.fault = words
            self._skipped.add("frames that fit neither by times nor by number", words)
            return np.full(len(stamps_s), -1)
        return frames

    def _open(self, path: Path) -> _Timed | None:
        import_av()
        try:
            video = Video(path)
            times_s = video.time_s
            if times_s is None:
                raise ValueError(f"{path.name} does not say when its frames are shown")
        except ValueError as error:
            self.fault = str(error)
            self._skipped.add("damaged video", str(error))
            return None
        steps_s = np.diff(times_s)
        half_s = float(np.median(steps_s)) / 2.0 if len(steps_s) else 0.5
        episodes = self._inside[path]
        begins_s = np.array([self._places[episode].begin_s for episode in episodes])
        lengths = np.array([self._places[episode].length for episode in episodes])
        first = np.searchsorted(times_s, begins_s - half_s)
        if lengths.sum() == len(times_s) and lengths.min() >= 0.0:
            # The times in the metadata may be wrong; they are not needed where the rows add up.
            first = np.append(0.0, np.cumsum(lengths[:-1])).astype(int)
        bounds = [*first.tolist(), len(times_s)]
        pieces = {one: slice(*ends) for one, ends in zip(episodes, pairwise(bounds), strict=True)}
        return _Timed(video, times_s, half_s, pieces)

    def _of_episodes(self) -> dict[int, _Place]:
        """Return the place of each episode's frames."""
        videos = self._folder / "videos"
        found = {
            int(match.group(1)): _Place(path, 0.0, np.nan)
            for path in videos.glob(f"*/{self.key}/episode_*.mp4")
            if (match := _EPISODE.fullmatch(path.name))
        }
        files = {
            (int(match.group(1)), int(match.group(2))): path
            for path in (videos / self.key).glob("*/*.mp4")
            if (match := _FILE.fullmatch("/".join(path.parts[-2:])))
        }
        if not files:
            return found
        names = [f"videos/{self.key}/{end}" for end in
                 ("chunk_index", "file_index", "from_timestamp")]  # fmt: skip
        for path in sorted((self._folder / "meta" / "episodes").glob("**/*.parquet")):
            try:
                table = ParquetTable(path)
                columns = [table.numbers(name)[:, 0] for name in ("episode_index", *names)]
                unknown = np.full((table.num_rows, 1), np.nan)
                lengths = table.numbers("length") if "length" in table.schema.names else unknown
            except (ValueError, IndexError) as error:
                self.fault = str(error)
                self._skipped.add("damaged table of episodes", str(error))
                continue
            for episode, chunk, file, begin_s, length in zip(*columns, lengths[:, 0], strict=True):
                if np.isfinite([episode, chunk, file, begin_s]).all():
                    place = files.get((int(chunk), int(file)))
                    if place is not None:
                        found[int(episode)] = _Place(place, float(begin_s), float(length))
        return found
