import random

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import TQC
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from envs.locomotion.sensors import SensorNoise
from ncp_control.learning.reinforcement.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    steps_done,
)
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.progress import CHECKPOINT, Progress
from ncp_control.learning.run import Run


def test_sb3s_own_file_brings_the_policy_back(tmp_path, liquid, carts, learner):
    model = learner(liquid())
    model.learn(240)
    model.save(tmp_path / "model.zip")
    again = SequencePPO.load(tmp_path / "model.zip", env=carts())
    seen = np.array([[0.5]], np.float32)
    np.testing.assert_array_equal(
        again.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0]
    )
    again.learn(240)


def test_the_noise_of_wrappers_goes_on_after_a_resume(tmp_path, Cart, liquid):
    def noisy(seed):
        env = VecNormalize(DummyVecEnv([lambda: SensorNoise(Cart(), 0.1)] * 2), gamma=0.95)
        return SequencePPO(
            env,
            sequence_length=12,
            n_steps=60,
            batch_size=48,
            policy_kwargs={"cell": liquid()},
            seed=seed,
        )

    stopped = noisy(0)
    stopped.learn(120)
    save_checkpoint(tmp_path / "training.pt", stopped)
    resumed = noisy(1)
    load_checkpoint(tmp_path / "training.pt", resumed)
    noise = [
        [world.random.standard_normal() for world in model.env.unwrapped.envs]
        for model in (stopped, resumed)
    ]
    assert noise[0] == noise[1] and noise[0][0] != noise[0][1]


def test_a_resumed_training_is_where_the_stopped_one_was(tmp_path, liquid, learner):
    stopped = learner(liquid())
    stopped.learn(480)
    path = tmp_path / "training.pt"
    save_checkpoint(path, stopped)

    resumed, weights = [], []
    for seed in (5, 6):  # whatever they were built with
        torch.manual_seed(seed)
        model = learner(liquid(), seed=seed)
        random.seed(seed)
        load_checkpoint(path, model)
        assert model.num_timesteps == 480
        for name, tensor in stopped.policy.state_dict().items():
            torch.testing.assert_close(model.policy.state_dict()[name], tensor, rtol=0, atol=0)
        model.learn(240, reset_num_timesteps=False)
        assert model.num_timesteps == 720
        resumed.append(random.random())
        weights.append(torch.cat([p.detach().flatten() for p in model.policy.parameters()]))
    assert resumed[0] == resumed[1]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


@pytest.mark.parametrize("algorithm", [SAC, TQC])
def test_a_resumed_teacher_has_its_experience(tmp_path, algorithm):
    def make(seed):
        env = DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")] * 2)
        layers = {"net_arch": [8]}
        return algorithm(
            "MlpPolicy", env, learning_starts=20, buffer_size=200, seed=seed, policy_kwargs=layers
        )

    stopped = make(0)
    stopped.learn(120)
    save_checkpoint(tmp_path / "training.pt", stopped)
    assert steps_done(tmp_path / "training.pt") == 120
    resumed = []
    for seed in (5, 6):  # whatever they were built with
        model = make(seed)
        load_checkpoint(tmp_path / "training.pt", model)
        assert model.replay_buffer.size() == 60
        assert torch.equal(model.log_ent_coef, stopped.log_ent_coef)
        model.learn(120, reset_num_timesteps=False)  # the buffer overflows meanwhile
        assert model.num_timesteps == 240
        parameters = [*model.policy.parameters(), model.log_ent_coef]
        resumed.append(torch.cat([p.detach().flatten() for p in parameters]))
    torch.testing.assert_close(resumed[0], resumed[1], rtol=0, atol=0)
    model = make(0)
    model.replay_buffer.observations = model.replay_buffer.observations[:10]
    with pytest.raises(ValueError, match="does not fit this training"):
        load_checkpoint(tmp_path / "training.pt", model)


def test_what_is_no_checkpoint_of_this_training_is_refused(tmp_path, liquid, learner):
    model = learner(liquid())
    with pytest.raises(FileNotFoundError, match="`path` must be a checkpoint"):
        load_checkpoint(tmp_path / "training.pt", model)
    path = tmp_path / "training.pt"
    save_checkpoint(path, model)
    with pytest.raises(ValueError, match="does not fit this training"):
        load_checkpoint(path, learner(liquid(neurons=9)))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="must be a whole checkpoint"):
        load_checkpoint(path, model)


def test_a_run_shows_returns_and_speed_and_keeps_a_checkpoint(tmp_path, liquid, learner):
    run = Run(tmp_path)
    learner(liquid()).learn(480, callback=Progress(run, 480, checkpoint_every=1))
    run.close()
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "240", "480"]
    assert {"mean_return", "steps_per_s", "approx_kl"} <= set(lines[0].split(","))
    assert (run.checkpoints / CHECKPOINT).is_file()
