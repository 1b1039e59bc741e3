"""List the drives of a table of conditions, and parse the settings of its rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.conditions import PICTURES, read_conditions
from ncp_control.audit.memory import how_often
from ncp_control.cells import CELLS, Feedforward
from scripts.reproduction.completion import Job

HELD_OUT = {f"without-{k + 1}": tuple(PICTURES)[k::3] for k in range(3)}
"""Conditions that each training leaves out; its policies are evaluated in them."""
_ALL = tuple(f"{name}:1-3" for name in PICTURES)
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "averaged": {"weight_average": 0.995},
    "long-windows": {"window": 256, "batch_size": 2},
    "short-windows": {"window": 8, "batch_size": 64},
    "own-drives": {},
    "blackouts": {"window": 128, "batch_size": 4},
}
"""Trainings under conditions with other settings: the fields of `ImitationConfig` that differ. In
own-drives the learner's own DAgger drives also have conditions. In blackouts the only condition is
black frames for half a second or a second, in windows of four seconds: the policy has to act on the
frames before the blackout."""
TRAININGS = {
    "clean": (),
    "conditions": _ALL,
    **{
        training: tuple(word for word in _ALL if word.split(":")[0] not in left_out)
        for training, left_out in HELD_OUT.items()
    },
    **dict.fromkeys(RECIPES, _ALL),
    "blackouts": ("blackout:3-4",),
}
"""Conditions of each training, as name:severities."""
USUAL_TRAININGS = ("clean", "conditions")
NO_MEMORY = tuple(name for name, known in CELLS.items() if known.cls is Feedforward)
"""Models without memory, so there is nothing to wipe."""


def asked_conditions(words: Sequence[str]) -> list[str]:
    """Return the conditions of a table, each with its severity."""
    return [f"{name}:{severity}" for name, severity in read_conditions(words)]


def drives(
    models: Sequence[str],
    conditions: Sequence[str],
    seeds: Sequence[int],
    trainings: Sequence[str],
    words: str,
    wipe_every: Sequence[int],
) -> list[Job]:
    """Return all drives of a table: each model with each training, clean and in each condition.

    Args:
        models: Names of the models.
        conditions: Conditions as name:severity.
        seeds: Seeds of the trainings.
        trainings: Names in `TRAININGS`.
        words: Distance of a drive and length of the training, as name=value.
        wipe_every: Intervals between two wipes of the memory [frames]; each adds further drives.

    Raises:
        ValueError: If `wipe_every` is given and no model has a memory, or a training in `HELD_OUT`
            leaves out none of the conditions.
    """
    if wipe_every and set(models) <= set(NO_MEMORY):
        raise ValueError(
            f"`wipe_every` must be left out with {', '.join(models)}, got {tuple(wipe_every)!r}."
            " There is no memory to wipe."
        )
    named = {condition.split(":")[0] for condition in conditions}
    for training in trainings:
        if training in HELD_OUT and not named & set(HELD_OUT[training]):
            raise ValueError(
                f"`tasks` must have a condition that the training {training} leaves out, got"
                f" {', '.join(conditions)}. It leaves out {', '.join(HELD_OUT[training])}."
            )
    wiped = ["", *(f" wiped={every}" for every in dict.fromkeys(wipe_every))]
    return [
        Job(model, seed, f"{training} {condition} {words}{wiping}")
        for seed in seeds
        for training in trainings
        for model in models
        for condition in ("none", *conditions)
        for wiping in wiped
        if not (wiping and model in NO_MEMORY)
        if training not in HELD_OUT or condition.split(":")[0] in ("none", *HELD_OUT[training])
    ]


def spread(jobs: Sequence[Job]) -> list[Job]:
    """Return the drives in an order in which parallel drives belong to different trainings."""
    place: dict[Job, int] = {}
    before: Counter[tuple[str, int, str]] = Counter()
    for job in jobs:
        training = job.model, job.seed, AskedDrives.read(job.settings).training
        place[job] = before[training]
        before[training] += 1
    return sorted(jobs, key=place.__getitem__)


@dataclass(frozen=True, kw_only=True)
class AskedDrives:
    """Parsed settings of a row."""

    training: str
    """Name in `TRAININGS`."""
    condition: str
    """Name and severity, e.g. fog:3, or none."""
    km: float
    """Distance of the drive [km]."""
    wiped: int
    """Interval between two wipes of the memory [frames]; 0: never wiped."""
    lasts: Mapping[str, int]
    """Length of the training by name, e.g. epochs."""

    @classmethod
    def read(cls, settings: str) -> "AskedDrives":
        """Parse the settings of a row of the table conditions or road."""
        training, condition, *words = settings.split()
        values = dict(word.split("=") for word in words)
        km, wiped = float(values.pop("km")), int(values.pop("wiped", 0))
        lasts = {name: int(value) for name, value in values.items()}
        return cls(training=training, condition=condition, km=km, wiped=wiped, lasts=lasts)

    @property
    def memory(self) -> str:
        """Text on the wiping of the memory, e.g. "" or ", wiped before every 4th frame"."""
        return f", wiped {how_often(self.wiped)}" if self.wiped else ""
