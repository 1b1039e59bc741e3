# pyright: reportMissingImports=false
"""Load Minari data sets in HDF5: episodes of an environment, read by the package `h5py`.

| data         | where in `data/main_data.hdf5`                                                    |
|--------------|-----------------------------------------------------------------------------------|
| observations | `episode_N/observations`: one array or a tree of them; one more than actions      |
| actions      | `episode_N/actions`                                                               |
| times [s]    | `episode_N/infos/time_s`, which `write_minari` writes; else equal steps           |

Arrays of uint8 images are frames; in most data sets they are JPEGs, with a small loss. All other
arrays but rewards are numbers, named by their position: `observation.0`, `action.0`, or
`observation.arm.0` in a tree. If the data set names an environment of Gymnasium, numbers get the
names and units of that environment, actions are scaled to [-1, 1], and a policy trained on them can
act there: `evaluate.py RUN/policy`.

Source: https://minari.farama.org/content/dataset_standards, version 0.5.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.recorded.assembly import Listing, LoggedFrame, assemble_recording, check_folder
from envs.recorded.hdf5 import Picture, arrays, damaged, is_pictures, open_file, shortest_length
from envs.recorded.own_notes import NAME, Notes, read_facts, read_notes, short
from envs.recorded.quantities import Quantity
from envs.recorded.recording import Recording
from ncp_control.contract import Contract
from ncp_control.ranges import check_above_zero, check_count
from ncp_control.records import entries_of, frames_part
from ncp_control.tally import Tally
from ncp_control.worlds import find_world

DATA, METADATA = "data/main_data.hdf5", "data/metadata.json"
ACTION, OBSERVATION = "action", "observation"
_MOST_NUMBERS = 512
"""Largest width of an array of quantities; wider ones are left out."""


def load_minari(
    folder: str | Path,
    *,
    camera: str | None = None,
    frame_s: float | None = None,
    max_episodes: int | None = None,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] | None = None,
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a Minari data set.

    Args:
        folder: Folder of the data set, which holds `data/main_data.hdf5`.
        camera: Images to use, by their position in the observation; if None: the first ones.
        frame_s: Time between two steps [s]; if None: that of the data set or of its environment.
        max_episodes: Number of episodes to read, from the first on; if None: all.
        image_size: Height and width of an observation [pixels].
        crop: Shares of the height cut off at the top and at the bottom; if None: the crop stored
            with the data set, or no crop.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If h5py is not installed, actions are discrete, the time step is unknown, or no
            step can be used.
    """
    if max_episodes is not None:
        check_count("max_episodes", max_episodes)
    if frame_s is not None:
        check_above_zero("frame_s", frame_s)
    folder = Path(folder)
    check_folder(folder)
    metadata, notes = read_facts(folder, METADATA), read_notes(folder / "data" / f"{NAME}.json")
    framing = notes.framing(image_size, crop, folder)
    contract = None if notes.quantities else _contract_of_world(metadata)
    if frame_s is None and contract is not None:
        frame_s = contract.frame_s
    skipped, known = Tally(), dict[str, Quantity]()
    names = _Names(notes, contract, metadata)
    frames: list[LoggedFrame] = []
    with open_file(folder / DATA) as file:
        groups = _episodes(folder, file, skipped)[:max_episodes]
        for number, group in groups:
            try:
                frames += _frames(
                    folder, number, group, names, camera, frame_s, len(frames), known, skipped
                )
            except (KeyError, OSError, RuntimeError, TypeError) as error:
                skipped.add("damaged episode", f"episode {number}: {short(error)}")
    recording = assemble_recording(
        Listing(
            folder=folder,
            format="minari",
            frames=frames,
            skipped=skipped,
            advice="Download the data set again.",
            quantities=list(known.values()),
            actions=notes.actions or names.actions(known),
        ),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )
    driver = notes.driver if notes.quantities else str(metadata.get("algorithm_name") or "agent")
    recording = replace(notes.name_episodes(recording), driver=driver[:100])
    if contract is not None and names.are_those_of_the_world(recording):
        recording = replace(
            recording,
            contract=contract,
            inputs=tuple(one.name for one in entries_of(contract.observation)),
        )
    return recording


def is_minari(path: Path) -> bool:
    """True for a folder with Minari's HDF5 file."""
    return (path / DATA).is_file()


class _Names:
    """Names, units and scaling of the numbers of a data set.

    Args:
        notes: Extra file of a data set from `write_minari`.
        contract: Contract of the environment, if it is known.
        metadata: Metadata of the data set.
    """

    def __init__(self, notes: Notes, contract: Contract | None, metadata: Mapping[str, Any]):
        self._notes, self._contract = notes, contract
        self._ends = None if contract is None else _ends(metadata)

    def of(self, key: str, values: np.ndarray) -> list[tuple[Quantity, np.ndarray]]:
        """Return quantity and values of each number of an array of shape (steps, numbers)."""
        width = values.shape[1]
        calls = [key] if width == 1 and key != OBSERVATION else [f"{key}.{i}" for i in range(width)]
        quantities = [self._notes.quantities.get(one, Quantity(name=one)) for one in calls]
        if self._contract is not None and key == ACTION and self._ends is not None:
            entries, (low, high) = self._contract.action, self._ends
            if len(entries) == width == len(low):
                quantities = [
                    Quantity(name=one.name, unit=one.unit, range=one.range, positive=one.positive)
                    for one in entries
                ]
                values = 2.0 * (values - low) / (high - low) - 1.0
        elif self._contract is not None and key == OBSERVATION:
            entries = entries_of(self._contract.observation)
            if len(entries) == width:
                quantities = [Quantity(name=e.name, unit=e.unit, range=e.range) for e in entries]
        return list(zip(quantities, values.T, strict=True))

    def actions(self, known: Mapping[str, Quantity]) -> list[str]:
        """Return the names of the default actions."""
        if self._contract is not None:
            return [one.name for one in self._contract.action if one.name in known] or _own(known)
        return _own(known)

    def are_those_of_the_world(self, recording: Recording) -> bool:
        """Whether the recording has all observations and actions of the environment."""
        assert self._contract is not None
        names = {one.name for one in recording.quantities}
        sensed = {one.name for one in entries_of(self._contract.observation)}
        commanded = tuple(one.name for one in self._contract.action)
        return sensed <= names and recording.actions == commanded


