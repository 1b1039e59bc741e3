import pickle
import random
import re
import zipfile

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import TQC
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecMonitor,
    VecNormalize,
)

from envs.locomotion.sensors import SensorNoise
from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.reinforcement.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    steps_done,
)
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.progress import CHECKPOINT, Progress
from ncp_control.learning.reinforcement.wrappers import running_averages
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


def test_a_longer_training_has_room_behind_the_experience_of_a_full_buffer(tmp_path):
    def make(buffer_size):
        env = DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")])
        layers = {"net_arch": [8]}
        return SAC("MlpPolicy", env, buffer_size=buffer_size, seed=0, policy_kwargs=layers)

    stopped = make(20)
    stopped.learn(27)  # full, and written over up to the seventh step
    save_checkpoint(tmp_path / "training.pt", stopped)
    model = make(30)
    load_checkpoint(tmp_path / "training.pt", model)
    assert (model.replay_buffer.pos, model.replay_buffer.full) == (20, False)
    oldest_first = np.roll(stopped.replay_buffer.rewards, -7, axis=0)
    np.testing.assert_array_equal(model.replay_buffer.rewards[:20], oldest_first)
    with pytest.raises(ValueError, match="it has experience of 20 steps, .* for a buffer of 10"):
        load_checkpoint(tmp_path / "training.pt", make(10))


def test_worlds_in_other_processes_are_seeded_anew(tmp_path, liquid, Cart):
    def make():
        worlds = SubprocVecEnv([Cart] * 2, start_method="fork")
        settings = {"sequence_length": 12, "n_steps": 60, "batch_size": 60, "n_epochs": 1}
        kwargs = {"cell": liquid(), "critic_widths": (8,)}
        return SequencePPO(VecNormalize(worlds), policy_kwargs=kwargs, seed=3, **settings)

    stopped = make()
    stopped.learn(120)
    save_checkpoint(tmp_path / "training.pt", stopped)
    begun, weights = [], []
    for _ in range(2):
        model = make()
        load_checkpoint(tmp_path / "training.pt", model)
        model.learn(120, reset_num_timesteps=False)
        assert model.num_timesteps == 240
        begun.append(model.env.get_attr("np_random_seed"))
        weights.append(torch.cat([p.detach().flatten() for p in model.policy.parameters()]))
        model.env.close()
    stopped.env.close()
    assert torch.equal(*weights)
    assert begun[0] == begun[1] and 3 not in begun[0], "not the worlds of the beginning again"


def test_every_running_average_is_there_after_a_resume(tmp_path, liquid, Cart):
    def make():
        env = VecNormalize(VecMonitor(VecNormalize(DummyVecEnv([Cart]), gamma=0.9)))
        settings = {"sequence_length": 12, "n_steps": 60, "batch_size": 60, "n_epochs": 1}
        return SequencePPO(env, policy_kwargs={"cell": liquid()}, seed=0, **settings)

    stopped, resumed = make(), make()
    stopped.learn(60)
    save_checkpoint(tmp_path / "training.pt", stopped)
    load_checkpoint(tmp_path / "training.pt", resumed)
    written, read = running_averages(stopped.env), running_averages(resumed.env)
    assert list(read) == ["observation", "return", "1.observation", "1.return"]
    for name in written:
        np.testing.assert_array_equal(written[name].mean, read[name].mean)
        assert written[name].count == read[name].count > 60


@pytest.fixture
def stored(tmp_path, liquid, learner):
    """A checkpoint of a training of 240 steps, as it was written."""
    model = learner(liquid())
    model.learn(240)
    path = tmp_path / "training.pt"
    save_checkpoint(path, model)
    return path


def test_nothing_that_is_not_finite_is_written(stored, liquid, learner):
    model = learner(liquid())
    model.learn(240)
    whole = stored.read_bytes()
    damages = {
        "parameters.policy.log_std": model.policy.log_std.data,
        "parameters.policy.optimizer.state.0.exp_avg_sq": next(
            iter(model.policy.optimizer.state.values())
        )["exp_avg_sq"],
        "averages.observation.var": model.env.obs_rms.var,
        "averages.return.mean": model.env.ret_rms,
    }
    for name, values in damages.items():
        if name.endswith("return.mean"):
            kept, values.mean = values.mean, np.array(np.nan)
        else:
            kept = values[0].copy() if isinstance(values, np.ndarray) else values[0].clone()
            values[0] = np.inf
        with pytest.raises(DivergenceError, match=f"NaN or infinity in `{name}` after 240 steps"):
            save_checkpoint(stored, model)
        if name.endswith("return.mean"):
            values.mean = kept
        else:
            values[0] = kept
    assert stored.read_bytes() == whole, "what was good stays"
    save_checkpoint(stored, model)


