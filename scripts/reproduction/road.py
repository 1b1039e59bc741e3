"""Driving a road with bends, traffic and people: circuits against networks with and without memory.

Each model is trained twice from the same demonstrations in the same number of steps: with clean
pictures, and with random conditions of severity 1 to 3 in three windows of four. The road is
crowded with people, and the expert's pedal has errors, so that braking is frequent. DAgger: between
epochs the model drives (in the second training also under conditions) and the expert labels these
drives. Then the model is evaluated on held-out tracks in full traffic, clean and under each chosen
condition; see `envs.conditions`. No training contains delay, wind or gain.
`--trainings without-1 without-2 without-3` leaves kinds of conditions out of the training.

| model           | what it is                                                      | parameters  |
|-----------------|-----------------------------------------------------------------|-------------|
| ltc, cfc, lrc   | circuits of 24 neurons; the time constants of ltc begin between | 1,400-1,700 |
|                 | 20 and 500 ms, those of lrc, which has no quicker ones, at 70   |             |
| lstm-8, gru-10  | about as many parameters as the circuits                        | 1,400       |
| lstm-64, gru-64 | the usual size                                                  | 19-25,000   |
| cnn             | two layers of 64 units, no memory                               | 6,500       |
| cnn-stack       | the same on what the head made of the last four frames          | 13,000      |

All models have the same conv head of 18,072 parameters, and observe frames and the car's speed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from envs.conditions import CONDITIONS
from envs.driving.road_metrics import summarize_road
from ncp_control.command_line import use_threads
from ncp_control.contract import Contract
from ncp_control.episode import Episode
from ncp_control.layers import num_parameters
from ncp_control.learning.settings import ImitationConfig
from ncp_control.policy import Policy
from policies.locomotion import make_policy_for
from scripts.evaluation.driving import road_place
from scripts.evaluation.places import ROAD_WORLD, Place, measured_options
from scripts.evaluation.worlds import open_world
from scripts.reproduction.asked_drives import (
    RECIPES,
    TRAININGS,
    USUAL_TRAININGS,
    asked_conditions,
    drives,
)
from scripts.reproduction.completion import Measured, Reproduce
from scripts.reproduction.conditions import TAU_S, Lesson, begun_run, compare
from scripts.training.from_expert import imitate_expert
from scripts.training.imitate import imitation_task
from scripts.training.imitation_settings import Imitate

MODELS: Mapping[str, tuple[str, int]] = {
    "ltc": ("ltc", 24),
    "cfc": ("wired_cfc", 24),
    "lrc": ("lrc", 24),
    "lstm-8": ("lstm", 8),
    "gru-10": ("gru", 10),
    "lstm-64": ("lstm", 64),
    "gru-64": ("gru", 64),
    "cnn": ("cnn", 64),
    "cnn-stack": ("stacked", 64),
}
"""Cell and number of neurons or units of each model."""
READS: Mapping[str, str] = {"ltc": "all", "lrc": "all"}
"""Neurons from which the outputs of liquid cells are read."""
FIRST_TAU_S: Mapping[str, tuple[float, float]] = {"ltc": TAU_S, "lrc": (0.07, TAU_S[1])}
"""Range of the initial time constants of liquid cells [s]; for an LRC at least two frames."""
STEERING_AND_PEDAL = (6.0, 2.0)
"""Weights of the action errors in the loss: steering matters more, since parked cars are passed at
0.5 m, while the expert's pedal jumps."""
EXPERT_NOISE = (0.2, 0.6)
"""Standard deviation of slow errors added to the demonstrated steering and pedal: without them, the
learner never sees the car too close to a person, and does not brake there."""
MEASURES = (
    *("driven_km", "interventions", "collisions", "lane_departures", "idle_share"),
    *("mean_speed_mps", "mean_jerk_mps3", "lateral_p95_mps2", "parameters"),
)


@dataclass(frozen=True, kw_only=True)
class TableScale:
    """Default size of the table."""

    models: tuple[str, ...]
    conditions: tuple[str, ...]
    seeds: int
    km: float
    epochs: int
    steps: int
    """Number of optimizer steps per epoch."""
    episodes: int
    """Number of episodes of the expert; before an epoch, the learner drives half as many."""


