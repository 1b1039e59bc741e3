"""Trainings by reinforcement that diverge end with one sentence, and what was good stays."""

import functools
import math
import tempfile

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import RescaleAction
from sb3_contrib import TQC
from stable_baselines3 import PPO, SAC

from ncp_control import LTC, Policy, auto_ncp
from ncp_control.learning.divergence import DivergenceError, has_diverged
from ncp_control.learning.reinforcement import teacher
from ncp_control.learning.reinforcement.checkpoint import load_checkpoint
from ncp_control.learning.reinforcement.guard import check_training
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.progress import CHECKPOINT, Progress
from ncp_control.learning.reinforcement.teacher import TeacherConfig, train_teacher
from ncp_control.learning.reinforcement_skills import record_skill_levels
from ncp_control.learning.run import Run
from policies.from_sb3 import policy_from_sb3

TOLD = r"must stay finite, got NaN or infinity .* after \d+ steps\. Begin it anew with a lower"


def test_a_rate_that_is_far_too_high_ends_with_one_sentence(liquid, carts):
    kwargs = {"cell": liquid(), "critic_widths": (16,)}
    lengths = {"sequence_length": 12, "n_steps": 60, "batch_size": 48}
    model = SequencePPO(carts(), learning_rate=1000.0, policy_kwargs=kwargs, seed=0, **lengths)
    with pytest.raises(DivergenceError, match=TOLD) as raised:
        model.learn(2400)
    assert "tensor(" not in str(raised.value) and len(str(raised.value).splitlines()) == 1


class Fog(gymnasium.ObservationWrapper):
    """A sensor that fails after some steps."""

    steps = 0

    def observation(self, observation):
        self.steps += 1
        return observation * (np.nan if self.steps > 20 else 1.0)


class Broken(LTC):
    """A cell that answers NaN."""

    def readout(self, state):
        return math.nan * super().readout(state)


@pytest.mark.parametrize(
    ("wrap", "cls", "advice"),
    [
        (Fog, LTC, r"after \d\d steps. The environment returned NaN or infinity: correct its"),
        (lambda env: env, Broken, "after 0 steps. Nothing has been learned yet: look for the"),
    ],
)
def test_the_learning_rate_is_not_blamed_for_what_it_cannot_do(wrap, cls, advice):
    env = RescaleAction(wrap(gymnasium.make("InvertedPendulum-v5")), np.float32(-1), np.float32(1))
    cell = cls(auto_ncp(num_sensory=4, num_neurons=12, num_motor=1), frame_s=0.04)
    kwargs = {"cell": cell, "critic_widths": (16,)}
    model = SequencePPO(env, policy_kwargs=kwargs, seed=0, n_steps=64, batch_size=64)
    with pytest.raises(DivergenceError, match=advice):
        model.learn(128)


def test_a_model_that_logs_nothing_leaves_no_folder(monkeypatch, tmp_path, capsys, learner, liquid):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = learner(liquid())
    model.learn(240)
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().out
    model.verbose = 1
    model.learn(240)
    assert "total_timesteps" in capsys.readouterr().out


def break_at(model, num_steps):
    """Let the update after so many steps put a NaN into the weights."""
    update = model.train

    def train():
        update()
        if model.num_timesteps >= num_steps:
            model.policy.log_std.data.fill_(math.nan)

    model.train = train


def test_what_was_good_before_a_divergence_can_be_loaded_and_resumed(tmp_path, liquid, learner):
    run, model = Run(tmp_path), learner(liquid())
    break_at(model, 720)
    progress = Progress(run, 960, export=policy_from_sb3, checkpoint_every=1)
    with pytest.raises(DivergenceError, match="`parameters.policy.log_std` after 720 steps"):
        model.learn(960, callback=progress)
    progress.close()
    assert [row["step"] for row in run.rows] == [240, 480], "nothing of the lost update is logged"
    for name in ("last", "best"):
        assert not has_diverged(Policy.load(run.checkpoints / name))
    resumed = learner(liquid())
    load_checkpoint(run.checkpoints / CHECKPOINT, resumed)
    assert resumed.num_timesteps == 480
    resumed.learn(240, reset_num_timesteps=False)
    check_training(resumed)


def test_a_training_can_be_resumed_from_its_first_step_on(tmp_path, liquid, learner):
    run, model = Run(tmp_path), learner(liquid())
    break_at(model, 0)
    with pytest.raises(DivergenceError):
        model.learn(480, callback=Progress(run, 480, export=policy_from_sb3))
    resumed = learner(liquid())
    load_checkpoint(run.checkpoints / CHECKPOINT, resumed)
    assert resumed.num_timesteps == 0


