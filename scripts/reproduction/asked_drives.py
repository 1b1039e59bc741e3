"""Which drives a table of conditions asks for, and what the settings of its rows say."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.conditions import PICTURES, read_conditions
from ncp_control.audit.memory import how_often
from ncp_control.cells import CELLS, Feedforward
from scripts.reproduction.completion import Job

HELD_OUT = {f"without-{k + 1}": tuple(PICTURES)[k::3] for k in range(3)}
"""Conditions that a training leaves out, and that it is then driven in."""
_ALL = tuple(f"{name}:1-3" for name in PICTURES)
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "averaged": {"weight_average": 0.995},
    "long-windows": {"window": 256, "batch_size": 2},
    "short-windows": {"window": 8, "batch_size": 64},
    "own-drives": {},
    "blackouts": {"window": 128, "batch_size": 4},
}
"""Trainings under conditions by another recipe, with the settings of `ImitationConfig` that it
changes. In own-drives the learner meets the conditions where it drives itself, too. In blackouts it
meets nothing but black pictures for half a second or a second, in windows of four seconds: what was
seen before them decides."""
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
"""What the camera meets in training."""
USUAL_TRAININGS = ("clean", "conditions")
NO_MEMORY = tuple(name for name, known in CELLS.items() if known.cls is Feedforward)
"""Models that have nothing to wipe."""


def asked_conditions(words: Sequence[str]) -> list[str]:
    """Return the conditions of a table, each with its severity."""
    return [f"{name}:{severity}" for name, severity in read_conditions(words)]


def drives(
    models: Sequence[str],
    conditions: Sequence[str],
    seeds: Sequence[int],
    trainings: Sequence[str],
    told: str,
    wipe_every: Sequence[int],
) -> list[Job]:
    """Return all drives of a table: of each model with each training, clean and in conditions.

    Args:
        models: Names.
        conditions: Names with severities.
        seeds: Of the trainings.
        trainings: Names in `TRAININGS`.
        told: How far is driven and how long is learned, as name=value.
        wipe_every: Before every so many-th frame the memory is wiped in further drives.

    Raises:
        ValueError: If no model has a memory to wipe, or none of the conditions was left out of a
            training that is driven in what it left out.
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
        Job(model, seed, f"{training} {condition} {told}{wiping}")
        for seed in seeds
        for training in trainings
        for model in models
        for condition in ("none", *conditions)
        for wiping in wiped
        if not (wiping and model in NO_MEMORY)
        if training not in HELD_OUT or condition.split(":")[0] in ("none", *HELD_OUT[training])
    ]


def spread(jobs: Sequence[Job]) -> list[Job]:
    """Return drives in an order in which those side by side are of different trainings."""
    place: dict[Job, int] = {}
    before: Counter[tuple[str, int, str]] = Counter()
    for job in jobs:
        training = job.model, job.seed, AskedDrives.read(job.settings).training
        place[job] = before[training]
        before[training] += 1
    return sorted(jobs, key=place.__getitem__)


@dataclass(frozen=True, kw_only=True)
class AskedDrives:
    """What the settings of a row ask for."""

    training: str
    """Name in `TRAININGS`."""
    condition: str
    """Name and severity, e.g. fog:3, or none."""
    km: float
    """How far is driven."""
    wiped: int
    """Before every so many-th frame the memory is wiped; 0 for never."""
    lasts: Mapping[str, int]
    """How long is learned, by name."""

    @classmethod
    def read(cls, settings: str) -> "AskedDrives":
        """Read the settings of a row of this table or of the road's."""
        training, condition, *words = settings.split()
        told = dict(word.split("=") for word in words)
        km, wiped = float(told.pop("km")), int(told.pop("wiped", 0))
        lasts = {name: int(value) for name, value in told.items()}
        return cls(training=training, condition=condition, km=km, wiped=wiped, lasts=lasts)

    @property
    def memory(self) -> str:
        """What becomes of the memory, e.g. "" or ", wiped before every 4th frame"."""
        return f", wiped {how_often(self.wiped)}" if self.wiped else ""