SMALL = TableScale(
    models=("ltc", "lstm-8", "cnn", "cnn-stack"),
    conditions=("noise:3", "fog:3", "blackout:3", "delay:3"),
    seeds=1,
    km=0.5,
    epochs=8,
    steps=1000,
    episodes=24,
)
"""Part of the table, which takes some hours."""
FULL = TableScale(
    models=tuple(MODELS),
    conditions=tuple(CONDITIONS),
    seeds=3,
    km=2.0,
    epochs=12,
    steps=2000,
    episodes=64,
)
"""The whole table, which takes days on one core."""


def reproduce_road(settings: Reproduce) -> None:
    """Run the missing trainings and drives, and print the table."""
    scale = FULL if settings.full else SMALL
    km, epochs = settings.km or scale.km, settings.epochs or scale.epochs
    jobs = drives(
        settings.chosen("models", MODELS, scale.models),
        asked_conditions(settings.tasks or scale.conditions),
        range(settings.seeds or scale.seeds),
        settings.chosen(
            "trainings", [name for name in TRAININGS if name not in RECIPES], USUAL_TRAININGS
        ),
        f"km={km:g} epochs={epochs} steps={scale.steps}"
        f" episodes={settings.episodes or scale.episodes}",
        settings.wipe_every,
    )
    compare(settings, settings.results_file(MEASURES), jobs, RoadLesson)


def untrained(model: str, contract: Contract, seed: int) -> Policy:
    """Return an untrained policy.

    The motor neurons of a liquid circuit cannot command full braking within their bounds, so its
    outputs read all neurons, as those of an LSTM or a GRU read all units.
    """
    cell, neurons = MODELS[model]
    reads = READS.get(cell)
    return make_policy_for(contract, cell, num_neurons=neurons, seed=seed, reads=reads)


class RoadLesson(Lesson):
    """Trains a policy for `RoadDriving-v0`, if it is not saved yet, and measures its drives."""

    counted = "interventions"
    beside: Mapping[str, tuple[str, str]] = {"mean_jerk_mps3": ("jerk", "m/s³")}

    def place(self, km: float, condition: str) -> Place:
        """Return held-out tracks in full traffic; each condition has its own tracks."""
        number = 0
        if condition != "none":
            name, severity = condition.split(":")
            number = 5 * list(CONDITIONS).index(name) + int(severity)
        world = open_world(ROAD_WORLD, measured_options(ROAD_WORLD, {}))
        return road_place(world, (ROAD_WORLD, "full"), {}, km, number)

    def measured(self, policy: Policy, episodes: Sequence[Episode]) -> Measured:
        """Return the measures of a drive, by column."""
        found = summarize_road(episodes)
        return {
            "interventions": sum(int(episode.infos["crashed"].sum()) for episode in episodes),
            "parameters": num_parameters(policy),
            **{name: getattr(found, name) for name in MEASURES if hasattr(found, name)},
        }

    def learn(
        self, model: str, seed: int, training: str, runs: Path, *,
        epochs: int, steps: int, episodes: int,
    ) -> Policy:  # fmt: skip
        """Train a policy by imitation, with DAgger before every epoch except the first."""
        cell, neurons = MODELS[model]
        settings = Imitate(
            world=ROAD_WORLD,
            world_options=("on_crash=recover", "traffic=crowded"),
            cell=cell,
            neurons=neurons,
            tau_s=FIRST_TAU_S.get(cell),
            reads=READS.get(cell),
            conditions=TRAININGS[training],
            dagger_conditions=bool(TRAININGS[training]),
            imitation=ImitationConfig(
                epochs=epochs,
                epoch_steps=steps,
                window=32,
                batch_size=8,
                turn_weight=1.5,
                action_weights=STEERING_AND_PEDAL,
                weight_average=0.998,
                dagger_epochs=tuple(range(1, epochs)),
            ),
            episodes=episodes,
            dagger_episodes=max(episodes // 2, 1),
            expert_noise=EXPERT_NOISE,
            validation_episodes=max(episodes // 6, 1),
            data=self.folder / "data",
            threads=1,
            runs=runs,
            seed=seed,
        )
        use_threads(1)
        torch.manual_seed(seed)
        task = imitation_task(settings)
        policy = untrained(model, task.demonstration_place.world.contract, seed)
        return imitate_expert(policy, task, settings, begun_run("road", model, settings))
