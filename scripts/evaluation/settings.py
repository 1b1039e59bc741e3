"""What `evaluate.py` can be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ncp_control.names import check_name
from ncp_control.ranges import (
    check_at_least,
    check_given,
    check_not_negative,
    check_part,
    check_share,
)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a saved policy: in its world or another, or along a recording."""

    policy: tyro.conf.Positional[Path]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    log: Path | None = None
    """Recording to run in open loop, instead of driving."""
    log_options: tuple[str, ...] = ()
    """Options of the recording's reader as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
    log_share: float = 1.0
    """Last share of the recording to run along. For a policy that learned from this recording
    take what was held back, 0.2 if not told otherwise: the rest is no test."""
    log_part: Literal["train", "validation", "test"] | None = None
    """Part of the recording to run along, as data.py split wrote it down."""
    km: float | None = None
    """Kilometres that a car drives in each setting: every combination of the disturbances. If None,
    20 in LaneKeeping-v0, and as far as its episodes lead in RoadDriving-v0."""
    camera: str = "opencv"
    """What a driver sees through: opencv, or mujoco (rendered; needs EGL or OSMesa)."""
    live: bool = False
    """First act for half a minute, and keep a page up to date for a browser to watch it."""
    backend: tuple[str, ...] = ("torch",)
    """What computes; several are compared in the same episodes: torch, c, c:int8 (int8 weights of
    the conv head), onnx, onnx:FILE, or program:COMMAND, an exported C controller in a process of
    its own."""
    world: str | None = None
    """World to act in: LaneKeeping-v0, RoadDriving-v0, halfcheetah, walker2d, hopper,
    gymnasium:<id>, or <module>:<function>; that of the policy's contract if None."""
    world_options: tuple[str, ...] = ()
    """Options of that world, e.g. observe=positions."""
    noise: Annotated[tuple[float, ...], tyro.conf.arg(aliases=["--sensor-noise"])] = (0.0,)
    """Strengths of Gaussian noise on what is observed: variances of pixel noise on images in
    [0, 1], of which the paper takes 0 0.1 0.2 0.3, or deviations of numbers, each in the entry's
    own unit."""
    drop: tuple[float, ...] = (0.0,)
    """Shares of observations that a policy of numbers misses; of frames by --condition lost."""
    overwrite: tuple[float, ...] = (0.0,)
    """Shares of frames in which a random action is done."""
    delay: tuple[int, ...] = (0,)
    """Frames between the choice of an action and its effect."""
    condition: tuple[str, ...] = ()
    """Where a camera or a car fails, one after the other, beside what is asked for above: fog:3,
    fog:1-3, fog for all five severities, or all; see `envs.conditions`."""
    safety_filter: bool = False
    """In RoadDriving-v0, change actions as little as keeps the car in its lane and off what is
    ahead; see `envs.driving.safety_filter`."""
    episodes: int = 20
    """Episodes in each setting, in any world but LaneKeeping-v0."""
    workers: int = 1
    """Processes that share the episodes. The numbers are the same with any number of them."""
    threads: int | None = None
    """Torch threads of each process; if None, all cores for a policy that sees frames and acts in
    one process, else one."""
    results: Path | None = None
    """CSV file to which a row is added for each setting, e.g.
    results/driving.csv; a new one in the run folder by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    seed: int = 0
    """Seed of the worlds and of their disturbances."""

    def __post_init__(self) -> None:
        from envs.conditions import read_conditions
        from scripts.disturbances import DISTURBANCES
        from scripts.evaluation.driving import CAMERAS, check_km

        if self.km is not None:
            check_km("km", self.km)
        read_conditions(self.condition)
        check_given(self, "backend", *DISTURBANCES)
        if self.log_share != 1.0:
            check_part("log_share", self.log_share)
            if self.log_part is not None:
                raise ValueError(
                    f"`log_share` must be left out with --log-part, got {self.log_share!r}."
                )
        check_name("camera", self.camera, CAMERAS)
        check_at_least(self, 1, "episodes", "threads", "workers")
        check_at_least(self, 0, "seed")
        for name in ("noise", "delay"):
            for value in getattr(self, name):
                check_not_negative(name, value)
        for name in ("drop", "overwrite"):
            for value in getattr(self, name):
                check_share(name, value)