def _own(known: Mapping[str, Quantity]) -> list[str]:
    return [name for name in known if name.split(".")[0] == ACTION]


def _contract_of_world(metadata: Mapping[str, Any]) -> Contract | None:
    """Return the contract of the environment of a data set, if Gymnasium has the environment.

    None if the environment shows frames, since the images of a data set may have any size, or takes
    discrete actions.
    """
    try:
        env_id = json.loads(metadata["env_spec"])["id"]
        contract = find_world(f"gymnasium:{env_id}").contract
    except (KeyError, TypeError, ValueError, ImportError):
        return None
    is_numbers = frames_part(contract.observation) is None
    return contract if is_numbers and not any(one.choices for one in contract.action) else None


def _ends(metadata: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return lowest and highest actions from the metadata; None if they are not usable."""
    try:
        space = json.loads(metadata["action_space"])
        low, high = np.ravel(space["low"]).astype(float), np.ravel(space["high"]).astype(float)
    except (KeyError, TypeError, ValueError):
        return None
    return (low, high) if len(low) == len(high) and np.all(low < high) else None


def _episodes(folder: Path, file: Any, skipped: Tally) -> list[tuple[int, Any]]:
    """Return number and group of each episode, in order.

    Raises:
        ValueError: If the file is damaged and episodes cannot be listed.
    """
    try:
        names = list(file)
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise damaged(folder / DATA, error) from error
    found = []
    for name in names:
        match = re.fullmatch(r"episode_(\d{1,9})", name)
        if match is None:
            skipped.add("no episode", name[:60])
            continue
        try:
            found.append((int(match[1]), file[name]))
        except (KeyError, OSError, RuntimeError) as error:
            skipped.add("damaged episode", f"{name}: {short(error)}")
    return sorted(found, key=lambda one: one[0])


def _frames(
    folder: Path,
    number: int,
    group: Any,
    names: _Names,
    camera: str | None,
    frame_s: float | None,
    first_row: int,
    known: dict[str, Quantity],
    skipped: Tally,
) -> Iterator[LoggedFrame]:
    """Yield the frames of an episode, and add its quantities to `known`."""
    steps = len(group["rewards"]) if "rewards" in group else shortest_length(group["actions"])
    place = f"episode {number}"
    named: dict[str, np.ndarray] = {}
    pictures: dict[str, Any] = {}
    found = [
        *arrays(ACTION, group["actions"]),
        *arrays(OBSERVATION, group["observations"]),
    ]
    for key, array in found:
        if len(array) < steps or not steps:
            skipped.add("array too short", f"{key} in {place}")
        elif is_pictures(array):
            pictures[key.removeprefix(f"{OBSERVATION}.")] = array
        elif array.dtype.kind == "i" and key.split(".")[0] == ACTION:
            raise ValueError(
                f"`folder` must hold actions that are numbers, got choices in '{folder}'. A policy"
                " cannot learn choices from a recording yet."
            )
        elif array.dtype.kind in "fiub" and 1 <= array.ndim and array[:1].size <= _MOST_NUMBERS:
            values = np.asarray(array[:steps], np.float64).reshape(steps, -1)
            for quantity, series in names.of(key, values):
                known.setdefault(quantity.name, quantity)
                named[quantity.name] = series
        else:
            skipped.add("array of another kind", f"{key} in {place}")
    time_s = _times(group, steps, frame_s, folder)
    chosen = _choose(pictures, camera, folder)
    for i in range(steps):
        path = None
        if chosen is not None:
            path = Picture(path=folder / DATA, place=pictures[chosen].name, number=i)
        yield LoggedFrame(
            row=first_row + i,
            time_s=float(time_s[i]),
            numbers={n: float(v[i]) for n, v in named.items() if np.isfinite(v[i])},
            path=path,
            declared=str(number),
            place=f"step {i} of {place}",
        )


def _choose(pictures: Mapping[str, Any], camera: str | None, folder: Path) -> str | None:
    """Return the name of the images to use; None if there are no images.

    Raises:
        ValueError: If there are no images with the given name.
    """
    if camera is None:
        return next(iter(pictures), None)
    if camera not in pictures:
        raise ValueError(
            f"`camera` must be one of {', '.join(pictures) or 'none'} in '{folder}', got"
            f" {camera!r}."
        )
    return camera


def _times(group: Any, steps: int, frame_s: float | None, folder: Path) -> np.ndarray:
    """Return the time of each step [s]: from the data set, or with equal steps.

    Raises:
        ValueError: If the data set has no times and `frame_s` is unknown.
    """
    times_s = group["infos"]["time_s"] if "infos" in group and "time_s" in group["infos"] else None
    if times_s is not None and times_s.ndim == 1 and len(times_s) >= steps:
        return np.asarray(times_s[:steps], np.float64)
    if frame_s is None or not frame_s > 0.0:
        raise ValueError(
            f"`frame_s` must be given for '{folder}', which names no environment that tells its"
            f" time step, got {frame_s!r}. Use --log-options frame_s=SECONDS."
        )
    return frame_s * np.arange(steps)
