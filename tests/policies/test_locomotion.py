import numpy as np
import pytest
import torch
from torch import nn

from ncp_control import LTC, Policy, auto_ncp
from ncp_control.cells import LSTM, Feedforward
from ncp_control.policy.vectors import OBSERVATION_LIMIT, VectorPolicy


def walking_circuit(inputs: int = 17) -> LTC:
    return LTC(auto_ncp(inputs, 32, 6), frame_s=0.05)


def test_an_encoder_and_a_squash_are_the_layers_they_say():
    policy = VectorPolicy(Feedforward(8, 16, 6), observation_size=17, encoder=(8,), squash="tanh")
    policy.observation_mean.fill_(1.0)
    policy.observation_std.fill_(2.0)
    observation = torch.randn(1, 5, 17)

    first = policy.encoder[0]
    assert isinstance(first, nn.Linear)
    features = torch.tanh(first((observation - 1.0) / 2.0))
    outputs, _ = policy.circuit(features)
    torch.testing.assert_close(policy(observation)[0], torch.tanh(outputs))


def test_normalised_observations_are_clipped():
    policy = VectorPolicy(walking_circuit(), observation_size=17)
    assert policy.normalize(torch.full((17,), 1e6)).tolist() == [OBSERVATION_LIMIT] * 17


@pytest.mark.parametrize("squash", ["clip", "tanh"])
@pytest.mark.parametrize("make_cell", [walking_circuit, lambda: LSTM(17, 8, 6)])
def test_a_loaded_policy_acts_as_the_saved_one_and_as_the_sequence(tmp_path, make_cell, squash):
    policy = VectorPolicy(make_cell(), observation_size=17, squash=squash)
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
        VectorPolicy(walking_circuit(), observation_size=11)


def test_an_observation_of_another_width_is_refused():
    policy = VectorPolicy(walking_circuit(), observation_size=17)
    for width in (1, 16):
        with pytest.raises(ValueError, match=r"`observation` must hold 17 numbers, got shape"):
            policy.act(np.zeros(width))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("make_cell", [walking_circuit, lambda: LSTM(17, 8, 6)])
def test_an_infinite_reading_is_refused_before_it_is_clipped(make_cell, value):
    policy = VectorPolicy(make_cell(), observation_size=17, squash="tanh")
    first, second = np.random.default_rng(0).normal(size=(2, 17))
    actions = [policy.act(first), policy.act(second)]
    policy.reset()
    policy.act(first)
    spoilt = second.copy()
    spoilt[4] = value
    with pytest.raises(ValueError, match=r"`observation` must hold finite numbers .* at entry 4\."):
        policy.act(spoilt)
    np.testing.assert_array_equal(policy.act(second), actions[1])


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf])
def test_a_deviation_that_is_not_positive_is_refused(tmp_path, value):
    policy = VectorPolicy(walking_circuit(), observation_size=17)
    policy.observation_std[3] = value
    policy.save(tmp_path / "policy")
    with pytest.raises(ValueError, match=r"`observation_std` in .* must be positive and finite"):
        Policy.load(tmp_path / "policy")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_scale_is_not_fitted_to_what_is_not_finite(value):
    policy = VectorPolicy(walking_circuit(), observation_size=17)
    policy.observation_std.fill_(2.0)
    observations = torch.randn(8, 17, dtype=torch.float64)
    observations[2, 5] = value
    with pytest.raises(ValueError, match=r"`observations` must have a finite mean .* at entry 5\."):
        policy.fit_scale(observations)
    assert (policy.observation_std == 2.0).all() and (policy.observation_mean == 0.0).all()
    observations[2, 5] = 0.0
    policy.fit_scale(observations)
    scaled = policy.normalize(observations).double()
    torch.testing.assert_close(scaled.mean(0), torch.zeros(17).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(17).double())


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e12])
def test_numbers_in_any_unit_are_scaled_alike(unit):
    policy = VectorPolicy(walking_circuit(), observation_size=17)
    observations = torch.randn(200, 17)
    policy.fit_scale(observations)
    scaled = policy.normalize(observations)
    policy.fit_scale(observations * unit)
    torch.testing.assert_close(policy.normalize(observations * unit), scaled)


def test_what_is_constant_in_training_is_seen_in_proportion():
    policy = VectorPolicy(walking_circuit(), observation_size=17)
    constants = torch.zeros(100, 17, dtype=torch.float64)
    constants[:, 1:] = torch.tensor([5.0, -101_325.0, 0.7, 1e-15] * 4).double()
    constants += 1e-8 * constants * torch.randn(100, 17)  # rounding of single precision
    policy.fit_scale(constants)
    assert policy.normalize(constants).abs().max() < 1e-6
    changed = policy.normalize(
        constants[0] + torch.tensor([0.5, 1.0, 300.0, 0.1, 0.0] + [0.0] * 12)
    )
    torch.testing.assert_close(
        changed[:5], torch.tensor([0.5, 0.2, 300 / 101_325, 0.1, 0.0]), atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("sizes", [{"observation_size": 0}, {"observation_size": 17.0}])
def test_sizes_that_are_not_whole_are_refused(sizes):
    with pytest.raises(ValueError, match="`observation_size` must be a whole number of at least 1"):
        VectorPolicy(walking_circuit(), **sizes)
    with pytest.raises(ValueError, match="`encoder` must be a whole number .*, got True"):
        VectorPolicy(walking_circuit(), observation_size=17, encoder=(True, 17))


@pytest.mark.parametrize("limit", [0.0, -1.0, -np.inf, np.nan, True, "10", None])
def test_a_limit_that_clips_nothing_sensible_is_refused(limit):
    with pytest.raises(ValueError, match="`observation_limit` must be positive, got"):
        VectorPolicy(walking_circuit(), observation_size=17, observation_limit=limit)


def test_one_frame_and_numpy_sizes_make_a_policy_that_can_be_saved(tmp_path):
    cell = LTC(auto_ncp(8, 16, 6), frame_s=0.05)
    sizes = np.array([17, 8])
    policy = VectorPolicy(cell, observation_size=sizes[0], encoder=sizes[1:])
    policy.fit_scale(torch.ones(1, 17))
    policy.save(tmp_path / "policy")
    frame = np.full(17, 1.0005)
    np.testing.assert_array_equal(Policy.load(tmp_path / "policy").act(frame), policy.act(frame))
    assert torch.isfinite(policy.observation_std).all()
