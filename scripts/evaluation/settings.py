"""Settings of `evaluate.py`."""

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
    """Evaluate a saved policy: in its environment, in another one, or on a recording."""

    policy: tyro.conf.Positional[Path]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    log: Path | None = None
    """Recording on which to run the policy in open loop, instead of in an environment: a driving
    log, or demonstrations written by a training run, e.g. runs/RUN/demonstrations/test."""
    log_options: tuple[str, ...] = ()
    """Options for the reader of the recording as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
    log_share: float = 1.0
    """Share of the recording, at its end, on which to run. For a policy trained on this recording,
    give the share that training held back (0.2, unless `train_share` was changed): the rest is not
    a test."""
    log_part: Literal["train", "validation", "test"] | None = None
    """Part of the recording on which to run, as written by data.py split."""
    km: float | None = None
    """Kilometres driven in each setting, i.e. each combination of disturbances. If None: 20 in
    LaneKeeping-v0; in RoadDriving-v0, the full length of the episodes."""
    camera: str = "opencv"
    """Renderer of the camera images: opencv, or mujoco (needs EGL or OSMesa)."""
    live: bool = False
    """First let the policy act for half a minute in real time, and update a page to watch it in a
    browser. Saliency maps and pictures of robots are on the page of audit.py instead."""
    backend: tuple[str, ...] = ("torch",)
    """Backend that runs the policy: torch, c, c:int8 (int8 weights of the conv head), onnx,
    onnx:FILE, or program:COMMAND, an exported C controller in its own process. If several are
    given, they are compared in the same episodes."""
    world: str | None = None
    """Environment: LaneKeeping-v0, RoadDriving-v0, halfcheetah, walker2d, hopper, gymnasium:<id>,
    or <module>:<function>. If None: the environment of the policy's contract."""
    world_options: tuple[str, ...] = ()
    """Options of the environment as name=value, e.g. observe=positions."""
    noise: Annotated[tuple[float, ...], tyro.conf.arg(aliases=["--sensor-noise"])] = (0.0,)
    """Strengths of Gaussian noise on observations. For images: variances of the noise on pixels in
    [0, 1] (the paper uses 0 0.1 0.2 0.3). For numbers: standard deviations, in the unit of each
    entry."""
    drop: tuple[float, ...] = (0.0,)
    """Shares of observations that are dropped, in all environments but LaneKeeping-v0 and
    RoadDriving-v0; use --condition lost for their frames."""
    overwrite: tuple[float, ...] = (0.0,)
    """Shares of frames in which the action is replaced by a random one."""
    delay: tuple[int, ...] = (0,)
    """Numbers of frames between choosing an action and its effect."""
    condition: tuple[str, ...] = ()
    """Failures of camera or car, evaluated one after the other in addition to the settings above:
    fog:3, fog:1-3, fog for all five severities, or all; see `envs.conditions`."""
    safety_filter: bool = False
    """In RoadDriving-v0, change actions as little as necessary to keep the car in its lane and
    away from obstacles ahead; see `envs.driving.safety_filter`."""
    episodes: int = 20
    """Number of episodes in each setting, in all environments but LaneKeeping-v0."""
    workers: int = 1
    """Number of processes that share the episodes. The results do not depend on it."""
    threads: int | None = None
    """Number of PyTorch threads of each process. If None: all cores for a policy with frames in a
    single process, else one."""
    results: Path | None = None
    """CSV file to which a row is appended for each setting, e.g. results/driving.csv. If None: a
    new file in the run folder."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""
    seed: int = 0
    """Seed of the environments and of their disturbances."""

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
