"""The job that learns from replayed experience."""

import csv
import json
import re
from typing import Any

import numpy as np
import pytest
import torch

from ncp_control import Policy
from scripts.evaluation.worlds import WorldSettings, returns_in
from scripts.train import train
from scripts.training.jobs import JOBS
from scripts.training.places import where_to_learn
from scripts.training.reinforcement import Task
from scripts.training.sac import describe, make_model, train_sac
from scripts.training.sac_settings import SAC

PENDULUM = "gymnasium:Pendulum-v1"


def settings(tmp_path, **changes) -> SAC:
    defaults: dict[str, Any] = {
        "world": PENDULUM,
        "steps": 240,
        "num_envs": 2,
        "first_steps": 100,
        "batch_size": 32,
        "evaluation_episodes": 2,
        "runs": tmp_path / "runs",
        "results": tmp_path / "reinforcement.csv",
    }
    if changes.get("cell") != "mlp":
        defaults |= {"neurons": 8, "encoder": (8,)}
    return SAC(**(defaults | changes))


def rows(tmp_path):
    with (tmp_path / "reinforcement.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_training_ends_with_a_policy_and_a_row_and_can_be_prolonged(tmp_path, capsys):
    train_sac(settings(tmp_path))
    run = next((tmp_path / "runs").iterdir())
    assert f"run folder: {run}" in capsys.readouterr().out
    policy = Policy.load(run / "policy")
    assert policy.to_config()["squash"] == "tanh"
    returns = returns_in(policy, WorldSettings(env=PENDULUM, episodes=2))
    (row,) = rows(tmp_path)
    assert float(row["mean_return"]) == pytest.approx(float(np.mean(returns)), abs=0.06)

    # As if stopped: the settings say 360 steps, the checkpoint has 240.
    config = run / "config.json"
    config.write_text(re.sub(r'"steps": 240', '"steps": 360', config.read_text()))
    for _ in range(2):  # the second time nothing is left to be done
        train_sac(SAC(resume=run))
    steps = [line.split(",")[0] for line in (run / "metrics.csv").read_text().splitlines()]
    assert steps == ["step", "240", "360"]
    told = [row["settings"].split(" ", 2) for row in rows(tmp_path)]
    assert [where[:2] for where in told] == [[PENDULUM, "full"]] * 2
    assert [json.loads(where[2])["steps"] for where in told] == [240, 360]


@pytest.mark.parametrize("algorithm", ["sac", "tqc"])
def test_the_stock_network_learns_with_the_same_words(tmp_path, algorithm):
    policy = train_sac(settings(tmp_path, cell="mlp", algorithm=algorithm, steps=120))
    assert policy.to_config()["squash"] == "tanh"
    told = json.loads(rows(tmp_path)[0]["settings"].split(" ", 2)[2])
    assert told["algorithm"] == algorithm and "burn_in" not in told


def test_a_command_trains_a_circuit_by_tqc(type_command, tmp_path, capsys):
    words = f"sac --algorithm tqc --world {PENDULUM} --neurons 8 --encoder --steps 120"
    words += " --first-steps 80 --num-envs 2 --batch-size 32 --evaluation-episodes 1"
    assert type_command(train, JOBS, *words.split()) == 0
    printed = capsys.readouterr().out
    assert re.search(r"run folder: runs/tqc-Pendulum-v1-ltc-\d+-1\n", printed)
    assert "| policy | mean_return |" in printed


def test_critics_see_more_where_velocities_are_hidden(tmp_path):
    asked = settings(tmp_path, world="walker2d", world_options=("observe=positions",), neurons=12)
    model = make_model(Task.of(asked))
    assert model.critic.qf0[0].in_features == 4 * 8 + 3 * 6 + 6
    assert '"critic_frames": 4' in describe(asked, where_to_learn(asked))
    assert settings(tmp_path).resolved["critic_frames"] == 1


def test_a_new_circuit_begins_with_the_time_constants_that_were_asked_for(tmp_path):
    asked = settings(tmp_path, tau_s=(1.0, 10.0))
    core = make_model(Task.of(asked)).actor.core
    with torch.no_grad():
        inputs = core.encoder(torch.randn(8, 20, 3))
    tau_s = core.circuit.record(inputs).timescales_s
    assert 0.5 < tau_s.min() and tau_s.max() < 20.0
    assert '"tau_s": [1.0, 10.0]' in describe(asked, where_to_learn(asked))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "td3"}, "`algorithm` must be one of"),
        ({"drop_probability": 0.1}, "`drop_probability` must be 0, got 0.1. Learn where"),
        ({"steps": 100}, "`steps` must be more than the 100 with random actions, got 100"),
        ({"cell": "mlp", "burn_in": 4}, "`burn_in` must be left out with --cell mlp, got 4"),
        ({"gamma": 2.0}, "`gamma` must be from 0 to 1, got 2.0"),
        ({"first_steps": 20}, "`first_steps` must be at least 32, so that every world has"),
        ({"replay_steps": 20}, "`replay_steps` must be at least 32, so that every world has"),
        ({"updates": 0}, "`updates` must be a whole number of at least 1"),
    ],
)
def test_bad_settings_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        settings(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world": "gymnasium:CartPole-v1"}, "whose actions are choices. Train there with `train"),
        ({"world": "LaneKeeping-v0", "steps": 120}, "which shows frames. Train there with `train"),
        ({"batch_size": 30}, "`sequence_length` must divide the 30 steps of a batch"),
    ],
)
def test_worlds_and_sizes_that_do_not_suit_end_before_there_is_a_run(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train_sac(settings(tmp_path, **changes))
    assert not (tmp_path / "runs").exists()
