import csv
import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest
import torch

from ncp_control import GRU, LSTM, Policy
from ncp_control.learning.divergence import DivergenceError, has_diverged
from ncp_control.learning.reinforcement.checkpoint import steps_done
from ncp_control.learning.reinforcement.progress import CHECKPOINT, Progress
from ncp_control.learning.settings import ImitationConfig
from scripts.evaluation.worlds import WorldSettings, returns_in
from scripts.train import train
from scripts.training.curves import draw_curves
from scripts.training.distill import train_distill
from scripts.training.imitation_settings import Imitate
from scripts.training.jobs import JOBS
from scripts.training.places import where_to_learn
from scripts.training.ppo import describe, make_actor, make_model, train_ppo
from scripts.training.ppo_settings import PPO
from scripts.training.reinforcement import Task
from scripts.training.resumption import begun_with, open_run
from scripts.training.sac_settings import SAC
from scripts.training.settings import Distill


def settings(tmp_path, *, observe="positions", **changes) -> PPO:
    defaults = {
        "world": "walker2d",
        "world_options": () if observe == "full" else (f"observe={observe}",),
        "neurons": 32 if changes.get("cell") == "mlp" else 12,
        "steps": 128,
        "num_envs": 2,
        "rollout_steps": 64,
        "batch_size": 64,
        "epochs": 1,
        "evaluation_episodes": 2,
        "runs": tmp_path / "runs",
        "results": tmp_path / "reinforcement.csv",
    }
    return PPO(**(defaults | changes))


def rows(tmp_path):
    with (tmp_path / "reinforcement.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_training_ends_with_a_policy_and_a_row_and_can_be_prolonged(tmp_path, capsys):
    train_ppo(settings(tmp_path, steps=128, drop_probability=0.3))
    run = next((tmp_path / "runs").iterdir())
    assert f"run folder: {run}" in capsys.readouterr().out

    # What stands in the table is what the shipped policy does.
    where = WorldSettings(
        env="walker2d", options={"observe": "positions"}, strengths={"drop": 0.3}, episodes=2
    )
    returns = returns_in(Policy.load(run / "policy"), where)
    (row,) = rows(tmp_path)
    assert float(row["mean_return"]) == pytest.approx(float(np.mean(returns)), abs=0.06)

    # As if stopped half-way: the settings say 256 steps, the checkpoint has 128.
    config = run / "config.json"
    config.write_text(re.sub(r'"steps": 128', '"steps": 256', config.read_text()))
    for _ in range(2):  # the second time nothing is left to be done
        train_ppo(PPO(resume=run))
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
    tmp_path, capsys, cell, observe, encoder, critic, scale
):
    policy = train_ppo(settings(tmp_path, steps=128, cell=cell, observe=observe))
    assert policy.act(np.zeros(8 if observe == "positions" else 17)).shape == (6,)
    assert policy.to_config()["encoder"] == encoder
    told = json.loads(rows(tmp_path)[0]["settings"].split(" ", 2)[2])
    assert (told["encoder"], told["critic"], told["actor_lr_scale"]) == (encoder, critic, scale)
    is_other = f"note: the actor of a new {cell} circuit learns 3 times as fast as the critic"
    assert (is_other in capsys.readouterr().out) == (scale == 3.0)


def test_two_names_of_a_cell_have_the_same_defaults():
    for kind in (PPO, SAC):
        scales = [kind(cell=name).resolved["actor_lr_scale"] for name in ("ltc", "ncp", "cfc")]
        assert scales == [3.0, 3.0, 1.0]
        assert kind(cell="ncp", actor_lr_scale=1.0).resolved["actor_lr_scale"] == 1.0


