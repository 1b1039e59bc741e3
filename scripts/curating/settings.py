"""Settings of the jobs of `data.py`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from ncp_control.keyword_options import read_options
from ncp_control.ranges import check_not_negative, check_part, check_positive, check_seed


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Summarise recordings: frames, time steps, every number, damage; as tables and a page.

    The page is one file with pictures that needs no network.
    """

    log: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings, or folders of recordings."""
    actions: tuple[str, ...] = ()
    """Names of the numbers to learn. If none: steering, or all actions of a recording without
    steering."""
    log_options: tuple[str, ...] = ()
    """Options of the recordings' readers as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""

    def __post_init__(self) -> None:
        if not self.log:
            raise ValueError("`log` must be at least one recording, got none. Give its folder.")


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a recording in another format; frames and times stay the same."""

    log: tyro.conf.Positional[Path]
    """The recording."""
    out: tyro.conf.Positional[Path]
    """Folder to create."""
    to: Literal["lerobot", "minari", "tub"]
    """lerobot: LeRobotDataset v3.0; minari: Minari dataset; tub: Donkeycar tub v2. All formats keep
    all numbers."""
    actions: tuple[str, ...] = ()
    """Names of the numbers that become actions. If none: steering, or all actions of a recording
    without steering."""
    max_steer_deg: float | None = None
    """The car's largest steering angle [degrees]; a recorded angle is then written as a fraction of
    it, as a tub requires. If None: steering keeps its unit."""
    task: str | None = None
    """Description of the task in words, for lerobot. If None: that of each episode, or "drive"."""
    log_options: tuple[str, ...] = ()
    """Options of the recording's reader as name=value, e.g. camera=top."""

    def __post_init__(self) -> None:
        if self.out.exists():
            raise ValueError(f"`out` must not exist yet, got '{self.out}'. Choose another name.")


@dataclass(frozen=True, kw_only=True)
class Clean:
    """Mark stretches of a recording that every job leaves out; nothing is deleted.

    The marks are stored in left_out.json in the recording's folder. Without a rule, this command
    only prints them.
    """

    log: tyro.conf.Positional[Path]
    """The recording."""
    out_of: tuple[str, ...] = ()
    """Times to leave out as begin-end [s], e.g. 12.5-14.0: since the first frame, without pauses,
    as on the page of data.py inspect."""
    still: tyro.conf.FlagCreatePairsOff[bool] = False
    """Leave out stretches where the speed is below `still_below`."""
    still_below: float = 0.1
    """Speed below which the car stands still [m/s]; if the unit of the recording is unknown: in
    that unit."""
    no_steering: tyro.conf.FlagCreatePairsOff[bool] = False
    """Leave out stretches where the steering is exactly zero."""
    at_least_s: float = 2.0
    """Shortest time for which a rule must hold without a break [s]."""
    undo: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the marks of the last command."""
    marks: Path | None = None
    """File of the marks, for a recording in a read-only folder. Other jobs read the file with
    --log-options left_out=FILE."""
    log_options: tuple[str, ...] = ()
    """Options of the recording's reader as name=value."""

    def __post_init__(self) -> None:
        check_positive(self, "still_below")
        check_not_negative("at_least_s", self.at_least_s)
        for words in self.out_of:
            read_times(words)
        if self.undo and (self.out_of or self.still or self.no_steering):
            raise ValueError("`undo` must stand alone, got rules beside it. Undo first, then mark.")


@dataclass(frozen=True, kw_only=True)
class Split:
    """Split recordings into training, validation and test parts by time, session, episode or place.

    The parts are stored in parts.json in the recording's folder; nothing is copied. train.py
    recorded trains and validates on them, and evaluate.py --log-part test uses the test part.
    """

    log: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings, or folders of recordings."""
    by: Literal["time", "session", "episode", "place"] = "time"
    """time: the last frames of each recording are for testing. session: whole recordings are in one
    part; of a single recording, whole stretches between pauses. episode: whole episodes are in one
    part, of one recording or several: those that the data declare (LeRobot, Minari, a column
    `episode`, the sessions of a tub), or else every stretch without a gap. place: all frames on one
    square of the ground, in any lap, are in one part."""
    train_share: float = 0.8
    """Share of the frames for training and validation; the rest is for testing."""
    validation_share: float = 0.15
    """Share of the training and validation frames, at their end, that chooses the checkpoint."""
    gap_s: float = 0.0
    """Frames closer than this to a validation or test frame are not used for training [s]."""
    pause_s: float = 5.0
    """Longest time between two frames of a session [s]."""
    shuffle_seed: int | None = None
    """Seed of a shuffled order in which sessions or episodes are given to the parts. If None: the
    first ones train, the last ones test."""
    place: tuple[str, ...] = ()
    """Names of the numbers with the position, e.g. x y, for --by place."""
    cell_size: float = 20.0
    """Side of the squares, in the unit of the position."""
    actions: tuple[str, ...] = ()
    """Names of the numbers to compare between the parts. If none: steering, or all actions of a
    recording without steering."""
    undo: tyro.conf.FlagCreatePairsOff[bool] = False
    """Remove the parts, so that each recording is split by time again."""
    log_options: tuple[str, ...] = ()
    """Options of the recordings' readers as name=value."""

    def __post_init__(self) -> None:
        if not self.log:
            raise ValueError("`log` must be at least one recording, got none. Give its folder.")
        check_part("train_share", self.train_share)
        check_part("validation_share", self.validation_share)
        check_not_negative("gap_s", self.gap_s)
        check_positive(self, "pause_s", "cell_size")
        if self.shuffle_seed is not None:
            check_seed(self, "shuffle_seed")
            if self.by not in ("session", "episode"):
                raise ValueError(
                    f"`shuffle_seed` must come with --by session or --by episode, got it with --by"
                    f" {self.by}."
                )
        if self.place and self.by != "place":
            raise ValueError(
                f"`place` must come with --by place, got {' '.join(self.place)} with --by"
                f" {self.by}."
            )

    @property
    def options(self) -> dict[str, Any]:
        """Options of the readers by name."""
        return read_options(self.log_options, "log_options")

    def words(self) -> str:
        """Return the settings as command-line options."""
        options = [f"--by {self.by} --train-share {self.train_share:g}"]
        options += [f"--validation-share {self.validation_share:g}"]
        options += [f"--gap-s {self.gap_s:g}"] * (self.gap_s > 0.0)
        if self.by == "session":
            options += [f"--pause-s {self.pause_s:g}"]
        if self.shuffle_seed is not None:
            options += [f"--shuffle-seed {self.shuffle_seed}"]
        if self.by == "place":
            options += [f"--place {' '.join(self.place)} --cell-size {self.cell_size:g}"]
        return " ".join(options)


def read_times(words: str) -> tuple[float, float]:
    """Return begin and end of a stretch [s], written as 12.5-14.0.

    Raises:
        ValueError: If `words` has another form, or the end is not after the begin.
    """
    found = re.fullmatch(r"(\d+\.?\d*)-(\d+\.?\d*)", words.replace(" ", ""))
    if found is None or not float(found[1]) < float(found[2]):
        raise ValueError(
            f"`out_of` must be begin-end in seconds with begin < end, such as 12.5-14.0, got"
            f" {words!r}."
        )
    return float(found[1]), float(found[2])
