import contextlib
import copy
import csv
import json
import sys
from types import SimpleNamespace
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from envs.driving import LaneKeepingConfig, LaneKeepingEnv
from ncp_control import LTC, Policy, auto_ncp
from ncp_control.cells import Feedforward
from ncp_control.learning.reinforcement.perceived import PerceivedEnv
from ncp_control.policy import VectorPolicy, load
from ncp_control.worlds import find_world
from policies.driving import make_driving_policy
from scripts.evaluate import evaluate_policy
from scripts.evaluation.settings import Evaluate
from scripts.training.ppo import make_model, train_ppo
from scripts.training.ppo_settings import PPO
from scripts.training.reinforcement import Task, export_policy, measure


class Camera(gymnasium.Env):
    """Shows black frames."""

    metadata: ClassVar = {"render_fps": 30}
    observation_space = spaces.Box(0, 255, (48, 64, 3), np.uint8)
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((48, 64, 3), np.uint8), {}

    def step(self, action):
        return np.zeros((48, 64, 3), np.uint8), 0.0, False, False, {}


@pytest.fixture(autouse=True)
def short_episodes(monkeypatch):
    monkeypatch.setattr("scripts.training.reinforcement.EPISODE_KM", 0.02)


@pytest.fixture
def driver(tmp_path):
    """An untrained driver on frames, saved."""
    driver = make_driving_policy("ncp", head="light")
    driver.contract = find_world("LaneKeeping-v0").contract
    driver.save(tmp_path / "driver")
    return driver


def settings(tmp_path, **changes) -> PPO:
    defaults = {"steps": 256, "num_envs": 2, "episode_s": 60.0, "evaluation_episodes": 1}
    defaults |= {"runs": tmp_path / "runs", "results": tmp_path / "results.csv"}
    if "policy" not in changes:
        defaults |= {"world": "LaneKeeping-v0", "world_options": ("observe=numbers",)}
    return PPO(**(defaults | changes))


def test_a_driver_from_numbers_is_measured_and_can_be_measured_again(
    type_command, tmp_path, capsys
):
    train_ppo(settings(tmp_path))
    assert "crashes_per_km" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    policy = Policy.load(run / "policy")
    assert policy.act(np.zeros(14, np.float32)).shape == (1,)
    words = [run / "policy", "--km", "0.02", "--results", "driving.csv"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    printed = capsys.readouterr().out
    assert f"| {run.name} |" in printed and "report: " in printed
    with (tmp_path / "driving.csv").open(newline="") as file:
        assert [row["settings"] for row in csv.DictReader(file)] == ["numbers noise=0 km=0.02"]
    assert type_command(evaluate_policy, Evaluate, run / "policy", "--camera", "mujoco") == 2
    refusal = "`camera` must be left out for a policy that sees no frames"
    assert refusal in capsys.readouterr().err


def test_a_driver_is_measured_under_what_it_learns_under(tmp_path):
    driver = load("drive-ncp")
    calm, late = (
        measure(Task.of(settings(tmp_path, world_options=(), delay_steps=steps)), driver)
        for steps in (0, 40)
    )
    assert late["mean_cross_track_m"] > calm["mean_cross_track_m"]


def test_a_driver_on_a_road_with_traffic_is_measured_on_other_tracks(tmp_path, monkeypatch):
    measured = []

    def walk(policy, where):
        measured.append(dict(where.options))
        return np.zeros(2)

    monkeypatch.setattr("scripts.training.reinforcement.returns_in", walk)
    asked = settings(tmp_path, world="RoadDriving-v0", world_options=("friction=0.8",))
    measure(Task.of(asked), load("road-ltc"))
    assert measured[0]["tracks"] == "held_out" and measured[0]["on_crash"] == "recover"
    assert measured[0]["friction"] == 0.8


def test_slow_neurons_are_set_where_frames_are_lost_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "own_camera", SimpleNamespace(make=Camera))
    asked = settings(
        tmp_path,
        world="own_camera:make",
        world_options=(),
        cell="ltc",
        tau_s=(0.02, 0.5),
        drop_probability=0.2,
    )
    with contextlib.closing(make_model(Task.of(asked)).env) as env:
        assert env.num_envs == 2


def test_a_driver_on_frames_goes_on_learning_behind_its_conv_head(tmp_path, driver):
    changes = {"policy": tmp_path / "driver", "critic_first_steps": 0}
    tuned = train_ppo(settings(tmp_path, **changes))
    before, after = driver.state_dict(), tuned.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("circuit.") for name in moved)
    (run,) = (tmp_path / "runs").iterdir()
    last = Policy.load(run / "checkpoints" / "last").state_dict()
    assert all(torch.equal(after[name], last[name]) for name in after), "a driver as well"
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["driver before", "driver after"]
    place, told = rows[0]["settings"].split(" {")
    assert place == "LaneKeeping-v0 full"
    told = json.loads("{" + told)
    assert told["learning_rate"] == 3e-4 and "encoder" not in told and "neurons" not in told
    assert all(float(row["driven_km"]) > 0.0 for row in rows)


