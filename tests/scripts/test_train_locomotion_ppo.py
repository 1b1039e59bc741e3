import csv
import json
import re
from typing import Any

import numpy as np
import pytest

from ncp_control import GRU, LSTM, Policy
from scripts.evaluation.locomotion import WalkSettings, walk
from scripts.training.locomotion import train_locomotion
from scripts.training.locomotion_ppo import make_model
from scripts.training.locomotion_settings import Locomotion, PPOConfig, describe


def settings(tmp_path, *, steps=128, critic=None, **changes) -> Locomotion:
    short = {"num_envs": 2, "rollout_steps": 64, "batch_size": 64, "epochs": 1}
    defaults = {
        "env": "walker2d",
        "observe": "positions",
        "neurons": 32 if changes.get("cell") == "mlp" else 12,
        "ppo": PPOConfig(steps=steps, critic=critic, **short),
        "evaluation_episodes": 2,
        "runs": tmp_path / "runs",
        "results": tmp_path / "reinforcement.csv",
    }
    return Locomotion(**(defaults | changes))


def rows(tmp_path):
    with (tmp_path / "reinforcement.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_training_ends_with_a_policy_and_a_row_and_can_be_prolonged(tmp_path, capsys):
    train_locomotion(settings(tmp_path, steps=128, drop_probability=0.3))
    run = next((tmp_path / "runs").iterdir())
    assert f"run folder: {run}" in capsys.readouterr().out

    # What stands in the table is what the shipped policy does.
    where = WalkSettings(env="walker2d", observe="positions", drop_probability=0.3, episodes=2)
    returns = walk(Policy.load(run / "policy"), where)
    (row,) = rows(tmp_path)
    assert float(row["mean_return"]) == pytest.approx(float(np.mean(returns)), abs=0.06)

    # As if stopped half-way: the settings say 256 steps, the checkpoint has 128.
    config = run / "config.json"
    config.write_text(re.sub(r'"steps": 128', '"steps": 256', config.read_text()))
    for _ in range(2):  # the second time nothing is left to be done
        train_locomotion(Locomotion(resume=run))
    steps = [line.split(",")[0] for line in (run / "metrics.csv").read_text().splitlines()]
    assert steps == ["step", "128", "256"]
    told = [row["settings"].split(" ", 2) for row in rows(tmp_path)]
    assert [where[:2] for where in told] == [["walker2d", "positions"]] * 2
    assert [json.loads(where[2])["steps"] for where in told] == [128, 256]
    command = json.loads(config.read_text())["command"]
    assert [row["command"] for row in rows(tmp_path)] == [command] * 2


@pytest.mark.parametrize(
    ("cell", "observe", "encoder", "critic", "scale"),
    [
        ("mlp", "positions", [], "mlp", 1.0),
        ("cfc", "positions", [64], "gru", 1.0),
        ("ltc", "full", [64], "mlp", 3.0),
    ],
)
def test_each_actor_gets_what_suits_it_and_the_row_tells(
    tmp_path, cell, observe, encoder, critic, scale
):
    policy = train_locomotion(settings(tmp_path, steps=128, cell=cell, observe=observe))
    assert policy.act(np.zeros(8 if observe == "positions" else 17)).shape == (6,)
    assert policy.to_config()["encoder"] == encoder
    told = json.loads(rows(tmp_path)[0]["settings"].split(" ", 2)[2])
    assert (told["encoder"], told["critic"], told["actor_lr_scale"]) == (encoder, critic, scale)


def test_a_training_under_disturbances_is_told_apart(tmp_path):
    disturbed = {"overwrite_probability": 0.2, "delay_steps": 3}
    where = settings(tmp_path, **disturbed).where
    world = where.make_world()
    assert "OverwrittenActions" in str(world) and "DelayedActions" in str(world)
    assert where.describe() == "walker2d positions noise=0 drop=0 overwrite=0.2 delay=3 episodes=2"
    assert describe(settings(tmp_path, **disturbed)) != describe(settings(tmp_path))


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`cell` must be one of"):
        settings(tmp_path, cell="perceptron")
    with pytest.raises(ValueError, match="`env` must be one of"):
        settings(tmp_path, env="ant")
    with pytest.raises(ValueError, match="must be a whole number of at least 1"):
        settings(tmp_path, steps=0)
    with pytest.raises(ValueError, match="`how` must be one of"):
        settings(tmp_path, how="imitate")
    with pytest.raises(ValueError, match="`ppo` must be left out with --how ppo --cell mlp"):
        settings(tmp_path, cell="mlp", critic="gru")
    with pytest.raises(ValueError, match="`encoder` must be left out with --how ppo --cell mlp"):
        settings(tmp_path, cell="mlp", encoder=(64,))
    with pytest.raises(ValueError, match="`neurons` must be left out with --how ppo --cell mlp"):
        settings(tmp_path, cell="mlp", neurons=64)
    with pytest.raises(ValueError, match="`ppo` must be left out with --how distill"):
        settings(tmp_path, how="distill")
    with pytest.raises(ValueError, match="`teacher` must be left out with --how ppo"):
        settings(tmp_path, teacher=tmp_path)
    with pytest.raises(FileNotFoundError, match="`resume` must be a run folder"):
        train_locomotion(Locomotion(resume=tmp_path))
    with pytest.raises(ValueError, match="`seed` must be left out with --resume, got 3"):
        train_locomotion(Locomotion(resume=tmp_path, seed=3))


@pytest.mark.parametrize(("drop_probability", "is_told"), [(0.0, False), (0.3, True)])
def test_cells_that_know_no_time_are_told_where_frames_are_lost(
    tmp_path, drop_probability, is_told
):
    asked = settings(tmp_path, cell="lstm", drop_probability=drop_probability)
    policy: Any = make_model(asked).policy
    cells = policy.lstm_actor.circuit.cell, policy.lstm_critic.circuit.cell
    assert [(type(cell), cell.sees_time) for cell in cells] == [(LSTM, is_told), (GRU, is_told)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("rollout_steps", 0),
        ("batch_size", 1),
        ("gamma", 2.0),
        ("gamma", float("nan")),
        ("actor_lr_scale", float("nan")),
        ("learning_rate", 0.0),
    ],
)
def test_numbers_that_mean_nothing_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .*, got {value}"):
        PPOConfig(**{name: value})


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_damaged_run_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json must be what this job wrote"):
        train_locomotion(Locomotion(resume=tmp_path))
