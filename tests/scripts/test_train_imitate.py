"""Imitation in any world: numbers, frames, several motors, an expert of one's own or a policy."""

import csv
import dataclasses
import hashlib
import json
from types import SimpleNamespace
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from envs.driving import HELD_OUT_TRACKS, TRAIN_TRACKS, VALIDATION_TRACKS
from ncp_control import load
from ncp_control.acting.closed_loop import PolicyPilot
from ncp_control.acting.recorder import run_episodes
from ncp_control.learning import trainer
from ncp_control.learning.demonstrations import Demonstrations, Windows
from ncp_control.learning.imitation import ImitationConfig
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import TrainingState
from ncp_control.records import frames_in, numbers_in
from ncp_control.worlds import find_world
from policies.augmentation import FrameAugmentation
from policies.experts import race
from policies.locomotion import make_policy_for
from scripts.train import train
from scripts.training import from_expert, imitate
from scripts.training.from_expert import (
    find_or_record,
    imitate_expert,
    load_expert,
)
from scripts.training.imitate import (
    augmentation,
    imitation_task,
    train_imitate,
)
from scripts.training.imitation_settings import Imitate
from scripts.training.jobs import JOBS

OWN = "tests.scripts.test_train_imitate"
"""This module: it holds the worlds and experts of the tests."""


