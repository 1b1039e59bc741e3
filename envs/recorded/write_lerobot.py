# pyright: reportMissingImports=false
"""Write a recording as a LeRobotDataset v3.0, without loss.

| data               | where                                                                     |
|--------------------|---------------------------------------------------------------------------|
| frames             | `observation.images.center`: the JPEG or PNG files themselves, in Parquet |
| chosen actions     | `action`, float32                                                         |
| all other numbers  | `observation.state`, float32                                              |
| time since the     | `timestamp`, float32, the true time, not a multiple of 1 / fps: give      |
| episode began [s]  | LeRobot's own `LeRobotDataset` a `tolerance_s` if time steps vary         |
| time [s]           | `time_s`, float64                                                         |
| task               | `task_index`: that of the episode, or the one that is given               |
| units, signs, crop | `meta/ncp_control.json`, which LeRobot's own tools ignore                 |

Source: https://github.com/huggingface/lerobot/blob/main/src/lerobot/datasets, version 3.0.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.recorded.images import as_file
from envs.recorded.own_notes import NAME, notes_of
from envs.recorded.parquet import import_parquet
from envs.recorded.quantities import Quantity
from envs.recorded.recording import Recording
from envs.recorded.stretches import CENTER, Stretch
from envs.recorded.writing import check_actions, new_folder, written_episodes

CAMERA = f"observation.images.{CENTER}"
ACTION, STATE = "action", "observation.state"
TASK = "drive"
"""Description of the task of episodes that have none."""
_ROWS = 64
"""Number of rows of a row group, which a reader must read for a single frame."""
_FILE_BYTES = 100 * 2**20
"""Size above which the next episode goes into a new file [bytes]."""
_SAMPLED_FRAMES, _SAMPLED_PIXELS = 100, 10_000
"""Number of frames, and of pixels of each, for the statistics of frames."""
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def write_lerobot(recording: Recording, folder: str | Path, *, task: str | None = None) -> None:
    """Write a recording as a LeRobotDataset.

    Args:
        recording: Any recording, with the chosen actions.
        folder: Folder of the data set; it must not exist yet.
        task: Description of the task in words. If None: that of each episode, or "drive".

    Raises:
        ValueError: If pyarrow is not installed, `folder` exists, there is no action, or an image
            has become unreadable.
    """
    import_parquet()
    check_actions(recording, "LeRobot")
    episodes = written_episodes(recording)
    if task is not None:
        episodes = [replace(episode, task=task) for episode in episodes]
    with new_folder(folder) as new:
        writer = _Writer(new, recording, episodes)
        for episode in episodes:
            writer.write(episode)
        writer.finish()


class _Writer:
    """Writes episodes one after the other, then the metadata."""

    def __init__(self, folder: Path, recording: Recording, episodes: list[Stretch]) -> None:
        import pyarrow

        self._arrow, self._parquet = pyarrow, import_parquet()
        self._folder, self._recording, self._episodes = folder, recording, episodes
        known = {one.name: one for one in recording.quantities}
        others = [name for name in known if name not in recording.actions]
        columns = {ACTION: list(recording.actions), STATE: others}
        self._columns = {key: [known[n] for n in names] for key, names in columns.items() if names}
        self._tasks = list(dict.fromkeys(episode.task or TASK for episode in episodes))
        self._num_frames = sum(len(episode) for episode in episodes)
        self._file: Any = None
        self._file_number = -1
        self._index = 0
        self._about: list[dict[str, Any]] = []
        self._numbers: dict[str, list[np.ndarray]] = {}
        self._sampled: list[np.ndarray] = []
        self._sizes: dict[tuple[int, ...], int] = {}

    def write(self, episode: Stretch) -> None:
        """Write an episode."""
        path = self._data_file()
        first = self._index
        for begin in range(0, len(episode), _ROWS):
            rows = np.arange(begin, min(begin + _ROWS, len(episode)))
            table = self._table(episode, rows)
            if self._file is None:
                self._file = self._parquet.ParquetWriter(
                    path, table.schema, write_page_checksum=True
                )
            self._file.write_table(table)
            self._index += len(rows)
        self._about.append(
            {
                "episode_index": len(self._about),
                "tasks": [episode.task or TASK],
                "length": len(episode),
                "data/chunk_index": self._file_number // 1000,
                "data/file_index": self._file_number % 1000,
                "dataset_from_index": first,
                "dataset_to_index": self._index,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )

    def _data_file(self) -> Path:
        """Return the file for the next episode."""
        path = self._path(self._file_number)
        if self._file is None or path.stat().st_size > _FILE_BYTES:
            self._close()
            self._file_number += 1
            path = self._path(self._file_number)
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _path(self, number: int) -> Path:
        name = f"data/chunk-{number // 1000:03d}/file-{number % 1000:03d}.parquet"
        return self._folder / name

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _table(self, episode: Stretch, rows: np.ndarray) -> Any:
        """Return some rows of an episode as a table."""
        arrow = self._arrow
        index = self._index + np.arange(len(rows))
        time_s = episode.time_s[rows]
        columns: dict[str, Any] = {}
        for key, quantities in self._columns.items():
            values = np.stack([episode.numbers[one.name][rows] for one in quantities], axis=1)
            flat = arrow.array(values.reshape(-1), arrow.float32())
            columns[key] = arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
            self._numbers.setdefault(key, []).append(values)
        plain = {
            "timestamp": (time_s - episode.time_s[0]).astype(np.float32),
            "frame_index": rows.astype(np.int64),
            "episode_index": np.full(len(rows), len(self._about), np.int64),
            "index": index.astype(np.int64),
            "task_index": np.full(len(rows), self._tasks.index(episode.task or TASK), np.int64),
            "time_s": time_s,
        }
        for key, values in plain.items():
            columns[key] = arrow.array(values)
            self._numbers.setdefault(key, []).append(values[:, None])
        if episode.image_paths:
            kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
            columns[CAMERA] = arrow.array([*self._images(episode, rows, index)], kind)
        return arrow.table(columns)

    def _images(
        self, episode: Stretch, rows: np.ndarray, index: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """Yield the image files of frames, and keep samples of their pixels for the statistics."""
        stride = max(self._num_frames // _SAMPLED_FRAMES, 1)
        for row, number in zip(rows.tolist(), index.tolist(), strict=True):
            data, suffix, image = as_file(episode.image_paths[row])
            self._sizes[image.shape] = self._sizes.get(image.shape, 0) + 1
            if number % stride == 0:
                pixels = image.reshape(-1, 3)
                self._sampled.append(pixels[:: -(-len(pixels) // _SAMPLED_PIXELS)] / 255.0)
            yield {"bytes": data, "path": f"frame-{number:06d}{suffix}"}

    def finish(self) -> None:
        """Write the metadata."""
        self._close()
        meta = self._folder / "meta"
        episodes = meta / "episodes" / "chunk-000" / "file-000.parquet"
        episodes.parent.mkdir(parents=True)
        self._parquet.write_table(self._arrow.Table.from_pylist(self._about), episodes)
        self._parquet.write_table(_tasks(self._arrow, self._tasks), meta / "tasks.parquet")
        called = {
            f"{key}.{name}": one
            for key, them in self._columns.items()
            for name, one in zip(_names(key, them), them, strict=True)
        }
        for name, values in (
            ("info", self._info()),
            ("stats", self._stats()),
            (NAME, notes_of(self._recording, called, self._episodes)),
        ):
            text = json.dumps(values, indent=4, allow_nan=False)
            (meta / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        if len(self._sizes) > 1:
            sizes = ", ".join(f"{shape[0]} x {shape[1]}" for shape in self._sizes)
            warnings.warn(
                f"The frames of '{self._recording.folder.name}' have several sizes, {sizes}: they"
                " are written as they are, but LeRobot's own tools need one size.",
                stacklevel=4,
            )

    def _info(self) -> dict[str, Any]:
        features: dict[str, Any] = {
            key: {"dtype": "float32", "shape": [len(them)], "names": _names(key, them)}
            for key, them in self._columns.items()
        }
        if self._sizes:
            shape = max(self._sizes, key=lambda one: self._sizes[one])
            names = ["height", "width", "channels"]
            features[CAMERA] = {"dtype": "image", "shape": list(shape), "names": names}
        for key, kind in {
            "timestamp": "float32", "frame_index": "int64", "episode_index": "int64",
            "index": "int64", "task_index": "int64", "time_s": "float64",
        }.items():  # fmt: skip
            features[key] = {"dtype": kind, "shape": [1], "names": None}
        return {
            "codebase_version": "v3.0",
            "robot_type": self._recording.robot or None,
            "total_episodes": len(self._about),
            "total_frames": self._index,
            "total_tasks": len(self._tasks),
            "chunks_size": 1000,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": max(round(1.0 / self._recording.frame_s), 1),
            "splits": {"train": f"0:{len(self._about)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": None,
            "features": features,
        }

    def _stats(self) -> dict[str, Any]:
        stats = {key: _statistics(np.concatenate(them)) for key, them in self._numbers.items()}
        if self._sampled:
            pixels = _statistics(np.concatenate(self._sampled))
            shaped = {
                name: values if name == "count" else [[[value]] for value in values]
                for name, values in pixels.items()
            }
            stats[CAMERA] = {**shaped, "count": [len(self._sampled)]}
        return stats


def _names(key: str, quantities: Sequence[Quantity]) -> list[str]:
    """Return the names of numbers within their column: without its name, as the reader puts it."""
    names = [one.name for one in quantities]
    short = [name.removeprefix(f"{key}.") for name in names]
    return short if len(set(short)) == len(names) else names


def _statistics(values: np.ndarray) -> dict[str, list[Any]]:
    """Return LeRobot's statistics of numbers, shape (N, columns), without missing ones."""
    columns = [column[np.isfinite(column)].astype(np.float64) for column in values.T]
    columns = [column if len(column) else np.zeros(1) for column in columns]
    measures: dict[str, Any] = {"min": np.min, "max": np.max, "mean": np.mean, "std": np.std}
    stats = {name: [float(f(one)) for one in columns] for name, f in measures.items()}
    stats["count"] = [len(values)]
    for name, share in _QUANTILES.items():
        stats[name] = [float(np.quantile(one, share)) for one in columns]
    return stats


def _tasks(arrow: Any, tasks: Sequence[str]) -> Any:
    """Return the table of tasks as pandas would write it, with the words of the tasks as index."""
    index = "__index_level_0__"
    about = {
        "index_columns": [index],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object",
             "metadata": {"encoding": "UTF-8"}}
        ],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64",
             "numpy_type": "int64", "metadata": None},
            {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object",
             "metadata": None},
        ],
        "pandas_version": "2.0.0",
    }  # fmt: skip
    numbers = arrow.array(range(len(tasks)), arrow.int64())
    table = arrow.table({"task_index": numbers, index: arrow.array(tasks, arrow.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})
