"""Frames of a recording seen together, as a policy sees them that looks back."""

import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, FramesContract, View
from ncp_control.framing import Framer
from ncp_control.learning.demonstrations import Demonstrations, Windows, as_seen, stacked


@pytest.fixture
def store():
    frames = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)
    return Demonstrations(
        observations=frames,
        actions=np.zeros((7, 1), np.float32),
        dt_s=np.full(7, 0.1, np.float32),
        episode_starts=np.array([0, 4]),
    )


def contract(stack):
    frames = FramesContract(shape=(4, 5, 3 * stack), view=View(stack=stack))
    return Contract(observation=frames, action=(ActionContract(name="steering"),), frame_s=0.1)


def test_frames_stand_together_as_a_camera_shows_them(store):
    """The framing of a live camera is the other way to put frames together."""
    for count in (2, 3):
        framer, shown = Framer(View(stack=count), (4, 5)), []
        for i, frame in enumerate(store.observations):
            if i in store.episode_starts:
                framer.clear()
            shown.append(framer.see(frame))
        together = stacked(store, count)
        np.testing.assert_array_equal(np.asarray(together.observations), shown)
        np.testing.assert_array_equal(together.observations[5], shown[5])
        np.testing.assert_array_equal(together.observations[3:6], shown[3:6])
        assert together.observation_shape == (4, 5, 3 * count)
        assert len(list(together.observations)) == 7


def test_windows_are_cut_from_frames_that_stand_together(store):
    together = stacked(store, 2)
    for batch in Windows(together, 3, 2, 0):
        assert batch.observations.shape[2:] == (4, 5, 6)


def test_a_contract_says_how_many_stand_together(store):
    assert as_seen(store, None) is store
    assert as_seen(store, contract(1)) is store
    two = as_seen(store, contract(2))
    assert two.observation_shape == (4, 5, 6)
    assert as_seen(two, contract(2)) is two, "which hold them together already"


def test_numbers_do_not_stand_together(delayed_store):
    with pytest.raises(ValueError, match="must hold uint8 frames .* to be seen together"):
        stacked(delayed_store, 2)
