"""Run a policy on a robot, in a simulator, or in one of our worlds, in real time.

    python scripts/run.py drive-ncp --link world --loop.seconds 20
    python scripts/run.py drive-ncp --link world --backend c --link-options tracks=held_out seed=3
    python scripts/run.py drive-ncp --link udacity       then start its autonomous mode
    python scripts/run.py drive-ncp --link donkey-sim:generated_road    after its start
    python scripts/run.py drive-ncp --link video:drive.mp4
    python scripts/run.py drive-ncp --link ros2 --link-options speed_mps=0.5 wheelbase_m=0.26
    python scripts/run.py drive-ncp --record             into RUN/recording.mcap, for Foxglove
    python scripts/run.py drive-ncp --replay RUN/recording.mcap --tolerance 1e-4
    python scripts/train.py recorded --log RUN/recording.mcap
    python scripts/monitor.py calibrate RUN/policy       so that the monitor knows usual inputs

Ctrl-C, SIGTERM and a lost link end in a safe stop.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from ncp_control.command_line import find, run_job
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.ranges import check_not_negative


@dataclass(frozen=True, kw_only=True)
class RunPolicy:
    """Run a policy in real time against a link."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    link: str = "world"
    """What it drives: world, world:NAME, udacity, donkey-sim, donkey-sim:SCENE, video:PATH, video:0
    (a camera), ros2:TOPIC (its images), or a link of your own."""
    link_options: tuple[str, ...] = ()
    """Options of the link as name=value, e.g. port=4567, or those of a world."""
    backend: str = "torch"
    """What computes: torch, c (compiled now), or onnx."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    """Rate, time and command limits."""
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    """When an input is bad, and what follows."""
    monitored: bool = True
    """Check inputs and states, and fail safe."""
    record: tuple[Path, ...] | None = None
    """Record the drive as an MCAP file: here, or in the run folder if nothing follows."""
    replay: Path | None = None
    """Instead of driving, act along this recording and compare the actions."""
    baseline: str | None = None
    """Policy to compare with, as `policy`; the actions of the recording if None."""
    tolerance: float | None = None
    """Largest difference of an action that a replay lets pass; beyond it the status is 1."""
    runs: Path = Path("runs")
    """Where run folders are made."""

    def __post_init__(self) -> None:
        if self.record is not None and len(self.record) > 1:
            raise ValueError(f"`record` must be one file at most, got {len(self.record)}.")
        if self.replay is None:
            for name in ("baseline", "tolerance"):
                if getattr(self, name) is not None:
                    raise ValueError(f"`{name}` must be left out without --replay RECORDING.")
        elif self.record is not None:
            raise ValueError("`record` must be left out of a replay: nothing drives.")
        if self.tolerance is not None:
            check_not_negative("tolerance", self.tolerance)


def run_policy(settings: RunPolicy) -> None:
    """Run it, or replay a recording."""
    job = "run_policy:run_policy" if settings.replay is None else "replay:replay_recording"
    find(f"scripts.running.{job}")(settings)


if __name__ == "__main__":
    run_job(run_policy, RunPolicy, __doc__)
