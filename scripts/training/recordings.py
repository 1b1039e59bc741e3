"""Load recordings, split each in time, and write the parts of all as stores."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.recorded import Recording, load_recordings
from envs.recorded.left_out import FILE
from envs.recorded.likeness import compare_actions
from envs.recorded.parts import PARTS, part_of, parts_file, read_parts
from envs.recorded.recording import fit_scales
from envs.recorded.several import use_if_possible
from ncp_control.contract import Contract, FramesContract
from ncp_control.keyword_options import read_options
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter, as_seen
from ncp_control.records import array_of, frames_part, record_frame
from scripts.recordings import num_marked, tell_marked
from scripts.training.contracts import with_origin
from scripts.training.recorded_settings import Recorded

Parts = dict[str, Recording]
"""Parts of a recording, by the names in `PARTS`."""


@dataclass(frozen=True, kw_only=True)
class SplitStores:
    """Training, validation and test parts of all recordings as stores."""

    train: Demonstrations
    validation: Demonstrations
    test: Demonstrations
    frame_s: float
    """Nominal frame interval [s]."""

    def for_contract(self, contract: Contract) -> "SplitStores":
        """Return the parts as observations of a policy, with its number of stacked frames."""
        parts = {name: as_seen(getattr(self, name), contract) for name in PARTS}
        return dataclasses.replace(self, **parts)


def load(settings: Recorded) -> tuple[list[Recording], list[Parts], list[str]]:
    """Load the recordings of a job and split each.

    Returns:
        The usable recordings; the parts of each; and reasons why validation or test parts may not
        be able to judge the result. Actions have the same scale in all recordings.

    Raises:
        ValueError: If no recording is usable, or a part has no frames.
    """
    loaded = load_recordings(
        settings.log,
        actions=settings.actions,
        inputs=settings.inputs,
        options=read_options(settings.log_options, "log_options"),
    )
    is_only = len(loaded) == 1
    recordings, parts, doubts = [], [], []
    for recording in loaded:
        made = use_if_possible(
            recording.folder, lambda _, one=recording: split(one, settings), is_only=is_only
        )
        if made is not None:
            recordings.append(recording)
            parts.append(made)
            name = "" if is_only else f"{name_of([recording])}: "
            doubts += [f"{name}{doubt}" for doubt in find_doubts(made)]
    if not recordings:
        raise ValueError(
            f"`log` must name a recording that is long enough to be split, got {len(loaded)} of"
            " which none is."
        )
    for name in PARTS:
        if not any(len(one[name]) for one in parts):
            marked = num_marked(recordings)
            cause = f" {marked:,} frames are left out by the marks of {FILE}." if marked else ""
            raise ValueError(
                f"`log` must have frames in the {name} part, got none in {name_of(recordings)}."
                f"{cause} Split them together by data.py split, or give --no-use-parts."
            )
    scales = fit_scales([one["train"] for one in parts])
    recordings = [dataclasses.replace(one, scales=scales) for one in recordings]
    parts = [
        {name: dataclasses.replace(part, scales=scales) for name, part in one.items()}
        for one in parts
    ]
    return recordings, parts, doubts


def name_of(recordings: Sequence[Recording]) -> str:
    """Return the names of recordings, joined by "+"."""
    return "+".join(one.folder.resolve().name for one in recordings)


def contract_of_recordings(recordings: Sequence[Recording]) -> Contract:
    """Return the contract of a policy that is trained on recordings.

    For a drive recorded by `run.py` it is the contract of that drive.
    """
    first, data = recordings[0], name_of(recordings)
    if first.contract is not None:
        return with_origin(first.contract, data=data)
    contract = Contract(
        observation=first.observation, action=first.action, frame_s=frame_interval(recordings)
    )
    return with_origin(contract, data=data)


def seeing_together(contract: Contract, stack: int) -> Contract:
    """Return a contract whose observation is a stack of several frames.

    A contract without frames, or with stacked frames already, is returned unchanged.

    Args:
        contract: Contract with single frames.
        stack: Number of frames that the conv head takes at once.

    Raises:
        ValueError: If the observation has numbers beside the frames to be stacked.
    """
    frames = frames_part(contract.observation)
    if stack == 1 or frames is None or frames.view.stack != 1:
        return contract
    if not isinstance(contract.observation, FramesContract):
        raise ValueError(
            f"`head` must see one frame where numbers are sensed beside it, got one that sees"
            f" {stack} together. Choose light or paper."
        )
    height, width, channels = frames.shape
    stacked = dataclasses.replace(
        frames,
        shape=(height, width, channels * stack),
        view=dataclasses.replace(frames.view, stack=stack),
    )
    options = dict(contract.world_options)
    if ":" in contract.world:  # environments registered by a plain name show single frames
        options["stack"] = stack
    return dataclasses.replace(contract, observation=stacked, world_options=options)


def frame_interval(recordings: Sequence[Recording]) -> float:
    """Return the nominal frame interval [s]: the median over the frames of all recordings."""
    return float(np.median(np.concatenate([np.full(len(one), one.frame_s) for one in recordings])))


def find_doubts(parts: Parts) -> list[str]:
    """Return reasons why the validation or test part may not be able to judge the result."""
    train, validation, test = parts.values()
    named = {"validation part (it chooses the checkpoint)": validation, "test part": test}
    doubts = [
        doubt
        for name, part in named.items()
        if len(train) and len(part)
        for doubt in compare_actions(train, part, name)
    ]
    return list(dict.fromkeys(doubts))


def split(recording: Recording, settings: Recorded) -> Parts:
    """Return the training, validation and test parts of a recording by name, in this order.

    They are the parts written by `data.py split`, any of which may be empty, or a split in time.
    """
    path = parts_file(recording.folder)
    if settings.use_parts and path.is_file():
        written = read_parts(path)
        return {name: part_of(recording, written, name, path) for name in PARTS}
    learn, test = recording.split(settings.train_share)
    train, validation = learn.split(1.0 - settings.validation_share)
    return dict(zip(PARTS, (train, validation, test), strict=True))


def words_of_split(recordings: Sequence[Recording], settings: Recorded) -> str:
    """Return the options of data.py split that made the parts; "" if all are split in time."""
    if not settings.use_parts:
        return ""
    paths = [parts_file(one.folder) for one in recordings]
    return "; ".join(dict.fromkeys(read_parts(path).why for path in paths if path.is_file()))


def write(parts: Sequence[Parts], folder: Path, frames_as: str = "raw") -> SplitStores:
    """Write the parts of all recordings as stores, unless they exist, and open them."""
    stores = {}
    for name in parts[0]:
        if Demonstrations.find(folder / name) is None:
            alike = [one[name] for one in parts]
            shape, kind = array_of(alike[0].observation)
            source, num_actions = _source(alike), len(alike[0].actions)
            with DemonstrationWriter(
                folder / name,
                shape,
                kind,
                num_actions,
                frames_as=frames_as,
                frame_shape=record_frame(alike[0].observation),
                source=source,
            ) as writer:
                before = [actions for part in alike for actions in part.actions_before]
                writer.describe(actions_before=before)
                for part in alike:
                    part.write(writer)
        stores[name] = Demonstrations.open(folder / name)
    return SplitStores(**stores, frame_s=frame_interval([one["train"] for one in parts]))


def _source(parts: Sequence[Recording]) -> dict[str, Any]:
    """Return the source of the frames of a store, for its description."""
    if len(parts) == 1:
        return parts[0].source
    drivers = sorted({part.driver for part in parts})
    return {"driver": " or ".join(drivers), "recordings": [part.source for part in parts]}


def tell(recordings: Sequence[Recording], doubts: Sequence[str], settings: Recorded) -> None:
    """Print recordings, actions and inputs (unless only steering is learned from one), and doubts.

    Frames that were left out are counted, and the options of data.py split are named.
    """
    first = recordings[0]
    if len(recordings) > 1 or first.actions != ("steering",) or first.inputs:
        learned = f"learned: {', '.join(first.actions)}"
        sensed = ["frames"] * (first.framing is not None) + [*first.inputs]
        print(f"recordings: {name_of(recordings)}; {learned}; sensed: {', '.join(sensed)}")
    tell_marked(recordings)
    for name in (*first.actions, *first.inputs):
        if lacking := sum(one.skipped.get(f"no {name}", 0) for one in recordings):
            print(f"left out, for they lack {name}: {lacking:,} frames")
    if words := words_of_split(recordings, settings):
        print(f"parts: as data.py split wrote them ({words})")
    for doubt in doubts:
        print(f"warning: {doubt}", file=sys.stderr)
