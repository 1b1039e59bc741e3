# pyright: reportMissingImports=false
"""Write a recording as a Minari data set in HDF5, without loss.

| data               | where                                                                    |
|--------------------|--------------------------------------------------------------------------|
| frames             | `observations/frame`: their pixels, uint8 RGB, compressed without loss    |
| chosen actions     | `actions`, float32                                                       |
| all other numbers  | `observations/numbers`, float32                                          |
| times [s]          | `infos/time_s`, float64                                                  |
| units, signs, crop | `data/ncp_control.json`, which Minari's own tools ignore                 |

Minari has one observation more than actions: the last one is written twice. There are no rewards
in a recording: all are written as 0.

Source: https://minari.farama.org/content/dataset_standards, version 0.5.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from envs.recorded.hdf5 import import_h5py
from envs.recorded.images import read_image
from envs.recorded.minari import ACTION, OBSERVATION
from envs.recorded.own_notes import NAME, notes_of
from envs.recorded.recording import Recording
from envs.recorded.stretches import Stretch
from envs.recorded.writing import check_actions, new_folder, written_episodes


def write_minari(recording: Recording, folder: str | Path) -> None:
    """Write a recording as a Minari data set.

    Args:
        recording: Any recording, with the chosen actions.
        folder: Folder of the data set; it must not exist yet. Its name is the name of the data set.

    Raises:
        ValueError: If minari is not installed, `folder` exists, there is no action, or images have
            several sizes or have become unreadable.
    """
    h5py = import_h5py()
    try:
        import minari
        from minari.dataset.minari_storage import MinariStorage
    except ModuleNotFoundError as error:
        raise ValueError(
            "`to` minari needs minari, which is not installed. Run"
            ' `pip install "ncp-control[minari]"`.'
        ) from error
    check_actions(recording, "Minari")
    episodes = written_episodes(recording)
    others = [one.name for one in recording.quantities if one.name not in recording.actions]
    shape = _shape(recording, episodes)
    with new_folder(folder) as new:
        data = new / "data"
        data.mkdir()
        observation, action = _spaces(recording, others, shape)
        storage = MinariStorage.new(data, observation, action, jpeg_encoding=False)
        with h5py.File(data / "main_data.hdf5", "a", track_order=True) as file:
            for number, episode in enumerate(episodes):
                _write(file.create_group(f"episode_{number}"), number, episode, recording, others)
        steps = sum(len(one) for one in episodes)
        storage.update_metadata(
            {
                "dataset_id": re.sub(r"[^\w-]", "-", Path(folder).name) + "-v0",
                "total_episodes": len(episodes),
                "total_steps": steps,
                "dataset_size": storage.get_size(),
                "minari_version": minari.__version__,
                "algorithm_name": recording.driver,
                "description": f"written from {recording.folder.name} ({recording.format})",
            }
        )
        known = {one.name: one for one in recording.quantities}
        called = {_called(ACTION, i, len(recording.actions)): known[name]
                  for i, name in enumerate(recording.actions)}  # fmt: skip
        numbers = f"{OBSERVATION}.numbers"
        called |= {_called(numbers, i, len(others)): known[name] for i, name in enumerate(others)}
        text = json.dumps(notes_of(recording, called, episodes), indent=4, allow_nan=False)
        (data / f"{NAME}.json").write_text(text + "\n", encoding="utf-8")


def _called(key: str, i: int, width: int) -> str:
    """Return the name by position that the reader gives a number."""
    return key if width == 1 else f"{key}.{i}"


def _shape(recording: Recording, episodes: list[Stretch]) -> tuple[int, ...] | None:
    """Return the shape of the frames, which must be the same for all; None for numbers alone."""
    if recording.framing is None:
        return None
    sizes = {_pixels(path).shape for path in (one.image_paths[0] for one in episodes)}
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width}" for height, width, _ in sorted(sizes))
        raise _several_sizes(recording, listed)
    return sizes.pop()


def _several_sizes(recording: Recording, sizes: str) -> ValueError:
    return ValueError(
        f"`log` must have frames of one size for Minari, got {sizes} in '{recording.folder}'. Write"
        " a LeRobotDataset instead."
    )


def _spaces(recording: Recording, others: list[str], shape: tuple[int, ...] | None) -> Any:
    """Return Gymnasium's spaces of observations and actions."""
    from gymnasium import spaces

    def box(width: int) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (width,), np.float32)

    parts: dict[str, spaces.Space] = {}
    if shape is not None:
        parts["frame"] = spaces.Box(0, 255, shape, np.uint8)
    if others:
        parts["numbers"] = box(len(others))
    return spaces.Dict(parts), box(len(recording.actions))


def _write(
    group: Any, number: int, episode: Stretch, recording: Recording, others: list[str]
) -> None:
    """Write one episode, with its last observation twice."""
    steps, again = len(episode), [*range(len(episode)), len(episode) - 1]
    group.attrs.update({"id": number, "total_steps": steps})
    numbers = episode.numbers
    arrays = {"rewards": np.zeros(steps, np.float32), "terminations": np.zeros(steps, bool)}
    arrays["truncations"] = np.arange(steps) == steps - 1
    arrays["actions"] = np.stack([numbers[name] for name in recording.actions], axis=1)
    for name, values in arrays.items():
        group.create_dataset(name, data=values)
    group.create_group("infos").create_dataset("time_s", data=episode.time_s[again])
    observations = group.create_group("observations")
    if others:
        values = np.stack([numbers[name] for name in others], axis=1)
        observations.create_dataset("numbers", data=values[again])
    if recording.framing is None:
        return
    shape = _pixels(episode.image_paths[0]).shape
    frames = observations.create_dataset(
        "frame", (steps + 1, *shape), np.uint8, chunks=(1, *shape), compression="gzip"
    )
    for i, row in enumerate(again):
        pixels = _pixels(episode.image_paths[row])
        if pixels.shape != shape:
            both_sizes = [f"{one[0]} x {one[1]}" for one in (shape, pixels.shape)]
            raise _several_sizes(recording, " and ".join(both_sizes))
        frames[i] = pixels


def _pixels(path: Any) -> np.ndarray:
    image = read_image(path)
    if image is None:
        raise ValueError(f"`image` must stay readable while it is converted, got '{path}'.")
    return image
