"""What the jobs of `monitor.py` can be told."""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.ranges import check_at_least, check_positive, check_seed, check_share


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Learn what the inputs of good driving look like, and write it beside the policy."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one."""
    log: Path | None = None
    """Recording to learn from, instead of driving in the world of the policy's contract."""
    log_options: tuple[str, ...] = ()
    """Options of the recording's reader as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
    episodes: int = 400
    """Episodes; two thirds are fitted, the others set the limit. Of no use to a recording, which is
    cut in the same shares."""
    seconds: float = 6.0
    """Length of each [s], and of the drives into which a recording is cut."""
    held_share: float = 0.01
    """Share of the others that the loop would hold or stop if `margin` were 1; 0 lets the farthest
    of them set the limit. With the margin, ordinary drives of that length are held more rarely."""
    margin: float = 1.25
    """How much farther than the other drives is still usual, as a factor."""
    seed: int = 0
    """Seed of the episodes."""

    def __post_init__(self) -> None:
        check_at_least(self, 6, "episodes")
        check_positive(self, "seconds", "margin")
        check_share("held_share", self.held_share)
        check_seed(self)
        if self.log_options and self.log is None:
            raise ValueError(
                f"`log_options` must be left out without --log, got {self.log_options}. Drop it."
            )


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Drive held-out tracks with faults, with the monitor and without, in simulated time."""

    policy: tyro.conf.Positional[str]
    """Folder of a driving policy, or the name of a shipped one."""
    drives: int = 100
    """Drives for each kind of fault."""
    clean_km: float = 10.0
    """Kilometres of driving without a fault, for false alarms."""
    world_options: tuple[str, ...] = ()
    """Options of the policy's world as name=value, e.g. traffic=none."""
    backend: str = "torch"
    """What computes, as --backend of run.py: torch, c, onnx or program:COMMAND."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    """Command limits."""
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    """When an input is bad, and what follows."""
    results: Path | None = None
    """CSV file for the table; in the run folder by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""
    seed: int = 0
    """Seed of tracks, appearances, and of when a fault begins."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "drives")
        check_positive(self, "clean_km")
        check_seed(self)