def test_a_stopped_training_goes_on(tmp_path):
    train_ppo(settings(tmp_path, steps=512))
    (run,) = (tmp_path / "runs").iterdir()
    # As if stopped half-way: the settings say 1024 steps, the checkpoint has 512.
    config = run / "config.json"
    config.write_text(config.read_text().replace('"steps": 512', '"steps": 1024'))
    train_ppo(PPO(resume=run))
    lines = (run / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "512", "1024"]
    assert (run / "report" / "learning_curves.png").is_file()
    assert isinstance(Policy.load(run / "checkpoints" / "last"), VectorPolicy)
    assert (tmp_path / "results.csv").read_text().count("\nltc,0,") == 2


def test_settings_of_no_use_and_other_policies_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`cell` must be left out with --policy, got 'cfc'"):
        PPO(policy=tmp_path, cell="cfc")
    with pytest.raises(ValueError, match="`steps` must be more than the 16384 in which the critic"):
        PPO(policy=tmp_path, steps=16_384)
    for name in ("learning_rate", "actor_lr_scale"):
        with pytest.raises(ValueError, match=f"`{name}` must be positive and at most 1000"):
            PPO(**{name: 1e30})
    stranger = VectorPolicy(Feedforward(14, 8, 1), observation_size=14)
    stranger.save(tmp_path / "stranger")
    asked = {"policy": tmp_path / "stranger", "critic_first_steps": 0}
    with pytest.raises(ValueError, match="`policy` must carry a contract to act in 'LaneKeeping"):
        train_ppo(settings(tmp_path, world="LaneKeeping-v0", **asked))
    assert not (tmp_path / "runs").exists()


def test_a_driver_is_left_alone_while_the_critic_learns(tmp_path, driver):
    asked = settings(tmp_path, policy=tmp_path / "driver", steps=1024, critic_first_steps=512)
    task = Task.of(asked)
    model = make_model(task)
    critic = copy.deepcopy(model.policy.value_net.state_dict())
    model.learn(512)
    assert not torch.equal(critic["weight"], model.policy.value_net.weight)
    tuned = export_policy(model, task).state_dict()
    assert all(torch.equal(tensor, tuned[name]) for name, tensor in driver.state_dict().items())


@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_a_policy_on_numbers_goes_on_from_the_actions_it_takes(tmp_path, squash):
    torch.manual_seed(0)
    cell = LTC(auto_ncp(7, 19, 6), frame_s=0.008)
    walker = VectorPolicy(cell, observation_size=8, encoder=(7,), squash=squash)
    walker.fit_scale(torch.randn(20, 8))
    world = find_world("Walker2d-v5", observe="positions")
    walker.contract = world.contract
    walker.save(tmp_path / "walker")
    asked = settings(tmp_path, policy=tmp_path / "walker", critic_first_steps=0, num_envs=1)
    task = Task.of(asked)
    assert (task.where.env, task.where.observe) == ("walker2d", "positions")
    model = make_model(task)
    sensed = model.get_env().reset()
    acted, _ = model.predict(sensed, deterministic=True)
    seen = model.get_env().unwrapped.envs[0].unwrapped._get_obs()[:8]
    np.testing.assert_allclose(acted[0], np.clip(walker.act(seen), -1.0, 1.0), atol=1e-5)
    model.learn(256)
    tuned = export_policy(model, task).state_dict()
    moved = {name for name, old in walker.state_dict().items() if not torch.equal(old, tuned[name])}
    assert moved and all(name.startswith("circuit.") for name in moved)


def test_features_are_those_the_driver_sees():
    driver = make_driving_policy("ncp", head="light").eval()
    plain = DummyVecEnv([lambda: LaneKeepingEnv(LaneKeepingConfig(episode_s=0.1))] * 2)
    seen = DummyVecEnv([lambda: LaneKeepingEnv(LaneKeepingConfig(episode_s=0.1))] * 2)
    env = PerceivedEnv(seen, driver)
    for one in (plain, env):
        one.seed(0)
    frames, features = plain.reset(), env.reset()
    for _ in range(3):
        with torch.no_grad():
            expected = driver.perceive(torch.from_numpy(frames)).numpy()
        np.testing.assert_allclose(features, expected, atol=1e-5)
        action = np.full((2, 1), 0.5, np.float32)
        frames, _, _, plain_infos = plain.step(action)
        features, _, dones, infos = env.step(action)
    assert dones.all()  # 0.1 s are three steps
    last = torch.from_numpy(plain_infos[1]["terminal_observation"])[None]
    with torch.no_grad():
        expected = driver.perceive(last).numpy()[0]
    np.testing.assert_allclose(infos[1]["terminal_observation"], expected, atol=1e-5)