class Reach(gymnasium.Env):
    """Two points on lines that are to be brought to zero; their places are seen, as numbers."""

    metadata: ClassVar = {"render_fps": 10}
    observation_space = spaces.Box(-4.0, 4.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.uniform(-1.0, 1.0, 2)
        return self._see(), {}

    def step(self, action):
        self.place = np.clip(self.place + 0.3 * np.asarray(action), -4.0, 4.0)
        self.steps += 1
        return self._see(), -float(np.abs(self.place).sum()), False, self.steps == 20, {}

    def _see(self):
        return self.place.astype(np.float32)


class Look(Reach):
    """The same, seen as two bright columns of a frame."""

    observation_space = spaces.Box(0, 255, (24, 48, 3), np.uint8)

    def _see(self):
        frame = np.zeros((24, 48, 3), np.uint8)
        for i, place in enumerate(self.place):
            column = int(np.clip(24 + 10 * place, 1, 46))
            frame[12 * i : 12 * i + 12, column - 1 : column + 2] = 255
        return frame


class Stumble(Reach):
    """The same, but who begins on the right of the first line is out after three steps."""

    def reset(self, *, seed=None, options=None):
        seen, info = super().reset(seed=seed)
        self.is_right = seen[0] > 0.0
        return seen, info

    def step(self, action):
        seen, reward, _, is_over, info = super().step(action)
        return seen, reward, self.is_right and self.steps == 3, is_over, info


class Wait(Reach):
    """The same, where every third step takes three times as long."""

    def step(self, action):
        *rest, info = super().step(action)
        late = self.steps // 3 * 2
        dt_s = 0.3 if self.steps % 3 == 0 else 0.1
        return *rest, {**info, "time_s": 0.1 * (self.steps + late), "dt_s": dt_s}


def bring_home(env, observation, info):
    """Return the step towards zero."""
    return np.clip(-3.0 * env.unwrapped.place, -1.0, 1.0)


def quick(tmp_path, world, **changes):
    settings = {
        "world": world if "-" in world else f"{OWN}:{world}",
        "expert": f"{OWN}:bring_home",
        "neurons": 12,
        "imitation": ImitationConfig(
            epochs=3, window=10, batch_size=8, dagger_epochs=(1,), turn_weight=0.0
        ),
        "episodes": 24,
        "validation_episodes": 4,
        "evaluation_episodes": 4,
        "runs": tmp_path / "runs",
    }
    return Imitate(**{**settings, **changes})


def test_a_training_that_was_stopped_goes_on_to_the_same_policy(tmp_path, monkeypatch):
    """Stopped after each checkpoint, one a step; demonstrations are found again."""
    imitation = ImitationConfig(epochs=2, window=10, batch_size=8, dagger_epochs=(1,))
    asked = {"imitation": imitation, "episodes": 4, "dagger_episodes": 2}
    train_imitate(quick(tmp_path, "Reach", **asked, runs=tmp_path / "whole"))
    save, demonstrated = TrainingState.save, []

    def save_and_stop(state, path):
        save(state, path)
        raise KeyboardInterrupt

    def demonstrate(folder, *others, show=from_expert.demonstrate, **options):
        demonstrated.append(folder.name)
        return show(folder, *others, **options)

    monkeypatch.setattr(trainer, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(from_expert, "demonstrate", demonstrate)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train_imitate(quick(tmp_path, "Reach", **asked))
        (run,) = (tmp_path / "runs").iterdir()
        while not (run / "policy").is_dir():
            try:
                train_imitate(Imitate(resume=run))
            except KeyboardInterrupt:
                continue
    train_imitate(Imitate(resume=run))
    (whole,) = (tmp_path / "whole").iterdir()
    for name in ("policy/weights.safetensors", "metrics.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert demonstrated == ["demonstrations", "epoch-1"]


def test_a_world_brings_its_own_expert_or_one_has_to_be_named(tmp_path):
    asked = quick(
        tmp_path,
        "LaneKeeping-v0",
        world_options=("observe=numbers",),
        expert=None,
        episodes=1,
        validation_episodes=1,
        evaluation_episodes=1,
        imitation=ImitationConfig(epochs=1, window=10, batch_size=8, dagger_epochs=()),
    )
    policy = train_imitate(asked)
    assert policy.contract.world == "LaneKeeping-v0"
    with pytest.raises(ValueError, match="`expert` must be given in 'Walker2d-v5', got None"):
        load_expert(None, find_world("Walker2d-v5"))


def test_conditions_are_met_in_frames_and_refused_without(tmp_path, monkeypatch):
    """In a record of frame and speed, the frames of most windows are black for a while."""
    seen = []
    monkeypatch.setattr(
        from_expert, "imitate", lambda policy, *_, augment, **__: seen.append(augment) or policy
    )
    road = {"world_options": ("episode_s=0.2",), "expert": None, "conditions": ("blackout:5",)}
    road["condition_share"] = 1.0
    asked = quick(tmp_path, "RoadDriving-v0", **road, data=tmp_path / "data", episodes=1)
    task = imitation_task(asked)
    policy = make_policy_for(task.demonstration_place.world.contract, "ltc", num_neurons=12)
    monkeypatch.setattr(policy, "save", lambda folder: None)
    for _ in range(2):
        run = Run.create("imitate", "ltc", asked, root=tmp_path / "runs")
        imitate_expert(policy, task, asked, run)
    (store,) = (tmp_path / "data").iterdir()  # made once, and found again
    shown = Demonstrations.open(store)
    (batch,) = Windows(shown, 6, 4, seed=0)
    changed = seen[-1](batch, torch.Generator().manual_seed(1)).observations
    assert numbers_in(changed, (78, 200, 3)).equal(numbers_in(batch.observations, (78, 200, 3)))
    assert not frames_in(changed, (78, 200, 3)).any(dim=(-1, -2, -3)).all()
    blind = quick(tmp_path, "Reach", conditions=("fog:2",))
    with pytest.raises(ValueError, match="`conditions` must be left out in .*it shows no frames"):
        train_imitate(blind)


@pytest.mark.parametrize("is_met", [False, True])
def test_the_learner_acts_under_conditions_if_that_is_asked_for(tmp_path, monkeypatch, is_met):
    road = {"world_options": ("episode_s=2.0",), "expert": None, "conditions": ("sun:5",)}
    asked = quick(tmp_path, "RoadDriving-v0", **road, dagger_conditions=is_met, condition_share=1.0,
                  episodes=1, dagger_episodes=1)  # fmt: skip
    task = imitation_task(asked)
    policy = make_policy_for(task.demonstration_place.world.contract, "ltc", num_neurons=12)
    acts, shown = [], []

    class Watched(PolicyPilot):
        def __call__(self, observations, *others):
            acts.append(frames_in(observations, (78, 200, 3))[0].mean())
            return super().__call__(observations, *others)

    monkeypatch.setattr("envs.conditions.training.PolicyPilot", Watched)
    monkeypatch.setattr("ncp_control.acting.recorder.PolicyPilot", Watched)

    def ask(policy, *_, aggregate, **__):
        shown.append(aggregate(policy, 0))
        return policy

    monkeypatch.setattr(from_expert, "imitate", ask)
    run = Run.create("imitate", "ltc", asked, root=tmp_path / "runs")
    imitate_expert(policy, task, asked, run)
    recorded = frames_in(np.array(shown[0].observations), (78, 200, 3)).mean((1, 2, 3))
    differences = np.array(acts) - recorded
    assert (differences > 1.0).all() if is_met else not differences.any()


def test_no_learner_meets_conditions_that_nobody_named(tmp_path):
    with pytest.raises(ValueError, match="`dagger_conditions` must be left out without"):
        quick(tmp_path, "RoadDriving-v0", dagger_conditions=True)


def test_no_learner_meets_conditions_where_it_never_acts(tmp_path):
    asked = {"conditions": ("fog",), "dagger_conditions": True}
    settings = quick(tmp_path, "RoadDriving-v0", **asked)
    never = dataclasses.replace(settings.imitation, dagger_epochs=())
    with pytest.raises(ValueError, match="must be left out where the learner never acts"):
        dataclasses.replace(settings, imitation=never)


def test_a_learner_is_asked_again_where_it_failed(tmp_path):
    imitation = ImitationConfig(epochs=4, window=10, batch_size=8, dagger_epochs=(1, 2, 3))
    asked = {"imitation": imitation, "episodes": 4, "dagger_episodes": 6, "dagger_repeat": 0.5}
    train_imitate(quick(tmp_path, "Stumble", **asked))
    (run,) = (tmp_path / "runs").iterdir()
    rounds = [Demonstrations.open(run / "dagger" / f"epoch-{epoch}") for epoch in (1, 2, 3)]
    seeds = [one.meta["source"]["seeds"] for one in rounds]
    begins_at = {}
    for one, driven in zip(rounds, seeds, strict=True):
        starts = one.observations[one.episode_starts]
        failed = [seed for seed, place in zip(driven, starts, strict=True) if place[0] > 0.0]
        assert one.meta["source"]["failed"] == failed
        for seed, place in zip(driven, starts, strict=True):
            assert begins_at.setdefault(seed, place.tolist()) == place.tolist()
    first, second = (one.meta["source"]["failed"][::-1] for one in rounds[:2])
    assert len(first) > 0 and seeds[1][: len(first[:3])] == first[:3]
    assert seeds[2][:3] == [*second, *(seed for seed in first if seed not in second)][:3]
    fresh = [seed for driven in seeds for seed in driven]
    assert len(set(fresh)) == 18 - len(first[:3]) - 3 and all(len(one) == 6 for one in seeds)


@pytest.mark.parametrize(
    ("world", "asked", "validation", "held_out"),
    [("RoadDriving-v0", (), VALIDATION_TRACKS, HELD_OUT_TRACKS),
     ("LaneKeeping-v0", (), VALIDATION_TRACKS, HELD_OUT_TRACKS),
     ("RoadDriving-v0", ("tracks=train", "traffic=none"), TRAIN_TRACKS, TRAIN_TRACKS)],
)  # fmt: skip
def test_a_driver_is_chosen_and_measured_on_tracks_that_nobody_learns_on(
    tmp_path, world, asked, validation, held_out
):
    """Unless other tracks were asked for."""
    place = imitate.where_to_imitate(quick(tmp_path, world, expert=None, world_options=asked))
    for where, tracks in ((place.validation(), validation), (place.held_out(), held_out)):
        env = where.world.make()
        for seed in range(3):
            _, info = env.reset(seed=seed)
            assert info["track"] in tracks
        env.close()


def test_the_checkpoint_is_chosen_on_validation_tracks(tmp_path, monkeypatch):
    settings = quick(tmp_path, "LaneKeeping-v0", expert=None)
    task, chosen_in, measured = imitation_task(settings), [], []

    def run_place(place, policy, **_):
        chosen_in.append(place.world)
        return [SimpleNamespace(total_reward=1.0)]

    def validate_once(policy, *_, validate, **__):
        measured.append(validate(policy))
        return policy

    monkeypatch.setattr(from_expert.Place, "run", run_place)
    monkeypatch.setattr(from_expert, "find_or_record", lambda *_: None)
    monkeypatch.setattr(from_expert, "imitate", validate_once)
    policy = make_policy_for(task.demonstration_place.world.contract, "ltc", num_neurons=12)
    run = Run.create("imitate", "ltc", settings, root=tmp_path / "runs")
    imitate_expert(policy, task, settings, run)
    assert measured[0]["score"] == -1.0
    env = chosen_in[0].make()
    assert env.reset(seed=0)[1]["track"] in VALIDATION_TRACKS
    env.close()


def test_what_was_asked_before_is_not_looked_at_if_nothing_is_repeated(tmp_path, monkeypatch):
    """Nor can it be: a run of before may have been stopped, whose stores do not tell failures."""
    monkeypatch.setattr(imitate, "failed_before", lambda _: pytest.fail("it was looked at"))
    imitation = ImitationConfig(epochs=3, window=10, batch_size=8, dagger_epochs=(1, 2))
    train_imitate(quick(tmp_path, "Reach", imitation=imitation, episodes=4, dagger_episodes=2))


def test_demonstrations_of_a_policy_are_found_again_until_it_learns_something_else(tmp_path):
    asked = quick(tmp_path, "Reach", episodes=1, data=tmp_path / "data")
    world = imitation_task(asked).demonstration_place.world
    teacher = tmp_path / "teacher"
    expert = make_policy_for(world.contract, "ltc", num_neurons=12)
    asked = dataclasses.replace(asked, expert=str(teacher))
    for stores in (1, 1, 2):
        if stores == 2:
            with torch.no_grad():
                next(expert.parameters()).add_(0.5)
        expert.contract = world.contract
        expert.save(teacher)
        task = imitation_task(asked)
        find_or_record(task, asked, tmp_path)
        assert len(list((tmp_path / "data").iterdir())) == stores


def test_demonstrations_of_an_expert_are_made_again_after_an_edit_of_its_code(
    tmp_path, monkeypatch
):
    asked = quick(tmp_path, "LaneKeeping-v0", episodes=1, data=tmp_path / "data")
    task, folders = imitation_task(asked), []
    for digest in ("as it was", "as it was", "edited"):
        monkeypatch.setattr(from_expert, "package_digest", lambda _, digest=digest: digest)
        folders.append(from_expert.demonstrations_folder(task, asked, tmp_path))
    assert folders[0] == folders[1] != folders[2]


@pytest.mark.parametrize(
    ("epochs", "asked"), [(1, ()), (4, (2, 3)), (None, (2, 3, 4, 5, 6)), (12, (2, 3, 4, 5, 6))]
)
def test_the_usual_dagger_epochs_are_those_that_come(monkeypatch, type_command, epochs, asked):
    found = []
    monkeypatch.setattr("scripts.training.imitate.train_imitate", found.append)
    words = [] if epochs is None else ["--imitation.epochs", epochs]
    assert type_command(train, JOBS, "imitate", "--world", "Pendulum-v1", *words) == 0
    assert found[0].imitation.dagger_epochs == asked


def test_dagger_epochs_that_never_come_are_refused(refuse):
    words = "imitate --world Pendulum-v1 --imitation.epochs 2 --imitation.dagger-epochs 1 2".split()
    refuse(
        train, JOBS, words, r"`dagger_epochs` must be from 0 to below `epochs`, got \(1, 2\) of 2"
    )


def test_nothing_is_repeated_where_the_learner_acts_once(tmp_path):
    with pytest.raises(ValueError, match="`dagger_repeat` must be left out where the learner acts"):
        quick(tmp_path, "Reach", dagger_repeat=0.5)


@pytest.mark.parametrize(
    ("world", "useless"), [("Reach", {"head": "paper"}), ("Look", {"encoder": (8,)})]
)
def test_what_a_world_has_no_use_for_is_refused(tmp_path, world, useless):
    (name,) = useless
    with pytest.raises(ValueError, match=f"`{name}` must be left out with a world of"):
        train_imitate(quick(tmp_path, world, **useless))
    assert list(tmp_path.glob("runs/*")) == []


def test_a_network_of_convolutions_is_refused_where_there_are_no_frames(tmp_path):
    with pytest.raises(ValueError, match="`cell` must be another where there are no frames, got"):
        train_imitate(quick(tmp_path, "Reach", cell="cnn"))
    assert list(tmp_path.glob("runs/*")) == []


@pytest.mark.parametrize("world", ["Reach", "Look"])
def test_a_policy_for_several_motors_is_trained_and_says_where(tmp_path, world):
    train_imitate(quick(tmp_path, world))
    (run,) = (tmp_path / "runs").iterdir()
    policy = load(run / "policy")
    assert policy.contract.world == f"{OWN}:{world}"
    assert len(policy.contract.action) == 2
    assert policy.contract.observation.kind == ("vector" if world == "Reach" else "frames")
    metrics = (run / "metrics.csv").read_text().splitlines()
    assert len(metrics) == 4 and "mean_return" in metrics[0]
    assert json.loads((run / "config.json").read_text())["settings"]["expert"].endswith("home")
    with (run / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert -20.0 < float(row["mean_return"]) < 0.0
    assert int(row["parameters"]) == sum(p.numel() for p in policy.parameters())


@pytest.mark.parametrize(("world", "is_told"), [("Reach", False), ("Wait", True)])
def test_a_cell_that_knows_no_time_is_told_where_it_varies(tmp_path, capsys, world, is_told):
    config = ImitationConfig(epochs=1, window=10, batch_size=8)
    policy = train_imitate(quick(tmp_path, world, cell="lstm", imitation=config))
    assert policy.circuit.cell.sees_time == is_told
    assert ("| lstm, told the elapsed time | " in capsys.readouterr().out) == is_told
    (run,) = (tmp_path / "runs").iterdir()
    assert ("sees_time" in (run / "results.csv").read_text()) == is_told


def test_the_circuit_begins_with_the_time_constants_that_were_asked_for(tmp_path):
    config = ImitationConfig(epochs=1, window=10, batch_size=8)
    slow, usual = (
        train_imitate(quick(tmp_path, "Reach", imitation=config, **asked))
        for asked in ({"tau_s": (5.0, 50.0), "synapses": "flat"}, {})
    )
    tau_s = [p.circuit.record(torch.randn(4, 10, 2)).timescales_s for p in (slow, usual)]
    assert tau_s[0].median() > 1.0 > tau_s[1].median()
    with pytest.raises(ValueError, match="`tau_s` must be a shortest and a longest time"):
        quick(tmp_path, "Reach", tau_s=(2.0, 1.0))
    with pytest.raises(ValueError, match="`synapses` must be one of|`synapses` must be"):
        quick(tmp_path, "Reach", synapses="steep")


@pytest.mark.slow
def test_it_learns_what_the_expert_does(tmp_path):
    config = ImitationConfig(epochs=30, window=10, batch_size=4, dagger_epochs=(5, 10))
    policy = train_imitate(quick(tmp_path, "Reach", imitation=config))
    world = find_world(f"{OWN}:Reach")
    idle = -20.0  # a return of about minus the first places times the steps
    returns = [episode.total_reward for episode in run_episodes(world, policy, seeds=range(10))]
    assert np.mean(returns) > idle / 3


def test_a_policy_can_be_the_expert(tmp_path):
    train_imitate(quick(tmp_path, "Reach"))
    (run,) = (tmp_path / "runs").iterdir()
    again = quick(tmp_path, "Reach", expert=str(run / "policy"), cell="gru")
    student = train_imitate(again)
    assert type(student.circuit.cell).__name__ == "GRU"


def test_a_saved_policy_goes_on_learning(tmp_path):
    config = ImitationConfig(epochs=1, window=10, batch_size=8)
    train_imitate(quick(tmp_path, "Reach", cell="gru", imitation=config))
    (first,) = (tmp_path / "runs").iterdir()
    told = {"policy": first / "policy", "neurons": Imitate.neurons}
    tiny = dataclasses.replace(config, head_learning_rate=1e-9, circuit_learning_rate=1e-9)
    again = train_imitate(quick(tmp_path, "Reach", **told, imitation=tiny, seed=3))
    seen = np.ones((1, 2), np.float32)
    policy = load(first / "policy")
    assert again.act(seen[0]) == pytest.approx(policy.act(seen[0]), abs=1e-5)
    weights = hashlib.sha256((first / "policy" / "weights.safetensors").read_bytes()).hexdigest()
    assert again.contract.provenance["continues"] == weights
    assert "continues" not in policy.contract.provenance
    runs = sorted((tmp_path / "runs").glob("imitate-gru-*"))
    new, further = ((run / "results.csv").read_text() for run in runs)
    for name in ("neurons", "encoder", "head"):
        assert f'""{name}"":' in new and f'""{name}"":' not in further
    assert "\ngru," in further and '""policy"":' in further
    with pytest.raises(ValueError, match="`neurons` must be left out with --policy, got 7"):
        quick(tmp_path, "Reach", policy=first / "policy", neurons=7)
    with pytest.raises(ValueError, match="does not fit"):
        train_imitate(quick(tmp_path, "Look", **told))


@pytest.mark.parametrize(
    ("expert", "told"),
    [
        ("nobody", "`expert` must be <module>:<function>, the folder of a policy"),
        ("no_module:act", "must name a function as module:function"),
        (f"{OWN}:nobody", "must name a function as module:function"),
        ("policies/pretrained/walker2d-ltc", "`expert` does not fit"),
    ],
)
def test_an_expert_that_is_not_there_is_named(expert, told):
    with pytest.raises(ValueError, match=told):
        load_expert(expert, find_world(f"{OWN}:Reach"))


def test_a_mirror_turns_round_what_the_contract_calls_left_or_right(tmp_path):
    pytest.importorskip("Box2D")
    racing = find_world("gymnasium:CarRacing-v3", height=24, width=24)
    settings = quick(tmp_path, "Look", mirror=True)
    assert augmentation(settings, racing) == FrameAugmentation(mirrored=(0,))
    with pytest.raises(ValueError, match="names no action whose positive side"):
        augmentation(settings, find_world(f"{OWN}:Look"))


@pytest.mark.slow
def test_the_racing_expert_drives_a_lap():
    pytest.importorskip("Box2D")
    env = find_world("gymnasium:CarRacing-v3").make()
    observation, info = env.reset(seed=3)
    total, is_over = 0.0, False
    while not is_over:
        observation, reward, terminated, truncated, info = env.step(race(env, observation, info))
        total, is_over = total + reward, terminated or truncated
    assert total > 880.0