def test_the_best_policy_is_the_one_that_earned_the_highest_return(tmp_path, liquid, learner):
    run, model = Run(tmp_path), learner(liquid())
    returns, acted = iter([3.0, 7.0, math.nan, 5.0]), []

    class Told(Progress):
        def _on_rollout_end(self):
            self._returns.clear()
            self._returns.extend([next(returns)] * self.model.n_envs)
            acted.append(policy_from_sb3(self.model))
            super()._on_rollout_end()

    model.learn(960, callback=Told(run, 960, export=policy_from_sb3))
    best = Policy.load(run.checkpoints / "best").state_dict()
    same = [all(torch.equal(best[k], v) for k, v in p.state_dict().items()) for p in acted]
    assert same == [False, True, False, False]
    last, now = Policy.load(run.checkpoints / "last"), policy_from_sb3(model)
    assert all(map(torch.equal, last.state_dict().values(), now.state_dict().values()))


def test_looking_on_does_not_change_what_is_learned(tmp_path, liquid, learner):
    weights = []
    for export in (None, policy_from_sb3):
        torch.manual_seed(0)
        run = Run(tmp_path / str(export is None))
        model = learner(liquid(), encoder=()).learn(720, callback=Progress(run, 720, export=export))
        weights.append(torch.cat([p.detach().flatten() for p in model.policy.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("algorithm", "settings", "examined_before"),
    [
        (SAC, {"learning_starts": 16, "buffer_size": 200}, [0, 64]),
        (TQC, {"learning_starts": 16, "buffer_size": 200}, [0, 64]),
        (PPO, {"n_steps": 32}, [0, 64]),
    ],
)
def test_a_teacher_that_diverges_keeps_its_checkpoint(
    tmp_path, monkeypatch, algorithm, settings, examined_before
):
    def make_model(env, config, break_after=math.inf):
        layers = {"net_arch": [8]}
        shared = {"batch_size": 16, "seed": config.seed, "policy_kwargs": layers}
        model = algorithm("MlpPolicy", env, **shared, **settings)
        update = model.train

        def train(*args, **kwargs):
            update(*args, **kwargs)
            if model.num_timesteps >= break_after:
                next(model.policy.parameters()).data.fill_(math.nan)

        model.train = train
        return model

    config = TeacherConfig(algorithm="ppo", steps=192, examine_every=64, num_envs=2)
    examined = []
    asked = (lambda: gymnasium.make("Pendulum-v1"), config, lambda _, step: examined.append(step))
    with monkeypatch.context() as patch, pytest.raises(DivergenceError, match=TOLD):
        patch.setattr(teacher, "_make_model", functools.partial(make_model, break_after=100))
        train_teacher(*asked, checkpoint=tmp_path / "training.pt")
    assert examined == examined_before
    monkeypatch.setattr(teacher, "_make_model", make_model)
    train_teacher(*asked, checkpoint=tmp_path / "training.pt")  # goes on from there
    assert examined == [*examined_before, 128, 192]


def test_skill_levels_that_diverge_end_with_one_sentence(monkeypatch):
    monkeypatch.setattr("ncp_control.learning.reinforcement_skills.LEARNING_RATE", 1e20)
    levels = record_skill_levels(
        lambda: gymnasium.make("Pendulum-v1"),
        [512],
        num_traces=1,
        max_frames=20,
        min_frames=2,
        seed=0,
        num_worlds=2,
    )
    with pytest.raises(DivergenceError, match=TOLD):
        list(levels)


def test_weights_that_are_finite_and_too_large_to_act_with_are_not_saved(tmp_path, liquid, learner):
    run, model = Run(tmp_path), learner(liquid())
    update = model.train

    def train():
        update()
        if model.num_timesteps == 480:
            cell = model.policy.actor.circuit.cell
            for raw in (cell.raw_capacitance, cell.raw_leak_conductance, cell.raw_weight):
                raw.data.fill_(-1e4)  # all conductances are 0, and potentials 0 / 0

    model.train = train
    progress = Progress(run, 960, export=policy_from_sb3, checkpoint_every=1)
    with pytest.raises(DivergenceError, match="NaN or infinity for an action after 480 steps"):
        model.learn(960, callback=progress)
    progress.close()
    resumed = learner(liquid())
    load_checkpoint(run.checkpoints / CHECKPOINT, resumed)
    assert resumed.num_timesteps == 240
    assert np.isfinite(Policy.load(run.checkpoints / "last").act(np.zeros(1))).all()


def test_other_failures_are_not_called_a_divergence(liquid, learner):
    class Failed(Exception):
        pass

    def fail(*_):
        raise Failed

    model = learner(liquid())
    with pytest.raises(Failed):
        model.learn(240, callback=fail)
    assert np.isfinite(model.policy.log_std.item())
