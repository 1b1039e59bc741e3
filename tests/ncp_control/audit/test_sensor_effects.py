"""Sensors held at their means, against a policy whose answer is known: a linear one."""

import numpy as np
import torch

from ncp_control import Circuit
from ncp_control.audit.ablation import sensor_effects
from ncp_control.cells import Cell
from ncp_control.records import join
from policies.driving import make_driving_policy


class Mix(Cell):
    """Outputs are a fixed mixture of the inputs, without memory."""

    def __init__(self, weights):
        super().__init__(len(weights), weights.shape[1], weights.shape[1], frame_s=0.1)
        self.weights = torch.nn.Parameter(weights)

    def project(self, inputs):
        return inputs @ self.weights

    def stepper(self):
        return lambda projected, state, dt_s: projected

    def readout(self, state):
        return state


def test_a_linear_policy_changes_by_weight_times_deviation(flat_policy):
    weights = torch.tensor([[0.2, 0.0], [0.0, -0.1], [0.05, 0.3]])
    policy = flat_policy(Circuit(Mix(weights)))
    seen = np.random.default_rng(0).normal(0.3, 0.5, (200, 3)).astype(np.float32)
    effects = sensor_effects(policy, seen, torch.full((200,), 0.1), ["a", "b", "c"])
    assert [effect.name for effect in effects] == ["a", "b", "c"]
    for effect, weight, column in zip(effects, weights.abs().numpy(), seen.T, strict=True):
        np.testing.assert_allclose(effect.rms, weight * column.std(), rtol=1e-4, atol=1e-7)


def test_a_number_beside_a_frame_is_held_and_the_frame_is_not():
    torch.manual_seed(0)
    policy = make_driving_policy("cnn", head="light", numbers=2)
    policy.fit_scale(torch.tensor([[0.0, -1.0], [10.0, 1.0]]))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (6, *policy.frame_shape), dtype=np.uint8)
    numbers = np.stack([np.arange(6.0), np.full(6, 0.5)], axis=1).astype(np.float32)
    dt_s = torch.full((6,), 1 / 30)
    speed, constant = sensor_effects(policy, join(frames, numbers), dt_s, ["speed", "constant"])
    assert speed.rms.shape == (1,) and speed.rms[0] > 1e-4 and constant.rms[0] == 0.0
    held = numbers.copy()
    held[:, 0] = 2.5
    done = []
    for one in (numbers, held):
        policy.reset()
        done.append([policy.act(record)[0] for record in join(frames, one)])
    expected = np.sqrt(np.mean(np.subtract(*done) ** 2))
    np.testing.assert_allclose(speed.rms[0], expected, rtol=1e-3)
