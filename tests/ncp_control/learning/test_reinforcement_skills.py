"""Practice must show in what is recorded, and the recordings must be what the world did."""

import gymnasium
import numpy as np
import pytest

from ncp_control.learning import reinforcement_skills
from ncp_control.learning.reinforcement_skills import record_skill_levels


class Corridor(gymnasium.Env):
    """Walk right for a reward; a step to the left of zero ends the episode."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = 2.0, 0
        return np.array([self.place], np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.place += float(action[0])
        self.steps += 1
        is_over = self.place < 0.0
        return np.array([self.place], np.float32), float(action[0]), is_over, self.steps >= 20, {}


def record(monkeypatch, steps, **changes):
    monkeypatch.setattr(reinforcement_skills, "ROLLOUT_STEPS", 32)
    monkeypatch.setattr(reinforcement_skills, "BATCH_SIZE", 64)
    settings = {"num_traces": 4, "max_frames": 15, "min_frames": 3, "seed": 1} | changes
    return list(record_skill_levels(Corridor, steps, num_worlds=4, **settings))


def test_later_levels_are_better(monkeypatch):
    novice, expert = record(monkeypatch, (128, 3200))
    assert (novice.num_steps, expert.num_steps) == (128, 3200)
    assert np.mean(expert.returns) > np.mean(novice.returns) + 2.0
    for level in (novice, expert):
        for trace, total in zip(level.traces, level.returns, strict=True):
            assert trace.dtype == np.float32 and 3 <= len(trace) <= 15
            assert trace[0, 0] == 2.0  # as the world saw it, not as the policy's scaling did
            assert trace[-1, 0] - 2.0 == pytest.approx(total, abs=1e-4)


def test_actions_are_sampled(monkeypatch):
    (level,) = record(monkeypatch, (128,))
    assert not np.allclose(level.traces[0][:3], level.traces[1][:3])


def test_mistakes_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"`steps` must increase from 1 on, got \(5, 3\)"):
        record(monkeypatch, (5, 3))
    with pytest.raises(ValueError, match="`min_frames` must be reached by the policy, got 99"):
        record(monkeypatch, (128,), min_frames=99)
