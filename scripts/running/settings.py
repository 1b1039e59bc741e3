"""Settings of the jobs of `monitor.py`."""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from ncp_control.loop.settings import LoopSettings, MonitorSettings
from ncp_control.ranges import check_at_least, check_positive, check_seed, check_share
from scripts.unused_settings import refuse_changed

EPISODE_S, LEAST_FRAMES = 6.0, 60
"""Length of an episode of a calibration, if `seconds` is None: so long [s], and at least so many
frames."""


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Fit the monitor to observations of good driving, and save monitor.json beside the policy."""

    policy: tyro.conf.Positional[str]
    """Folder of the policy, or the name of a shipped one."""
    log: Path | None = None
    """Recording to fit to, instead of driving in the environment of the policy's contract."""
    log_options: tuple[str, ...] = ()
    """Options for the reader of the recording as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
    episodes: int = 400
    """Number of episodes: two thirds are fitted, the other third sets the limit. A recording is cut
    in the same shares."""
    seconds: float | None = None
    """Length of each episode, and of the pieces into which a recording is cut [s]. If None: 6 s,
    or 60 frames of the policy where these take longer, as the rows of most time series do."""
    held_share: float = 0.01
    """Share of the episodes or pieces of the other third that the loop would hold or stop if
    `margin` were 1; at 0, the farthest of these sets the limit. With the margin, usual ones of that
    length are held more rarely."""
    margin: float = 1.25
    """Factor between the limit and the distance that the other third sets."""
    seed: int = 0
    """Seed of the episodes."""

    def length_s(self, frame_s: float) -> float:
        """Return the length of an episode or a piece, for a policy with such frames [s]."""
        return max(EPISODE_S, LEAST_FRAMES * frame_s) if self.seconds is None else self.seconds

    def __post_init__(self) -> None:
        check_at_least(self, 6, "episodes")
        check_positive(self, "seconds", "margin")
        check_share("held_share", self.held_share)
        check_seed(self)
        if self.log is not None:
            refuse_changed(self, ("episodes", "seed"), "with --log", "Nothing drives there.")
        if self.log_options and self.log is None:
            raise ValueError(
                f"`log_options` must be left out without --log, got {self.log_options}. Name the"
                " recording with --log."
            )


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Inject faults on held-out tracks, with the monitor and without, in simulated time."""

    policy: tyro.conf.Positional[str]
    """Folder of a driving policy, or the name of a shipped one."""
    drives: int = 100
    """Number of drives for each kind of fault."""
    clean_km: float = 10.0
    """Distance driven without a fault, to count false alarms [km]."""
    world_options: tuple[str, ...] = ()
    """Options of the policy's environment as name=value, e.g. traffic=none."""
    backend: str = "torch"
    """Backend that runs the policy, as --backend of run.py: torch, c, onnx or program:COMMAND."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    """Settings of the loop, e.g. limits on commands."""
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    """Settings of the monitor: when an input is bad, and how to react."""
    results: Path | None = None
    """CSV file for the table; if None: a new file in the run folder."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""
    seed: int = 0
    """Seed of tracks, appearances, and of the times at which faults begin."""

    def __post_init__(self) -> None:
        from envs.driving.road import HELD_OUT_TRACKS

        check_at_least(self, 1, "drives")
        if self.drives >= len(HELD_OUT_TRACKS):
            raise ValueError(
                f"`drives` must be less than the {len(HELD_OUT_TRACKS)} held-out tracks, got"
                f" {self.drives!r}. The drives without a fault need some of them."
            )
        check_positive(self, "clean_km")
        check_seed(self)
