import copy
import csv
import json

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from envs.driving import LaneKeepingConfig, LaneKeepingEnv
from ncp_control import Policy
from ncp_control.cells import Feedforward
from ncp_control.learning.reinforcement.perceived import PerceivedEnv
from ncp_control.policy import VectorPolicy
from policies.driving import make_driving_policy
from scripts.evaluate import Evaluate, evaluate_policy
from scripts.training.drive_rl import DriveRL, export_policy, make_model, train_drive_rl


def settings(tmp_path, **changes) -> DriveRL:
    defaults = {"steps": 256, "num_envs": 2, "episode_s": 60.0, "evaluation_km": 0.02}
    defaults |= {"runs": tmp_path / "runs", "results": tmp_path / "results.csv"}
    return DriveRL(**(defaults | changes))


def test_a_driver_from_numbers_is_measured_and_can_be_measured_again(
    type_command, tmp_path, capsys
):
    train_drive_rl(settings(tmp_path))
    assert "crashes/km" in capsys.readouterr().out.replace(" per ", "/")
    (run,) = (tmp_path / "runs").iterdir()
    policy = Policy.load(run / "policy")
    assert policy.act(np.zeros(14, np.float32)).shape == (1,)
    words = [run / "policy", "--km", "0.02", "--results", "driving.csv"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    printed = capsys.readouterr().out
    assert f"| {run.name} |" in printed and "report: " not in printed, "it has no film"
    with (tmp_path / "driving.csv").open(newline="") as file:
        assert [row["settings"] for row in csv.DictReader(file)] == ["numbers noise=0 km=0.02"]
    for words in (["--live"], ["--seed", "1"]):
        assert type_command(evaluate_policy, Evaluate, run / "policy", *words) == 2
        refusal = f"`{words[0][2:]}` must be left out for a policy that sees no frames"
        assert refusal in capsys.readouterr().err


def test_a_driver_on_frames_goes_on_learning_behind_its_conv_head(tmp_path):
    driver = make_driving_policy("ncp", head="light")
    driver.save(tmp_path / "driver")
    changes = {"policy": tmp_path / "driver", "critic_first_steps": 0}
    tuned = train_drive_rl(settings(tmp_path, **changes))
    before, after = driver.state_dict(), tuned.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("circuit.") for name in moved)
    (run,) = (tmp_path / "runs").iterdir()
    last = Policy.load(run / "checkpoints" / "last").state_dict()
    assert all(torch.equal(after[name], last[name]) for name in after), "a driver as well"
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["driver before", "driver after"]
    told = json.loads(rows[0]["settings"])
    assert told["learning_rate"] == 3e-4 and "cell" not in told and "neurons" not in told
    assert all(float(row["driven_km"]) > 0.0 for row in rows)


def test_a_stopped_training_goes_on(tmp_path):
    train_drive_rl(settings(tmp_path, steps=512))
    (run,) = (tmp_path / "runs").iterdir()
    # As if stopped half-way: the settings say 1024 steps, the checkpoint has 512.
    config = run / "config.json"
    config.write_text(config.read_text().replace('"steps": 512', '"steps": 1024'))
    train_drive_rl(DriveRL(resume=run))
    lines = (run / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "512", "1024"]
    assert (run / "report" / "learning_curves.png").is_file()
    assert isinstance(Policy.load(run / "checkpoints" / "last"), VectorPolicy)
    assert (tmp_path / "results.csv").read_text().count("\nltc,0,") == 2


def test_settings_of_no_use_and_other_policies_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`cell` must be left out with --policy, got 'cfc'"):
        DriveRL(policy=tmp_path, cell="cfc")
    with pytest.raises(ValueError, match="`critic_first_steps` must be left out without --policy"):
        DriveRL(critic_first_steps=512)
    with pytest.raises(ValueError, match="`steps` must be more than the 16384 in which the critic"):
        DriveRL(policy=tmp_path, steps=16_384)
    for name in ("learning_rate", "actor_lr_scale"):
        with pytest.raises(ValueError, match=f"`{name}` must be positive and at most 1000"):
            DriveRL(**{name: 1e30})
    walker = VectorPolicy(Feedforward(14, 8, 1), observation_size=14)
    walker.save(tmp_path / "walker")
    with pytest.raises(ValueError, match="`policy` must drive by frames, got .*walker'"):
        train_drive_rl(settings(tmp_path, policy=tmp_path / "walker", critic_first_steps=0))


def test_a_driver_is_left_alone_while_the_critic_learns(tmp_path):
    driver = make_driving_policy("ncp", head="light")
    asked = settings(tmp_path, policy=tmp_path, steps=1024, critic_first_steps=512)
    model = make_model(asked, driver)
    critic = copy.deepcopy(model.policy.value_net.state_dict())
    model.learn(512)
    assert not torch.equal(critic["weight"], model.policy.value_net.weight)
    tuned = export_policy(model, driver).state_dict()
    assert all(torch.equal(tensor, tuned[name]) for name, tensor in driver.state_dict().items())


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
