"""Cameras of a LeRobotDataset: choose one, and find the frame of a row."""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.recorded.images import ImageFile
from envs.recorded.parquet import ParquetTable, TableImage, is_image
from envs.recorded.video import Video, VideoFrame, import_av
from ncp_control.tally import Tally

_EPISODE = re.compile(r"episode_(\d{1,9})\.mp4")
_FILE = re.compile(r"chunk-(\d{1,9})/file-(\d{1,9})\.mp4")


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
    columns = {one.name for table in tables for one in table.schema if is_image(one.type)}
    there = sorted(columns | set(_video_folders(folder)))
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


def _video_folders(folder: Path) -> list[str]:
    """Return the names of the cameras that have a video."""
    found = []
    for path in (folder / "videos").glob("*/*/*.mp4"):
        is_old = _EPISODE.fullmatch(path.name) is not None
        found.append(path.parent.name if is_old else path.parent.parent.name)
    return sorted(set(found))


class _Timed(NamedTuple):
    """A video with the times of its frames."""

    video: Video
    times_s: np.ndarray
    """Time of each frame [s]."""
    half_s: float
    """Half of the time between two frames [s]."""

    def number_at(self, time_s: float) -> int | None:
        """Return the frame nearest to a time; None if it is more than half an interval away."""
        after = min(int(np.searchsorted(self.times_s, time_s)), len(self.times_s) - 1)
        at = min((max(after - 1, 0), after), key=lambda number: abs(self.times_s[number] - time_s))
        return at if abs(self.times_s[at] - time_s) <= 1.01 * self.half_s else None


class Cameras:
    """Finds the frames of one camera.

    Args:
        folder: Folder of the data set.
        key: Name of the camera.
        skipped: Counts unreadable videos.
    """

    def __init__(self, folder: Path, key: str, skipped: Tally) -> None:
        self._folder, self._key, self._skipped = folder, key, skipped
        self.fault: str | None = None
        """Reason why the last unreadable file could not be read; None if there is none."""
        self._videos: dict[Path, _Timed | None] = {}
        self._files = self._of_episodes()

    def find(self, table: ParquetTable, row: int, episode: int, stamp_s: float) -> ImageFile | None:
        """Return the location of the frame of a row; None if there is no frame.

        Args:
            table: The table of the row.
            row: Index of the row in the table.
            episode: Number of the episode.
            stamp_s: Time of the row since the episode began [s].
        """
        if self._key in table.schema.names:
            return TableImage(table.path, self._key, row, table)
        path, begin_s = self._files.get(episode, (None, 0.0))
        if path is None:
            return None
        if path not in self._videos:
            self._videos[path] = self._open(path)
        timed = self._videos[path]
        number = None if timed is None else timed.number_at(begin_s + stamp_s)
        return None if timed is None or number is None else VideoFrame(path, number, timed.video)

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
        return _Timed(video, times_s, half_s)

    def _of_episodes(self) -> dict[int, tuple[Path, float]]:
        """Return the video file of each episode, and the time at which it begins there [s]."""
        videos = self._folder / "videos"
        found = {
            int(match.group(1)): (path, 0.0)
            for path in videos.glob(f"*/{self._key}/episode_*.mp4")
            if (match := _EPISODE.fullmatch(path.name))
        }
        files = {
            (int(match.group(1)), int(match.group(2))): path
            for path in (videos / self._key).glob("*/*.mp4")
            if (match := _FILE.fullmatch("/".join(path.parts[-2:])))
        }
        if not files:
            return found
        names = [f"videos/{self._key}/{end}" for end in
                 ("chunk_index", "file_index", "from_timestamp")]  # fmt: skip
        for path in sorted((self._folder / "meta" / "episodes").glob("**/*.parquet")):
            try:
                table = ParquetTable(path)
                columns = [table.numbers(name)[:, 0] for name in ("episode_index", *names)]
            except (ValueError, IndexError) as error:
                self.fault = str(error)
                self._skipped.add("damaged table of episodes", str(error))
                continue
            for episode, chunk, file, begin_s in zip(*columns, strict=True):
                if np.isfinite([episode, chunk, file, begin_s]).all():
                    place = files.get((int(chunk), int(file)))
                    if place is not None:
                        found[int(episode)] = place, float(begin_s)
        return found
