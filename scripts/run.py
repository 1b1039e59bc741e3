"""Run a policy on a robot, in a simulator, or in one of our worlds, in real time.

    python scripts/run.py drive-ncp --link world --loop.seconds 20
    python scripts/run.py drive-ncp --link world --backend c --link-options tracks=held_out seed=3
    python scripts/run.py drive-ncp --link udacity       then start its autonomous mode
    python scripts/run.py drive-ncp --link video:drive.mp4
    python scripts/monitor.py calibrate RUN/policy       so that the monitor knows usual inputs

Ctrl-C, SIGTERM and a lost link end in a safe stop.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from ncp_control.loop.settings import LoopSettings, MonitorSettings
from scripts.cli import find, run_job


@dataclass(frozen=True, kw_only=True)
class RunPolicy:
    """Run a policy in real time against a link."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    link: str = "world"
    """What it drives: world, world:NAME, udacity, video:PATH, video:0 (a camera), or a link of your
    own."""
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
    runs: Path = Path("runs")
    """Where run folders are made."""


def run_policy(settings: RunPolicy) -> None:
    """Run it."""
    find("scripts.running.run_policy:run_policy")(settings)


if __name__ == "__main__":
    run_job(run_policy, RunPolicy, __doc__)