def test_a_new_circuit_begins_with_the_time_constants_that_were_asked_for(tmp_path):
    asked = settings(tmp_path, cell="ltc", tau_s=(1.0, 10.0), drop_probability=0.1)
    core = make_model(Task.of(asked)).policy.actor
    with torch.no_grad():
        inputs = core.encoder(torch.randn(8, 20, 8))
    tau_s = core.circuit.record(inputs).timescales_s
    assert 0.5 < tau_s.min() and tau_s.max() < 20.0
    assert '"tau_s": [1.0, 10.0]' in describe(asked, where_to_learn(asked))
    assert "tau_s" not in describe(settings(tmp_path), where_to_learn(asked))
    for changes in ({"cell": "mlp"}, {"policy": tmp_path}):
        with pytest.raises(ValueError, match="`tau_s` must be left out with --"):
            PPO(steps=100_000, tau_s=(1.0, 10.0), **changes)


def test_a_training_under_disturbances_is_told_apart(tmp_path):
    disturbed = {"overwrite_probability": 0.2, "delay_steps": 3}
    asked = settings(tmp_path, **disturbed)
    where = where_to_learn(asked)
    world = where.make_world()
    assert "OverwrittenActions" in str(world) and "DelayedActions" in str(world)
    assert (
        where.place.described
        == "walker2d positions noise=0 drop=0 overwrite=0.2 delay=3 episodes=2"
    )
    assert describe(asked, where) != describe(settings(tmp_path), where)


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`cell` must be one of"):
        settings(tmp_path, cell="perceptron")
    with pytest.raises(ValueError, match="`world` must be one of"):
        train_ppo(settings(tmp_path, world="ant"))
    with pytest.raises(ValueError, match="must be a whole number of at least 1"):
        settings(tmp_path, steps=0)
    with pytest.raises(ValueError, match="`world_options` must be words such as name=value"):
        settings(tmp_path, world_options=("positions",))
    for ignored in ({"critic": "gru"}, {"encoder": ()}, {"neurons": 64}):
        (name,) = ignored
        with pytest.raises(ValueError, match=f"`{name}` must be left out with --cell mlp"):
            settings(tmp_path, cell="mlp", **ignored)
    with pytest.raises(ValueError, match="`cell` must be another in a world of frames, got 'mlp'"):
        train_ppo(settings(tmp_path, world="LaneKeeping-v0", world_options=(), cell="mlp"))
    with pytest.raises(ValueError, match="`head` must be left out with --policy, got 'paper'"):
        PPO(policy=tmp_path, head="paper")
    with pytest.raises(ValueError, match="`head` must be left out with a world of numbers"):
        train_ppo(settings(tmp_path, head="paper"))
    frames = {"world": "LaneKeeping-v0", "world_options": ("camera=none",)}
    with pytest.raises(ValueError, match="`encoder` must be left out with a world of frames"):
        train_ppo(settings(tmp_path, encoder=(8,), **frames))
    with pytest.raises(FileNotFoundError, match="`resume` must be a run folder"):
        train_ppo(PPO(resume=tmp_path))
    with pytest.raises(ValueError, match="`seed` must be left out with --resume, got 3"):
        train_ppo(PPO(resume=tmp_path, seed=3))
    with pytest.raises(ValueError, match="`num_worlds` must be left out with --resume, got 8"):
        train_ppo(PPO(resume=tmp_path, num_worlds=8))  # from which steps and others follow
    with pytest.raises(ValueError, match=r"`imitation.epochs` must be left out .*, got 4\. A run"):
        begun_with(Imitate(resume=tmp_path, imitation=ImitationConfig(epochs=4)))


def test_a_training_stopped_before_its_first_step_is_resumed_as_a_new_one(tmp_path, monkeypatch):
    """Its checkpoint is from before the first step, but after the first episodes began."""
    whole = train_ppo(settings(tmp_path / "whole"))

    def save_and_stop(progress, save=Progress._save):
        save(progress)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "_save", save_and_stop)
        train_ppo(settings(tmp_path))
    (run,) = (tmp_path / "runs").iterdir()
    assert steps_done(run / "checkpoints" / CHECKPOINT) == 0
    resumed = train_ppo(PPO(resume=run))
    wanted = whole.state_dict()
    for name, value in resumed.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=0.0, atol=0.0, msg=name)
    (row,), (one,) = rows(tmp_path), rows(tmp_path / "whole")
    assert row["mean_return"] == one["mean_return"]


