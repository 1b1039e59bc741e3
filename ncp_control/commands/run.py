"""Settings of `ncp run` and of `scripts/run.py`: run a policy in real time against a link."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from ncp_control.command_line import find
from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.ranges import changed_settings, check_not_negative


@dataclass(frozen=True, kw_only=True)
class RunPolicy:
    """Run a policy in real time against a link."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    link: str = "world"
    """Robot, simulator or camera to connect to: world, world:NAME, udacity, donkey-sim,
    donkey-sim:SCENE, video:PATH, video:0 (a camera), ros2:TOPIC (its images), or a link of your
    own."""
    link_options: tuple[str, ...] = ()
    """Options of the link, or of its world, as name=value, e.g. port=4567."""
    backend: str = "torch"
    """Back end that runs the policy: torch, c (compiled now), c:int8, onnx, onnx:FILE, or
    program:COMMAND, an exported C controller in a process of its own, e.g.
    program:./controller_pipe."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    """Rate, time and command limits."""
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    """Rules for bad inputs, and the reaction to them."""
    monitored: bool = True
    """Check inputs and states, and fail safe if they are bad."""
    record: tuple[Path, ...] | None = None
    """Record the drive to this MCAP file; without a value: to recording.mcap in the run folder; if
    None: no recording."""
    replay: Path | None = None
    """Instead of driving, run the policy on this recording and compare the actions."""
    baseline: str | None = None
    """Policy to compare a replay with, as `policy`; if None: the actions of the recording."""
    tolerance: float | None = None
    """Largest difference of an action that passes in a replay; if it is exceeded, the exit status
    is 1."""
    runs: Path = Path("runs")
    """Folder in which run folders are created."""

    def __post_init__(self) -> None:
        if self.record is not None and len(self.record) > 1:
            raise ValueError(f"`record` must be one file at most, got {len(self.record)}.")
        if self.replay is None:
            for name in ("baseline", "tolerance"):
                if getattr(self, name) is not None:
                    raise ValueError(f"`{name}` must be left out without --replay RECORDING.")
        elif self.record is not None:
            raise ValueError("`record` must be left out of a replay: nothing drives.")
        elif self.link != "world":
            raise ValueError(
                f"`link` must be left out of a replay, got {self.link!r}: nothing drives."
            )
        if not self.monitored:
            for name, value in changed_settings(self.monitor).items():
                raise ValueError(
                    f"`monitor.{name}` must be left out with --no-monitored, got {value!r}. It has"
                    " no effect there."
                )
        if self.tolerance is not None:
            check_not_negative("tolerance", self.tolerance)


def run_policy(settings: RunPolicy, modules: Sequence[str] = ()) -> None:
    """Run the policy against the link, or replay a recording.

    Args:
        settings: Settings of the run.
        modules: Modules that the link's process imports first, in addition to those of `--import`.
    """
    if settings.replay is not None:
        find("ncp_control.commands.replaying:replay_recording")(settings)
    else:
        find("ncp_control.commands.driving:run_policy")(settings, modules)
