import numpy as np
import pytest

from ncp_control import LSTM, LTC, NCP19, VectorPolicy
from ncp_control.acting.closed_loop import PolicyPilot
from ncp_control.replay import show
from scripts.evaluation.film_neurons import NUM_COLUMNS, NeuronStrip, watched_states

VIOLET, WHITE, GREEN = (64, 0, 75), (246, 246, 246), (0, 68, 27)


@pytest.mark.parametrize("cell", [LTC(NCP19), LSTM(32, 8, 1)])
def test_what_is_watched_is_the_activity_that_an_audit_records(cell):
    policy = VectorPolicy(cell, observation_size=32)
    observations = np.random.default_rng(0).normal(size=(6, 32)).astype(np.float32)
    pilot, watched = PolicyPilot(policy), []

    def act(k):
        pilot(observations[k : k + 1], [{}], np.full(1, 0.05, np.float32), np.array([k == 0]))

    with watched_states(policy) as states:
        for k in range(6):
            act(k)
            watched.append(states())
    act(0)
    np.testing.assert_array_equal(states(), watched[-1], err_msg="it ends with the block")
    recorded = show(policy, observations, np.full(6, 0.05)).recorded_activity.states[0]
    assert watched[0].shape == (cell.num_visible,)
    np.testing.assert_allclose(watched, recorded[:, : cell.num_visible], atol=1e-5)


def test_a_strip_colours_each_neuron_within_its_own_range():
    """The first neuron rises from 1 to 3, the second falls from 30 to 10, the third rests."""
    strip = NeuronStrip(3, width_px=2 * NUM_COLUMNS, height_px=12)
    for states in ([1.0, 30.0, 5.0], [3.0, 10.0, 5.0], [2.0, 20.0, 5.0]):
        picture = strip.add(np.array(states))
    assert picture.shape == (12, 2 * NUM_COLUMNS, 3)
    rows, columns = picture[::4], picture[:, -6::2]
    assert (rows[:, : -2 * 3] == 255).all(), "nothing was there before"
    np.testing.assert_array_equal(columns[0], [WHITE, GREEN, WHITE])
    np.testing.assert_array_equal(columns[4], [WHITE, VIOLET, WHITE])
    np.testing.assert_array_equal(columns[8], [WHITE] * 3)
    for _ in range(NUM_COLUMNS):
        picture = strip.add(np.array([1.0, 10.0, 5.0]))
    assert (picture[:8] == VIOLET).all(), "older columns leave the strip"