def test_what_is_no_checkpoint_of_this_training_is_refused(tmp_path, stored, liquid, learner):
    with pytest.raises(FileNotFoundError, match="`path` must be a checkpoint"):
        load_checkpoint(tmp_path / "none.pt", learner(liquid()))
    other = learner(liquid(neurons=9))
    before = [weight.clone() for weight in other.policy.parameters()]
    told = r"does not fit this training: it has `.*` of shape \(\d+,\) instead of \(\d+,\)\. Resume"
    with pytest.raises(ValueError, match=told):
        load_checkpoint(stored, other)
    assert all(map(torch.equal, before, other.policy.parameters())), "nothing was changed"


def rewrite(path, **changes):
    content = torch.load(path, weights_only=True)
    for name, value in changes.items():
        *parts, last = name.split("__")
        place = content
        for part in parts:
            place = place[part]
        place[last] = value
    torch.save(content, path)


def pack(path):
    """Compress the file: a few bytes can then claim gigabytes."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "must be a whole checkpoint"),
        (lambda path: path.write_bytes(b""), "must be a whole checkpoint"),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), "must be a whole checkpoint"),
        (lambda path: torch.save({"x": Evil()}, path), "must be a whole checkpoint"),
        (pack, "must be a whole checkpoint"),
        (lambda path: torch.save([1], path), "must be a checkpoint of format version 3"),
        (lambda path: torch.save({"format_version": 3}, path), "without its number of steps"),
        (lambda path: rewrite(path, num_timesteps="7"), "without its number of steps"),
        (lambda path: rewrite(path, parameters=1), "does not fit this training"),
        (lambda path: rewrite(path, averages={}), "`averages` without `observation`"),
        (lambda path: rewrite(path, averages__return__count="x"), "`averages.return.count` that"),
        (lambda path: rewrite(path, num_updates=None), "`num_updates` that is no int"),
        (lambda path: rewrite(path, experience={}), "it has experience, which"),
        (lambda path: rewrite(path, generators="{}"), "its random generators are not those"),
        (lambda path: rewrite(path, generators="["), "its random generators are not those"),
        (lambda path: rewrite(path, torch_generator=torch.zeros(3)), "`torch_generator` of shape"),
        (
            lambda path: rewrite(path, parameters__policy__log_std=torch.tensor([torch.nan])),
            "must hold finite numbers, got NaN or infinity in `parameters.policy.log_std`: the",
        ),
    ],
)
def test_damaged_checkpoints_end_in_one_sentence(stored, liquid, learner, damage, message):
    damage(stored)
    with pytest.raises(ValueError, match=message) as raised:
        load_checkpoint(stored, learner(liquid()))
    assert str(raised.value).startswith(str(stored)) and "\n" not in str(raised.value)


def test_a_checkpoint_of_more_worlds_is_refused(stored, liquid, carts):
    settings = {"sequence_length": 12, "n_steps": 60, "batch_size": 48}
    kwargs = {"cell": liquid(), "critic_widths": (16,)}
    model = SequencePPO(carts(2), policy_kwargs=kwargs, **settings)
    with pytest.raises(ValueError, match="generators are not those of the 2 environments. Resume"):
        load_checkpoint(stored, model)


def test_a_run_shows_returns_and_speed_and_keeps_a_checkpoint(tmp_path, liquid, learner):
    run = Run(tmp_path)
    learner(liquid()).learn(480, callback=Progress(run, 480, checkpoint_every=1))
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "240", "480"]
    assert {"mean_return", "steps_per_s", "approx_kl"} <= set(lines[0].split(","))
    assert (run.checkpoints / CHECKPOINT).is_file()


@pytest.mark.parametrize(("num_steps", "shown"), [(4, ""), (60, r"return -?\d+, ")])
def test_a_return_is_shown_once_an_episode_has_ended(
    tmp_path, liquid, carts, capsys, num_steps, shown
):
    kwargs = {"cell": liquid(), "critic_widths": (16,)}
    model = SequencePPO(
        carts(), n_steps=num_steps, sequence_length=4, batch_size=16, policy_kwargs=kwargs
    )
    model.learn(1, callback=Progress(Run(tmp_path), 1))
    assert re.search(rf"step/s, {shown}\d+ steps/s\]", capsys.readouterr().err)