@pytest.mark.parametrize(("drop_probability", "is_told"), [(0.0, False), (0.3, True)])
def test_cells_that_know_no_time_are_told_where_frames_are_lost(
    tmp_path, drop_probability, is_told
):
    asked = settings(tmp_path, cell="lstm", drop_probability=drop_probability)
    policy: Any = make_model(Task.of(asked)).policy
    cells = policy.lstm_actor.circuit.cell, policy.lstm_critic.circuit.cell
    assert [(type(cell), cell.sees_time) for cell in cells] == [(LSTM, is_told), (GRU, is_told)]


def test_a_cell_behind_a_camera_is_told_too_where_frames_are_lost(tmp_path):
    frames = {"world": "tests.scripts.test_train_ppo_driving:Camera", "encoder": ()}
    asked = settings(tmp_path, observe="full", cell="lstm", drop_probability=0.3, **frames)
    assert make_actor(Task.of(asked), 32)["cell"].sees_time


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
        ("learning_rate", 1e30),
        ("actor_lr_scale", 1e30),
    ],
)
def test_numbers_that_mean_nothing_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .*, got {re.escape(str(value))}"):
        PPO(**{name: value})


def test_a_training_that_diverges_says_so_and_keeps_its_best(type_command, tmp_path, capsys):
    words = "ppo --world walker2d --neurons 12 --evaluation-episodes 1 --num-envs 2"
    words += " --rollout-steps 64 --batch-size 64 --epochs 1 --steps 640 --learning-rate 1000"
    assert type_command(train, JOBS, *words.split()) == 2
    (run,) = (tmp_path / "runs").iterdir()
    told = capsys.readouterr().err.splitlines()[-1]
    sentence = r"error: The training must stay finite, got NaN or infinity .* after \d+ steps\."
    sentence += r" Begin it anew with a lower learning rate\."
    best = rf"( The best policy before it is .*{run.name}/checkpoints/best\.)?"
    assert re.fullmatch(sentence + best, told)
    kept = [Policy.load(folder) for folder in (run / "checkpoints").iterdir() if folder.is_dir()]
    assert kept and not any(map(has_diverged, kept))
    assert not (run / "policy").exists()
    # It is resumed from what was good, to the same end.
    assert type_command(train, JOBS, "ppo", "--resume", run) == 2
    assert re.match(sentence, capsys.readouterr().err.splitlines()[-1])


def test_the_sentence_names_the_best_policy(tmp_path):
    asked = settings(tmp_path)
    with (
        pytest.raises(
            DivergenceError, match=r"^It is lost\. The best .* is .*/checkpoints/best\.$"
        ),
        open_run(asked, "test", "tiny", step=0) as run,
    ):
        (run.checkpoints / "best").mkdir(parents=True)
        raise DivergenceError("It is lost.")


@pytest.mark.parametrize(
    ("name", "value"),
    [("distillation", {"rnds": 3}), ("distillation", [1]), ("runs", None), ("encoder", 7)],
)
def test_settings_of_another_build_are_named(tmp_path, name, value):
    values = json.loads(json.dumps(dataclasses.asdict(Distill()), default=str))
    (tmp_path / "config.json").write_text(json.dumps({"settings": values | {name: value}}))
    with pytest.raises(ValueError, match=r"config\.json must hold settings of this job, got"):
        train_distill(Distill(resume=tmp_path))


def test_a_single_row_is_seen_in_the_learning_curves():
    (axes,) = draw_curves([{"step": 512.0, "mean_return": 3.0}]).axes
    (line,) = axes.lines
    assert line.get_marker() == "." and list(line.get_xydata()[0]) == [0.512, 3.0]


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"settings": 3}', "[" * 100_000])
def test_a_damaged_run_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json must be what this job wrote"):
        train_ppo(PPO(resume=tmp_path))
