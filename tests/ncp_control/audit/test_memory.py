"""Memory against closed forms: neurons whose decay is known, and policies that have none."""

import math

import numpy as np
import pytest
import torch

from ncp_control import LTC, Wiring
from ncp_control.audit.memory import (
    Reach,
    WipingPilot,
    compare_actions,
    how_often,
    reach_of,
    wipe_effects,
)
from ncp_control.cells import CTRNN, Feedforward
from ncp_control.policy import VectorPolicy

DT_S = 0.02


def seen(frames=80, size=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(frames, size, generator=generator, dtype=torch.float64)


def reach(policy, features, **settings):
    """The reach of a policy whose features are its observations, as they come."""
    dt_s = torch.full((len(features),), DT_S, dtype=torch.float64)
    recorded = policy.circuit.record(features[None], dt_s=dt_s[None])
    return reach_of(policy, features, dt_s, recorded.states_before, **settings)


def leaky(tau_s):
    """A unit of CT-RNN that hears only its input: τ dv/dt = tanh(w u + b) − v."""
    cell = CTRNN(1, 1, 1, frame_s=DT_S).double()
    with torch.no_grad():
        cell.state_map.weight.zero_()
        cell.raw_timescale.fill_(math.log(math.expm1(tau_s / DT_S)))
    return VectorPolicy(cell, observation_size=1).double()


@pytest.mark.parametrize("tau_s", [0.5 * DT_S, 3.0 * DT_S, 15.0 * DT_S])
def test_the_reach_of_a_leaky_unit_is_its_exponential(tau_s):
    found = reach(leaky(tau_s), torch.full((80, 1), 0.3, dtype=torch.float64))
    lags = np.arange(41)  # an episode of 80 frames is looked back over half of it
    np.testing.assert_allclose(found.norm / found.norm[0], np.exp(-lags * DT_S / tau_s), rtol=1e-9)
    np.testing.assert_allclose(found.half_life_s, tau_s * math.log(2.0), rtol=1e-9)
    np.testing.assert_allclose(found.lag_of(0.1), tau_s * math.log(10.0) / DT_S, rtol=1e-9)


def test_the_reach_of_a_liquid_neuron_at_rest_is_its_exponential():
    """One synapse whose input is held, so τ = C / (g + w s) is constant."""
    wiring = Wiring(num_sensory=1, num_inter=0, num_command=0, num_motor=1, synapses=[(0, 1, 1)])
    torch.manual_seed(0)
    cell = LTC(wiring, frame_s=DT_S, integrator="exponential_euler").double()
    with torch.no_grad():
        cell.raw_capacitance.fill_(8.0)  # about 8 frames
    policy = VectorPolicy(cell, observation_size=1).double()
    features = torch.full((400, 1), 0.4, dtype=torch.float64)
    dt_s = torch.full((1, 400), DT_S, dtype=torch.float64)
    tau_s = float(policy.circuit.record(features[None], dt_s=dt_s).timescales_s[0, -1, 0])
    found = reach(policy, features, num_frames=1, max_lags=30)
    np.testing.assert_allclose(
        found.norm / found.norm[0], np.exp(-np.arange(31) * DT_S / tau_s), rtol=1e-6
    )


def test_the_norm_is_that_of_small_changes_of_the_features():
    torch.manual_seed(1)
    cell = CTRNN(2, 5, 3, frame_s=DT_S).double()
    policy = VectorPolicy(cell, observation_size=2, squash="tanh").double()
    features, step = seen(9, 2), 1e-6
    found = reach(policy, features, num_frames=1)
    last = len(features) - 1

    @torch.no_grad()
    def final(values):
        return policy.respond(policy.circuit(values[None], dt_s=DT_S)[0])[0, last]

    for lag, norm in enumerate(found.norm):
        squares = 0.0
        for k in range(2):
            moved = features.clone()
            moved[last - lag, k] += step
            squares += float((((final(moved) - final(features)) / step) ** 2).sum())
        assert norm == pytest.approx(math.sqrt(squares), rel=1e-4)


def test_a_policy_without_memory_has_no_reach_and_loses_nothing():
    torch.manual_seed(0)
    policy = VectorPolicy(Feedforward(2, 8, 1, frame_s=DT_S), observation_size=2).double()
    features = seen(20, 2)
    found = reach(policy, features)
    assert found.norm[0] > 0.0 and not found.norm[1:].any()
    assert found.half_life_s == 0.0
    (effect,) = wipe_effects(policy, features, torch.full((20,), DT_S).double())
    assert (effect.rms, effect.share) == (0.0, 0.0)
    assert effect.correlation == pytest.approx(1.0)


def test_a_lag_is_told_where_the_reach_stays_below_a_share():
    def of(*norm):
        return Reach(norm=np.array(norm), frame_s=0.5)

    assert of(1.0, 0.25, 0.01).half_life_frames == pytest.approx(0.5)
    assert of(1.0, 0.25, 0.01).half_life_s == pytest.approx(0.25)
    assert of(0.5, 4.0, 0.1, 2.0, 0.0).half_life_frames == 3.0  # it comes back at the third
    assert of(0.1, 0.2, 0.3).half_life_frames == math.inf
    assert math.isnan(of(0.0, 0.0).half_life_frames)


def test_a_wiped_leaky_unit_forgets_all_but_the_frame():
    """Intact: v(t) = Σ d^k (1 − d) tanh(w u(t − k)); wiped every 3rd frame: the last few terms."""
    policy = leaky(3.0 * DT_S)
    features, decay = seen(30), math.exp(-1.0 / 3.0)
    dt_s = torch.full((30,), DT_S, dtype=torch.float64)
    cell = policy.circuit.cell
    target = torch.tanh(cell.input_map(features)).detach().numpy()[:, 0]

    def output(every):
        values, v = [], 0.0
        for t in range(30):
            v = 0.0 if t % every == 0 else v
            v = decay * v + (1.0 - decay) * target[t]
            values.append(float(cell.readout(torch.tensor([[v]]).double())[0, 0].detach()))
        return np.array(values)[:, None]

    for effect, every in zip(wipe_effects(policy, features, dt_s, (1, 3)), (1, 3), strict=True):
        expected = compare_actions(output(1000), output(every), every)
        assert effect.every == every
        for name in ("correlation", "rms", "share"):
            assert getattr(effect, name) == pytest.approx(getattr(expected, name), rel=1e-6)
    assert expected.rms > 1e-4


def test_actions_are_compared_by_hand():
    whole = np.array([[0.0, 1.0], [2.0, 1.0]])
    effect = compare_actions(whole, whole + np.array([0.0, 1.0]), 4)
    # About their means nothing has changed; the means differ by 0 and 1.
    assert effect.correlation == pytest.approx(1.0)
    assert effect.rms == pytest.approx(math.sqrt(0.5))
    assert effect.share == pytest.approx(1.0)  # the deviation is √0.5 as well
    still = compare_actions(np.zeros((3, 1)), np.arange(3.0)[:, None], 1)
    assert math.isnan(still.correlation) and still.share == math.inf
    same = compare_actions(np.zeros((3, 1)), np.zeros((3, 1)), 1)
    assert same.share == same.rms == 0.0


def test_a_pilot_wipes_by_the_frames_of_each_episode():
    """Two worlds, of which the second begins anew at the third frame."""
    policy = leaky(10.0 * DT_S)
    pilot, dt_s = WipingPilot(policy, 2), np.full(2, DT_S, np.float32)
    inputs = np.full((2, 1), 0.5)
    fresh = np.array([[True, True], [False, False], [False, True], [False, False]])
    acted = np.stack([pilot(inputs, [{}, {}], dt_s, reset)[:, 0] for reset in fresh])
    first, second = acted[0, 0], acted[1, 0]
    assert first != second
    np.testing.assert_allclose(acted[:, 0], [first, second, first, second], rtol=1e-6)
    np.testing.assert_allclose(acted[:, 1], [first, second, first, second], rtol=1e-6)
    # Another group of worlds, in another number, begins at once.
    alone = pilot(inputs[:1], [{}], dt_s[:1], np.array([True]))
    np.testing.assert_allclose(alone[:, 0], [first], rtol=1e-6)


def test_what_cannot_be_measured_is_named():
    policy, one = leaky(0.1), torch.zeros(1, 1, dtype=torch.float64)
    dt_s = torch.full((1,), DT_S, dtype=torch.float64)
    with pytest.raises(ValueError, match="`features` must have at least 2 frames, got 1"):
        wipe_effects(policy, one, dt_s)
    with pytest.raises(ValueError, match="`features` must have at least 2 frames, got 1"):
        reach_of(policy, one, dt_s, one)
    with pytest.raises(ValueError, match="`every` must be a whole number of at least 1, got 0"):
        WipingPilot(policy, 0)
    two = torch.full((2, 1), math.nan, dtype=torch.float64)
    with pytest.raises(ValueError, match="`actions` must be finite, got nan in frame 0"):
        wipe_effects(policy, two, dt_s.expand(2))


@pytest.mark.parametrize(
    ("every", "told"),
    [(0, "never"), (1, "before every frame"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"),
     (21, "21st"), (112, "112th")],
)  # fmt: skip
def test_how_often_a_memory_is_wiped_is_told_in_english(every, told):
    assert told in how_often(every)
