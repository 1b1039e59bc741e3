"""`ncp replay`: run a policy on a recorded drive and compare its actions."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from ncp_control.command_line import find
from ncp_control.commands.run import RunPolicy


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Run a policy on a recorded drive, and compare its actions with the recorded ones."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    drive: tyro.conf.Positional[Path]
    """Recording of ncp run --record."""
    backend: str = "torch"
    """Back end that runs the policy: torch, c (compiled now), c:int8, onnx, onnx:FILE, or
    program:COMMAND."""
    baseline: str | None = None
    """Policy to compare with, as `policy`; if None: the actions of the recording."""
    tolerance: float | None = None
    """Largest difference of an action that passes; if it is exceeded, the exit status is 1."""
    runs: Path = Path("runs")
    """Folder in which run folders are created."""

    @property
    def as_run(self) -> RunPolicy:
        """The equivalent settings of `ncp run --replay`."""
        settings = dict(vars(self))
        return RunPolicy(replay=settings.pop("drive"), **settings)

    def __post_init__(self) -> None:
        self.as_run  # noqa: B018 - which checks the values


def replay(settings: Replay) -> None:
    """Run the policy on the recording; print and write the comparison."""
    find("ncp_control.commands.replaying:replay_recording")(settings.as_run)
