import numpy as np
import pytest
import torch
from torch import nn

from ncp_control import LTC, Policy, auto_ncp
from ncp_control.cells import LSTM, Feedforward
from policies.locomotion import OBSERVATION_LIMIT, LocomotionPolicy


def walking_circuit(inputs: int = 17) -> LTC:
    return LTC(auto_ncp(inputs, 32, 6), frame_s=0.05)


def test_an_encoder_and_a_squash_are_the_layers_they_say():
    policy = LocomotionPolicy(
        Feedforward(8, 16, 6), observation_size=17, encoder=(8,), squash="tanh"
    )
    policy.observation_mean.fill_(1.0)
    policy.observation_std.fill_(2.0)
    observation = torch.randn(1, 5, 17)

    first = policy.encoder[0]
    assert isinstance(first, nn.Linear)
    features = torch.tanh(first((observation - 1.0) / 2.0))
    outputs, _ = policy.circuit(features)
    torch.testing.assert_close(policy(observation)[0], torch.tanh(outputs))


def test_normalised_observations_are_clipped():
    policy = LocomotionPolicy(walking_circuit(), observation_size=17)
    assert policy.normalize(torch.full((17,), 1e6)).tolist() == [OBSERVATION_LIMIT] * 17


@pytest.mark.parametrize("squash", ["clip", "tanh"])
@pytest.mark.parametrize("make_cell", [walking_circuit, lambda: LSTM(17, 8, 6)])
def test_a_loaded_policy_acts_as_the_saved_one_and_as_the_sequence(tmp_path, make_cell, squash):
    policy = LocomotionPolicy(make_cell(), observation_size=17, squash=squash)
    policy.observation_std.uniform_(0.5, 2.0)
    policy.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    observations = np.random.default_rng(0).normal(size=(6, 17))

    with torch.no_grad():
        expected = policy(torch.from_numpy(observations)[None])[0][0].clamp(-1, 1)
    for brain in (policy, loaded):
        acted = np.stack([brain.act(observation) for observation in observations])
        np.testing.assert_allclose(acted, expected.numpy(), atol=2e-6)


def test_a_cell_of_another_width_is_refused():
    with pytest.raises(ValueError, match="`cell` must take 11 inputs, got 17"):
        LocomotionPolicy(walking_circuit(), observation_size=11)


def test_an_observation_of_another_width_is_refused():
    policy = LocomotionPolicy(walking_circuit(), observation_size=17)
    for width in (1, 16):
        with pytest.raises(ValueError, match=r"`observation` must hold 17 numbers, got shape"):
            policy.act(np.zeros(width))


def test_one_frame_and_numpy_sizes_make_a_policy_that_can_be_saved(tmp_path):
    cell = LTC(auto_ncp(8, 16, 6), frame_s=0.05)
    sizes = np.array([17, 8])
    policy = LocomotionPolicy(cell, observation_size=sizes[0], encoder=sizes[1:])
    policy.fit_scale(torch.ones(1, 17))
    policy.save(tmp_path / "policy")
    frame = np.full(17, 1.0005)
    np.testing.assert_array_equal(Policy.load(tmp_path / "policy").act(frame), policy.act(frame))
    assert torch.isfinite(policy.observation_std).all()
