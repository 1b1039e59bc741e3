"""SequencePPO with frames: a conv head that learns with the circuit, or stays as it is."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from ncp_control.cells import GRU
from ncp_control.learning.reinforcement.checkpoint import load_checkpoint, save_checkpoint
from ncp_control.learning.reinforcement.elapsed import ObserveElapsed
from ncp_control.learning.reinforcement.perceived import PerceivedEnv
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.policy.heads import Head, make_head, register_head
from policies.from_sb3 import policy_from_sb3
from policies.motor_circuits import make_motor_cell

FRAME = (24, 24, 3)
FRAME_S = 0.1


class Cue(gymnasium.Env):
    """The first frame shows a bright square; its side is to be chosen when it is gone.

    Three frames of noise follow, with a point for each right answer.
    """

    action_space = spaces.Discrete(2)

    def __init__(self, shape=FRAME):
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.side, self.num_steps = int(self.np_random.integers(2)), 0
        return self.show(), {"dt_s": FRAME_S}

    def show(self):
        frame = self.np_random.integers(0, 60, self.observation_space.shape, np.uint8)
        if self.num_steps == 0:
            width = frame.shape[1] // 2
            frame[8:16, 2 + self.side * width : width - 2 + self.side * width] += 150
        return frame

    def step(self, action):
        is_right = self.num_steps > 0 and int(action) == self.side
        self.num_steps += 1
        info = {"dt_s": FRAME_S * (1 + self.num_steps % 3)}
        return self.show(), float(is_right), self.num_steps == 4, False, info


class Film(Cue):
    """The same with three motors, which the frames do not depend on."""

    action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def step(self, action):
        seen, _, is_over, _, info = super().step(0)
        return seen, float(action[0] - action[1] * action[2]), is_over, False, info


def student(make_world, *, num_outputs, seed=0, env=None, learning_rate=3e-3, **policy_kwargs):
    torch.manual_seed(seed)
    env = DummyVecEnv([lambda: Monitor(make_world())] * 4) if env is None else env
    cell = make_motor_cell("ltc", 32, 10, num_outputs, frame_s=FRAME_S)
    kwargs = {"cell": cell, "head": "light", "critic_widths": (16,), **policy_kwargs}
    return SequencePPO(
        env,
        n_steps=32,
        sequence_length=16,
        batch_size=64,
        n_epochs=2,
        gamma=0.9,
        learning_rate=learning_rate,
        policy_kwargs=kwargs,
        seed=seed,
    )


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(module, before):
    after = module.state_dict()
    return [name for name, tensor in before.items() if not torch.equal(after[name], tensor)]


@pytest.mark.slow
def test_a_memory_is_learned_from_pixels():
    env = DummyVecEnv([lambda: Monitor(Cue())] * 8)
    critic = GRU(32, 16, 16, frame_s=FRAME_S)
    model = student(Cue, env=env, num_outputs=2, critic_cell=critic, actor_lr_scale=3.0)
    model.ent_coef = 0.02  # without it one seed of twelve chose one side for good
    model.learn(16 * 1024)
    policy = policy_from_sb3(model)
    world, points = Cue(), 0.0
    for seed in range(100):
        policy.reset()
        seen, _ = world.reset(seed=seed)
        is_over = False
        while not is_over:
            seen, reward, is_over, _, _ = world.step(policy.act(seen)[0])
            points += reward
    assert points > 0.95 * 300  # half of it without memory


def test_frames_reach_the_head_as_they_are():
    model = student(Cue, num_outputs=2)
    assert model.observation_space.shape == FRAME  # sb3 would put the channels first
    _, callback = model._setup_learn(10_000)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    stored = model.rollout_buffer.observations
    assert stored.dtype == np.uint8 and stored.shape == (32, 4, *FRAME)
    head = model.policy.perception.head
    batch = next(iter(model.rollout_buffer.get(64)))
    assert batch.observations.dtype == torch.uint8
    features = model.policy.extract_features(batch.observations)
    torch.testing.assert_close(features, head(batch.observations))


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("learns", [True, False])
def test_minibatches_give_the_values_and_probabilities_of_the_rollout(learns, timed):
    def make():
        return ObserveElapsed(Film((20, 30, 1))) if timed else Film((20, 30, 1))

    critic = GRU(32, 4, 4, frame_s=FRAME_S)
    model = student(make, num_outputs=3, critic_cell=critic, head_learns=learns)
    _, callback = model._setup_learn(10_000)
    for _ in range(2):
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    if not learns:
        assert model.rollout_buffer.observations.shape == (32, 4, 32 + timed)
    for batch in model.rollout_buffer.get(64):
        with torch.no_grad():
            values, log_probs, _ = model.policy.evaluate_actions(
                batch.observations, batch.actions, batch.lstm_states, batch.episode_starts
            )
        torch.testing.assert_close(log_probs, batch.old_log_prob, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(values.flatten(), batch.old_values, atol=1e-4, rtol=1e-4)


def test_a_head_learns_with_its_circuit_at_the_critics_rate():
    model = student(Film, num_outputs=3, actor_lr_scale=5.0)
    policy = model.policy
    optimized = [p for group in policy.optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, optimized)) == sorted(map(id, policy.parameters()))
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    model.learn(256)
    assert sorted(moved(policy, before)) == sorted(before)
    actor, *others = (group["lr"] for group in policy.optimizer.param_groups)
    assert others == [pytest.approx(actor / 5.0)] * 3  # head, noise, critic


def test_a_frozen_head_stays_and_is_run_once_a_step():
    driver = FramesPolicy(make_motor_cell("ltc", 32, 10, 3, frame_s=FRAME_S), frame_shape=FRAME)
    model = student(Film, num_outputs=3, head=driver.head, head_learns=False)
    before = weights(model.policy.perception.head)
    frames_seen = []
    model.policy.perception.head.register_forward_hook(
        lambda _, inputs, __: frames_seen.append(len(inputs[0]))
    )
    rest = weights(model.policy.lstm_actor)
    model.learn(256)
    assert moved(model.policy.perception.head, before) == []
    assert moved(model.policy.lstm_actor, rest)
    assert sum(frames_seen) == 256 + 2 * 4  # and at the end of a rollout for the last values
    assert moved(policy_from_sb3(model).head, weights(driver.head)) == []


def test_a_frozen_head_learns_as_behind_perceived_features():
    driver = FramesPolicy(make_motor_cell("ltc", 32, 10, 3, frame_s=FRAME_S), frame_shape=FRAME)
    inside = student(Film, num_outputs=3, head=driver.head, head_learns=False)
    env = PerceivedEnv(DummyVecEnv([lambda: Monitor(Film())] * 4), driver)
    outside = student(Film, env=env, num_outputs=3, head=None)
    outside.policy.load_state_dict(inside.policy.state_dict(), strict=False)
    for model in (inside, outside):
        model.set_random_seed(1)
        model.learn(256)
    assert moved(outside.policy, weights(outside.policy)) == []
    after = inside.policy.state_dict()
    assert moved(outside.policy, {name: after[name] for name in outside.policy.state_dict()}) == []


def test_a_critic_that_learns_alone_leaves_the_head():
    model = student(Film, num_outputs=3)
    model.critic_first_steps = 128
    before = weights(model.policy)
    model.learn(128)
    changed = moved(model.policy, before)
    assert changed and all("value" in name for name in changed), changed
    model.learn(128, reset_num_timesteps=False)
    assert any("head" in name for name in moved(model.policy, before))


@pytest.mark.parametrize("learns", [True, False])
def test_a_resumed_training_goes_on(tmp_path, learns):
    stopped = student(Cue, num_outputs=2, head_learns=learns).learn(128)
    save_checkpoint(tmp_path / "training.pt", stopped)
    resumed = []
    for seed in (5, 6):  # whatever they were built with
        model = student(Cue, num_outputs=2, head_learns=learns, seed=seed)
        load_checkpoint(tmp_path / "training.pt", model)
        assert moved(model.policy, weights(stopped.policy)) == []
        model.learn(128, reset_num_timesteps=False)
        resumed.append(model.policy)
    assert moved(resumed[0], weights(resumed[1])) == []


def test_sb3s_own_file_brings_head_and_circuit_back(tmp_path):
    model = student(Cue, num_outputs=2).learn(128)
    model.save(tmp_path / "model.zip")
    again = SequencePPO.load(tmp_path / "model.zip", env=model.get_env())
    assert moved(again.policy, weights(model.policy)) == []
    again.learn(128)


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize(("make", "num_outputs"), [(Cue, 2), (Film, 3)])
def test_an_exported_policy_acts_as_the_model(tmp_path, make, num_outputs, timed):
    shape = (30, 26, 2)

    def world():
        return ObserveElapsed(make(shape)) if timed else make(shape)

    env = VecNormalize(DummyVecEnv([world]), norm_obs=False)
    model = student(world, env=env, num_outputs=num_outputs, actor_lr_scale=10.0).learn(64)
    policy_from_sb3(model).save(tmp_path / "policy")
    policy = FramesPolicy.load(tmp_path / "policy")
    assert isinstance(policy, FramesPolicy) and policy.frame_shape == shape
    assert policy.choices == ((2,) if make is Cue else ())
    one, state, is_first, acted = world(), None, True, []
    seen, info = one.reset(seed=1)
    for _ in range(16):  # four episodes
        expected, state = model.predict(
            seen, state, episode_start=np.array([is_first]), deterministic=True
        )
        if is_first:
            policy.reset()
        frame = seen["observation"] if timed else seen
        acted.append(policy.act(frame, info["dt_s"] if timed else None))
        np.testing.assert_allclose(acted[-1], np.atleast_1d(expected), atol=1e-5)
        seen, _, is_first, _, info = one.step(expected)
        if is_first:
            seen, info = one.reset()
    assert np.std(acted, axis=0).min() > 1e-4 or make is Cue


class Brightness(Head):
    """A user's own head: the mean of each channel, weighed."""

    def __init__(self, frame_shape):
        super().__init__()
        self.num_features = frame_shape[2]
        self.weight = torch.nn.Parameter(torch.ones(self.num_features))

    def forward(self, frames):
        return frames.to(self.weight.dtype).mean(dim=(1, 2)) / 255.0 * self.weight


