"""The table of the road: its models, and drives under conditions."""

import csv

import pytest
import torch

from scripts.evaluation.worlds import open_world
from scripts.reproduce import reproduce
from scripts.reproduction import road
from scripts.reproduction.completion import Reproduce


def untrained(model: str):
    contract = open_world("RoadDriving-v0").contract
    policy = road.untrained(model, contract, seed=0)
    policy.contract = contract
    return policy


@pytest.fixture
def trained(monkeypatch):
    """Policies that learned nothing, and which were asked for."""
    asked = []

    def learn(self, model, seed, training, runs, **counts):
        asked.append((model, training, counts))
        return untrained(model)

    def short(self, km, condition):
        world = open_world("RoadDriving-v0", {"traffic": "none", "episode_s": 1})
        return road.road_place(world, ("road", "full"), {}, km, 0)

    monkeypatch.setattr(road.RoadLesson, "learn", learn)
    monkeypatch.setattr(road.RoadLesson, "place", short)
    return asked


def test_each_policy_is_trained_once_and_driven_under_each_condition(trained, tmp_path, capsys):
    told = {"table": "road", "models": ("ltc", "cnn-stack"), "km": 0.002, "results": tmp_path}
    told["runs"] = tmp_path / "runs"
    reproduce(Reproduce(**told, tasks=("fog:5",), trainings=("clean", "conditions")))
    reproduce(Reproduce(**told, tasks=("fog:5", "delay:2")))
    counts = {"epochs": 8, "steps": 1000, "episodes": 24}
    wanted = [(m, t, counts) for t in ("clean", "conditions") for m in ("ltc", "cnn-stack")]
    assert trained == wanted, "a table that goes on trains nothing twice"
    with (tmp_path / "road.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert rows[0]["settings"] == "clean none km=0.002 epochs=8 steps=1000 episodes=24"
    assert rows[0]["command"].endswith(
        "--models ltc --tasks fog:5 --trainings clean conditions --km 0.002"
    )
    assert all(float(row["driven_km"]) > 0.0 for row in rows)
    told = capsys.readouterr().out
    assert "interventions of each seed" in told and "| conditions | delay:2 " in told
    assert (tmp_path / "road.png").is_file()


@pytest.mark.parametrize("table", ["road", "conditions"])
@pytest.mark.parametrize("setting", ["models", "tasks", "trainings"])
def test_an_unknown_name_is_refused_before_a_run_folder_is_made(table, setting, tmp_path):
    with pytest.raises(ValueError, match="got 'nope'"):
        reproduce(Reproduce(table=table, **{setting: ("nope",)}, runs=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_road_has_one_recipe(tmp_path):
    with pytest.raises(ValueError, match="`trainings` must be one of .*, got 'averaged'"):
        reproduce(Reproduce(table="road", trainings=("averaged",), runs=tmp_path))


def test_small_networks_are_as_large_as_the_circuits():
    sizes = {model: sum(p.numel() for p in untrained(model).circuit.parameters())
             for model in road.MODELS}  # fmt: skip
    circuits = [sizes[model] for model in ("ltc", "cfc", "lrc")]
    for model in ("lstm-8", "gru-10"):
        assert 0.9 * min(circuits) < sizes[model] < 1.1 * max(circuits)
    assert all(sizes[model] > 3 * max(circuits) for model in ("lstm-64", "gru-64", "cnn"))


def test_stacked_frames_see_four_frames_and_no_more():
    cell = untrained("cnn-stack").circuit.cell
    torch.manual_seed(0)
    inputs = torch.randn(1, 9, cell.input_size)
    times = torch.full((1, 9), 1 / 30)

    def last(shown: torch.Tensor) -> torch.Tensor:
        return cell.sequence(shown, cell.initial_state(1), times, None)[0][0, -1]

    for frame, is_seen in ((4, False), (5, True), (8, True)):
        changed = inputs.clone()
        changed[:, frame] += 1.0
        assert torch.equal(last(changed), last(inputs)) != is_seen


def test_a_training_is_what_the_table_says(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(road, "imitate_expert", lambda *given: seen.append(given))
    road.RoadLesson(tmp_path).learn(
        "gru-10", 2, "conditions", tmp_path / "one", epochs=3, steps=9, episodes=12
    )
    ((policy, task, asked, _),) = seen
    assert policy.circuit.cell.hidden_size == 10
    assert task.expert is task.demonstration_place.world.expert
    assert "fog:1-3" in asked.conditions and asked.imitation.dagger_epochs == (1, 2)
    assert (asked.episodes, asked.dagger_episodes, asked.seed) == (12, 6, 2)
    assert asked.imitation.epoch_steps == 9
    assert asked.world_options == ("on_crash=recover", "traffic=crowded")
    assert asked.dagger_conditions
    road.RoadLesson(tmp_path).learn(
        "gru-10", 2, "clean", tmp_path / "other", epochs=3, steps=9, episodes=12
    )
    assert not seen[1][2].conditions and not seen[1][2].dagger_conditions


@pytest.mark.parametrize("model", road.MODELS)
def test_every_model_can_begin_as_its_training_asks(monkeypatch, tmp_path, model):
    seen = []
    monkeypatch.setattr(road, "imitate_expert", lambda *given: seen.append(given))
    road.RoadLesson(tmp_path).learn(model, 0, "clean", tmp_path, epochs=1, steps=1, episodes=1)
    ((policy, _, asked, _),) = seen
    cell = policy.circuit.cell
    inputs = torch.randn(4, 8, cell.input_size)
    before = {name: value.clone() for name, value in cell.named_parameters()}
    asked.begin(cell, inputs, seed=0)
    has_moved = any(not torch.equal(value, before[name]) for name, value in cell.named_parameters())
    assert has_moved == (model in ("ltc", "lrc"))
    if has_moved:
        low, high = asked.tau_s
        tau_s = policy.circuit.record(inputs).timescales_s.mean(dim=(0, 1))
        assert low * 0.8 < tau_s.min() < tau_s.max() < high * 1.25


def test_each_condition_is_driven_on_held_out_tracks_of_its_own(tmp_path):
    lesson, asked = road.RoadLesson(tmp_path), ("none", "noise:1", "noise:5", "gain:5")
    places = [lesson.place(1.0, condition) for condition in asked]
    assert len({seed for place in places for seed in place.seeds}) == sum(
        len(place.seeds) for place in places
    )
    config = places[0].world.make().unwrapped.config
    assert (config.tracks, config.traffic) == ("held_out", "full")
