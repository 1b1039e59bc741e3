"""Settings of `audit.py`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from ncp_control.ranges import check_at_least, check_positive

WORLD_S = 30.0
"""Length of an episode in an environment, if `seconds` is None [s]."""
FIRST_HELD_OUT = 20_000
"""Number of the first held-out track."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Inspect a saved policy: saliency, time constants, activity, guarantees."""

    policy: tyro.conf.Positional[Path]
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp."""
    log: Path | None = None
    """Recording on which to run the policy, instead of in an environment: a driving log, or
    demonstrations written by a training run, e.g. runs/RUN/demonstrations/test."""
    log_options: tuple[str, ...] = ()
    """Options for the reader of the recording as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
    world: str | None = None
    """Environment: LaneKeeping-v0, RoadDriving-v0, halfcheetah, walker2d, hopper, gymnasium:<id>,
    or <module>:<function>. If None: the environment of the policy's contract."""
    world_options: tuple[str, ...] = ()
    """Options of the environment as name=value, e.g. observe=positions."""
    condition: str | None = None
    """Failure of camera or car during the whole episode, with its severity from 1 to 5, e.g. fog:3;
    see `envs.conditions`."""
    seconds: float | None = None
    """Length of the episode [s]. If None: 30 s in an environment; with --log, the first 900 frames
    of the recording's longest episode."""
    track: int = FIRST_HELD_OUT
    """Number of the track to drive; tracks from 20000 on are held out."""
    compare: tuple[Path, ...] = ()
    """Further policies to compare with this one in a table; the inspector also shows the first."""
    ablation_km: float = 0.0
    """Distance driven with each neuron ablated [km]. This takes minutes; 0 skips it."""
    wipe_episodes: int = 4
    """Number of episodes, of at most `seconds`, in which the policy acts once with its memory and
    once with its memory wiped; 0 skips this."""
    excerpt: bool = False
    """Save the observations in the policy's folder, where `ncp demo` finds them; a few seconds are
    enough."""
    threads: int | None = None
    """Number of PyTorch threads; if None: all cores for a policy with frames, else one."""
    results: Path | None = None
    """CSV file to which the comparison or the ablation is appended, e.g. results/audit.csv."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""
    seed: int = 0
    """Seed of appearances, noise and environments."""

    def __post_init__(self) -> None:
        check_positive(self, "seconds")
        if self.ablation_km != 0.0:
            from scripts.evaluation.driving import check_km

            check_km("ablation_km", self.ablation_km)
        check_at_least(self, 0, "seed", "track", "wipe_episodes")
        if self.runs.exists() and not self.runs.is_dir():
            raise ValueError(
                f"`runs` must be a folder, got the file {str(self.runs)!r}. Name another."
            )
        if self.ablation_km and self.log is not None:
            raise ValueError(
                f"`ablation_km` must be left out with --log, got {self.ablation_km:g}."
                " Nobody drives along a recording."
            )
        if self.log is not None and self.track != FIRST_HELD_OUT:
            raise ValueError(
                f"`track` must be left out with --log, got {self.track}. A recording has its own."
            )
        self._check_condition()
        if self.log_options and self.log is None:
            raise ValueError(
                f"`log_options` must be left out without --log, got {self.log_options}. Name the"
                " recording with --log."
            )
        check_at_least(self, 1, "threads")
        if self.results is not None and not self.compare and not self.ablation_km:
            raise ValueError(
                "`results` must come with --compare or --ablation-km, got"
                f" {str(self.results)!r} alone. There would be nothing to add to it."
            )

    @property
    def world_s(self) -> float:
        """Length of an episode in an environment [s]."""
        return WORLD_S if self.seconds is None else self.seconds

    @property
    def met(self) -> list[tuple[str, int]]:
        """Name and severity of the condition; empty if `condition` is None."""
        from envs.conditions import read_conditions

        return [] if self.condition is None else read_conditions((self.condition,))

    def _check_condition(self) -> None:
        """Refuse several conditions or severities, and settings without use for a condition."""
        if len(self.met) > 1:
            raise ValueError(
                "`condition` must be one, with one severity, e.g. fog:3, got"
                f" {self.condition!r}. Audit the others one after the other."
            )
        for name, value in (("log", self.log), ("ablation_km", self.ablation_km)):
            if value and self.met:
                raise ValueError(
                    f"`{name}` must be left out with --condition, got {str(value)!r}. Use only"
                    " one of the two."
                )