def test_a_head_of_ones_own_learns_and_is_exported(tmp_path):
    register_head("mean-brightness", Brightness)
    cell = GRU(5, 4, 2, frame_s=FRAME_S)
    model = student(lambda: Cue((20, 24, 5)), num_outputs=2, head="mean-brightness", cell=cell)
    model.learn(128)
    policy_from_sb3(model).save(tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy")
    assert policy.head.weight.ne(1.0).all()
    seen = np.full((20, 24, 5), 80, np.uint8)
    assert policy.act(seen) == model.predict(seen, deterministic=True)[0]


def test_a_head_that_does_not_fit_is_refused():
    for kwargs, told in (
        ({"head": None}, r"`head` must be given for frames of \(24, 24, 3\), got None"),
        ({"head": "heavy"}, "`head` must be one of"),
        ({"head": make_head("light", (24, 24, 1))}, r"one for \(24, 24, 1\)"),
        ({"encoder": (4,)}, "`encoder` must be empty for frames"),
    ):
        with pytest.raises(ValueError, match=told):
            student(Cue, num_outputs=2, **kwargs)
    env = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")])
    with pytest.raises(ValueError, match="`head` must be None for numbers, got one"):
        SequencePPO(env, policy_kwargs={"cell": GRU(4, 4, 2), "head": "light"})


def test_a_head_without_a_name_is_not_exported():
    head = make_head("light", FRAME)
    head.name = "mine"
    model = student(Cue, num_outputs=2, head=head).learn(64)
    with pytest.raises(ValueError, match="`head` must be one of .* got ConvHead named 'mine'"):
        policy_from_sb3(model)
