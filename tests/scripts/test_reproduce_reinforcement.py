"""The table of actors: what is trained once is not trained again, and the curves are theirs."""

from functools import partial

import numpy as np
import pytest

from ncp_control.learning.reinforcement import progress
from ncp_control.learning.results import ResultsFile
from scripts.reproduce import reproduce
from scripts.reproduction import reinforcement
from scripts.reproduction.completion import Reproduce
from scripts.training.ppo_settings import PPO
from scripts.training.reinforcement import CURVE_POINTS, MEASURES, learning_curve


def test_the_table_goes_on_and_ends_in_a_figure(tmp_path, monkeypatch, capsys):
    short = {"num_envs": 2, "rollout_steps": 64, "batch_size": 64, "epochs": 1}
    quick = partial(PPO, evaluation_episodes=1, **short)
    monkeypatch.setattr(reinforcement, "PPO", quick)
    settings = {"table": "reinforcement", "tasks": ("walker2d-positions",), "seeds": 1}
    settings |= {"steps": 256, "results": tmp_path}
    reproduce(Reproduce(models=("ltc",), **settings))
    reproduce(Reproduce(models=("ltc", "mlp"), **settings))
    printed = capsys.readouterr().out
    assert "1 of 2 trainings are there" in printed
    assert "| ltc   | 1 " in printed and "| mlp   | 1 " in printed
    assert (tmp_path / "reinforcement-256-steps.png").stat().st_size > 10_000
    # A figure shows what the file has, whichever models were asked for last.
    results = ResultsFile(tmp_path / "reinforcement.csv", MEASURES)
    everything = reinforcement.found(results, reinforcement.TASKS, reinforcement.COLOURS, 256)
    (shown,) = everything.values()
    assert {model for model, rows in shown.items() if rows} == {"ltc", "mlp"}


def test_a_training_that_was_stopped_goes_on(tmp_path, monkeypatch):
    short = {"num_envs": 2, "rollout_steps": 64, "batch_size": 64, "epochs": 1}
    monkeypatch.setattr(reinforcement, "PPO", partial(PPO, evaluation_episodes=1, **short))
    asked = Reproduce(table="reinforcement", models=("mlp",), tasks=("walker2d-positions",),
                      seeds=1, steps=384, results=tmp_path, runs=tmp_path / "runs")  # fmt: skip
    save, saved = progress.save_checkpoint, []

    def save_or_stop(path, model):
        save(path, model)
        saved.append(model.num_timesteps)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress, "save_checkpoint", save_or_stop)
    with pytest.raises(KeyboardInterrupt):
        reproduce(asked)
    reproduce(asked)
    assert saved[:3] == [0, 128, 128], "it goes on from its checkpoint"
    (row,) = ResultsFile(tmp_path / "reinforcement.csv", MEASURES).rows()
    assert row["model"] == "mlp"


def test_an_unknown_task_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"`tasks` must be one of .*walker2d-full"):
        reproduce(Reproduce(table="reinforcement", tasks=("walker2d_full",)))


def test_a_learning_curve_is_read_off_between_the_rollouts():
    steps = 1000
    rows = [{"step": 100, "loss": 1.0}]  # no episode has ended yet
    rows += [{"step": step, "mean_return": 2.0 * step} for step in (200, 500, 1000)]
    curve = np.array([float(value) for value in learning_curve(rows, steps).split()])
    at = np.arange(1, CURVE_POINTS + 1) * steps / CURVE_POINTS
    assert np.isnan(curve[at < 200]).all()
    np.testing.assert_allclose(curve[at >= 200], 2.0 * at[at >= 200], atol=0.5)


def test_a_training_too_short_for_a_curve_is_drawn_without(tmp_path):
    (axes,) = reinforcement.draw_curves({"task": {"ltc": [{"curve": ""}]}}, 10).axes
    assert not axes.lines
    (axes,) = reinforcement.draw_curves({"task": {"ltc": [{"curve": "1 " * 50}]}}, 10).axes
    assert len(axes.lines) == 1
