import random

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TQC
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3 import SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from envs.locomotion.sensors import SensorNoise
from ncp_control import LTC, auto_ncp
from ncp_control.cells import GRU, LSTM, Cell, CfC, Feedforward
from ncp_control.learning.reinforcement.actor_critic import (
    CircuitActorCritic,
    SequenceCore,
    check_action_space,
    observation_size,
)
from ncp_control.learning.reinforcement.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    steps_done,
)
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.reinforcement.progress import CHECKPOINT, Progress
from ncp_control.learning.run import Run
from policies.motor_circuits import make_motor_cell


class Cart(gymnasium.Env):
    """A frictionless cart to be held at 0, seen by its position alone.

    Without knowing its velocity nobody can stop it: an acceleration that depends on the position
    alone conserves energy.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    dt_s = 0.1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.speed = self.np_random.uniform(-1.0, 1.0, 2)
        self.num_steps = 0
        return self.observe(), {"dt_s": self.dt_s}

    def step(self, action):
        self.speed += self.dt_s * 4.0 * float(action[0])
        self.position += self.dt_s * self.speed
        self.num_steps += 1
        is_lost = abs(self.position) > 2.0
        # Uneven frames, so that an elapsed time that is lost or shifted shows.
        info = {"dt_s": self.dt_s * (1 + self.num_steps % 3)}
        return self.observe(), 1.0 - abs(self.position), is_lost, self.num_steps >= 40, info

    def observe(self):
        return np.array([self.position], dtype=np.float32)


def liquid(num_inputs: int = 1, *, neurons: int = 8) -> LTC:
    return LTC(auto_ncp(num_inputs, neurons, 1), frame_s=Cart.dt_s)


def carts(num_envs: int = 4, *, timed: bool = False) -> VecNormalize:
    def make():
        return Monitor(ObserveElapsed(Cart()) if timed else Cart())

    keys = ["observation"] if timed else None
    return VecNormalize(DummyVecEnv([make] * num_envs), gamma=0.95, norm_obs_keys=keys)


def learner(
    cell: Cell,
    *,
    timed: bool = False,
    seed: int = 0,
    critic_first_steps: int = 0,
    **policy_kwargs,
) -> SequencePPO:
    return SequencePPO(
        carts(timed=timed),
        critic_first_steps=critic_first_steps,
        sequence_length=12,
        n_steps=60,
        batch_size=48,
        n_epochs=2,
        policy_kwargs={"cell": cell, "critic_widths": (16,), **policy_kwargs},
        seed=seed,
    )


def test_a_sequence_with_episode_starts_is_what_sb3_does_frame_by_frame():
    cell = LSTM(3, 5, 2)
    core = SequenceCore(
        cell, encoder=(), observation_size=3, has_elapsed=False, hidden_size=cell.state_size
    )
    reference = nn.LSTM(3, 5)
    reference.load_state_dict(cell.lstm.state_dict())
    features = torch.randn(4 * 9, 3)
    starts = (torch.rand(4 * 9) < 0.3).float()
    hidden, memory = torch.randn(1, 4, 5), torch.randn(1, 4, 5)

    expected, (last_hidden, last_memory) = RecurrentActorCriticPolicy._process_sequence(
        features, (hidden, memory), starts, reference
    )
    packed = torch.cat([hidden, memory], dim=-1)
    outputs, (state, _) = CircuitActorCritic._process_sequence(
        features, (packed, torch.zeros_like(packed)), starts, core
    )
    torch.testing.assert_close(outputs, cell.output(expected))
    torch.testing.assert_close(state, torch.cat([last_hidden, last_memory], dim=-1))


@pytest.mark.parametrize(
    ("make_cell", "critic", "timed"),
    [
        (liquid, None, False),
        (liquid, lambda: GRU(1, 12, 12), True),
        (lambda: CfC(1, 6, 1, frame_s=0.1), lambda: GRU(1, 3, 3), True),
    ],
)
def test_minibatches_give_the_values_and_probabilities_of_the_rollout(make_cell, critic, timed):
    model = learner(make_cell(), timed=timed, critic_cell=critic and critic())
    model.policy.log_std.data.fill_(1.0)  # wild actions: carts get lost, episodes begin anywhere
    _, callback = model._setup_learn(10_000)
    for _ in range(2):  # the second begins in the middle of episodes
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    assert 4 < model.rollout_buffer.episode_starts[1:].sum() < 60

    num_steps = 0
    for batch in model.rollout_buffer.get(48):
        with torch.no_grad():
            values, log_probs, _ = model.policy.evaluate_actions(
                batch.observations, batch.actions, batch.lstm_states, batch.episode_starts
            )
        torch.testing.assert_close(log_probs, batch.old_log_prob, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(values.flatten(), batch.old_values, atol=1e-4, rtol=1e-4)
        num_steps += len(log_probs)
    assert num_steps == 4 * 60


def test_elapsed_time_reaches_the_circuit():
    core = SequenceCore(liquid(), encoder=(), observation_size=1, has_elapsed=True, hidden_size=8)
    states = torch.rand(1, 1, 8), torch.zeros(1, 1, 8)
    frozen = torch.tensor([[[0.7, 0.0]]])  # no time passes
    _, (state, _) = core(frozen, states, torch.tensor([[False]]))
    torch.testing.assert_close(state, states[0])
    for dt_s in (0.1, 0.3):
        outputs, _ = core(torch.tensor([[[0.7, dt_s]]]), states, torch.tensor([[False]]))
        expected, _ = core.circuit(torch.tensor([[[0.7]]]), states[0][0], dt_s=dt_s)
        torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("critic", [None, lambda: GRU(1, 4, 4)])
def test_every_parameter_is_in_the_optimizer_once_and_moves(critic):
    model = learner(liquid(3), encoder=(3,), critic_cell=critic and critic(), actor_lr_scale=5.0)
    policy = model.policy
    optimized = [p for group in policy.optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, optimized)) == sorted(map(id, policy.parameters()))

    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    model.learn(240)
    still = [name for name, p in policy.named_parameters() if torch.equal(p, before[name])]
    assert still == []
    actor, noise, rest = (group["lr"] for group in policy.optimizer.param_groups)
    assert actor == pytest.approx(5.0 * rest) and noise == rest


def test_at_first_the_critic_learns_alone():
    model = learner(liquid(), critic_first_steps=480)
    before = {name: p.detach().clone() for name, p in model.policy.named_parameters()}
    model.learn(480)
    moved = {n for n, p in model.policy.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all("value" in name for name in moved), moved
    model.learn(240, reset_num_timesteps=False)
    assert not torch.equal(model.policy.log_std, before["log_std"])


def test_two_trainings_from_the_same_arguments_share_no_weight():
    cell = liquid()
    one, other = learner(cell), learner(cell)
    before = other.policy.actor.circuit.cell.raw_weight.detach().clone()
    one.learn(240)
    assert torch.equal(other.policy.actor.circuit.cell.raw_weight, before)
    assert torch.equal(cell.raw_weight, before)


def test_sb3s_own_file_brings_the_policy_back(tmp_path):
    model = learner(liquid())
    model.learn(240)
    model.save(tmp_path / "model.zip")
    again = SequencePPO.load(tmp_path / "model.zip", env=carts())
    seen = np.array([[0.5]], np.float32)
    np.testing.assert_array_equal(
        again.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0]
    )
    again.learn(240)


def test_the_noise_of_wrappers_goes_on_after_a_resume(tmp_path):
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


def test_a_resumed_training_is_where_the_stopped_one_was(tmp_path):
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


def test_what_is_no_checkpoint_of_this_training_is_refused(tmp_path):
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


def test_a_run_shows_returns_and_speed_and_keeps_a_checkpoint(tmp_path):
    run = Run(tmp_path)
    learner(liquid()).learn(480, callback=Progress(run, 480, checkpoint_every=1))
    run.close()
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "240", "480"]
    assert {"mean_return", "steps_per_s", "approx_kl"} <= set(lines[0].split(","))
    assert (run.checkpoints / CHECKPOINT).is_file()


@pytest.mark.parametrize(
    "space", [spaces.Discrete(3), spaces.Box(-2.0, 2.0, (1,)), spaces.Box(-1.0, 1.0, (2, 2))]
)
def test_actions_no_motor_neuron_can_command_are_refused(space):
    with pytest.raises(ValueError, match=r"`action_space` must be Box\(-1, 1, \(n,\)\)"):
        check_action_space(space)


def test_observations_that_are_no_vector_are_refused():
    with pytest.raises(ValueError, match="`observation_space` must be"):
        observation_size(spaces.Box(0, 255, (8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="`observation_space` must be"):
        observation_size(spaces.Dict(a=spaces.Discrete(2)))


def test_a_cell_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="`cell` must have 1 outputs, one an action, got 2"):
        learner(Feedforward(1, 4, 2))
    with pytest.raises(ValueError, match="`cell` must take 1 inputs, got 3"):
        learner(liquid(3))
    with pytest.raises(ValueError, match="`sequence_length` must divide n_steps"):
        SequencePPO(carts(), sequence_length=7, policy_kwargs={"cell": liquid()})


def test_an_environment_without_elapsed_time_is_refused():
    env = ObserveElapsed(gymnasium.make("Pendulum-v1"))
    with pytest.raises(KeyError, match="`info` must carry dt_s"):
        env.reset()


def hold(cell: Cell, *, num_steps: int) -> float:
    """Learn to hold the cart; return the mean return of the last episodes, 40 at best."""
    model = SequencePPO(
        carts(16),
        sequence_length=20,
        n_steps=40,
        batch_size=320,
        learning_rate=3e-3,
        gamma=0.95,
        policy_kwargs={
            "cell": cell,
            "critic_cell": GRU(1, 16, 16),
            "critic_widths": (32,),
            "actor_lr_scale": 5.0 if isinstance(cell, LTC) else 1.0,
        },
        seed=0,
    ).learn(num_steps)
    return float(np.mean([episode["r"] for episode in model.ep_info_buffer]))


def test_a_circuit_learns_to_steer_towards_the_middle():
    """Short: away from chance (3); the slow test says that this takes the circuit's memory."""
    assert hold(make_motor_cell("ltc", 1, 12, 1, frame_s=Cart.dt_s), num_steps=6_400) > 8.0


@pytest.mark.slow
def test_a_liquid_circuit_solves_what_needs_memory_and_a_memoryless_policy_cannot():
    """Measured: circuit 31 to 35, memoryless 24; a cart let alone gets 3."""
    assert hold(make_motor_cell("ltc", 1, 12, 1, frame_s=Cart.dt_s), num_steps=40_000) > 28.0
    assert hold(Feedforward(1, 32, 1), num_steps=40_000) < 26.0
