import numpy as np
import pytest

from envs.recorded.images import MIN_SIDE_PIXELS, Framing
from ncp_control.contract import FramesContract
from ncp_control.framing import framer_for, once_a_frame


@pytest.mark.parametrize("size", [(97, 131), (16, 16), (240, 320)])
def test_a_camera_shows_the_policy_what_it_learned_from(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    recorded = Framing(image_size=(20, 32), crop=(0.25, 0.1))
    seen = FramesContract(shape=(20, 32, 3), view=recorded.view)
    shown = framer_for(seen, "a camera", None, None).see(image)
    np.testing.assert_array_equal(shown, recorded.apply(image))
    assert len(np.unique(shown)) > 20


@pytest.mark.parametrize("crop", [(0.9, 0.0), (0.0, 0.9), (0.45, 0.45), (0.47, 0.43)])
def test_the_largest_crop_leaves_something_of_the_smallest_recorded_image(crop):
    image = np.full((MIN_SIDE_PIXELS, MIN_SIDE_PIXELS, 3), 7, np.uint8)
    assert (Framing(image_size=(4, 4), crop=crop).apply(image) == 7).all()
    with pytest.raises(ValueError, match="adding up to 0.9 at most, got"):
        Framing(image_size=(4, 4), crop=(crop[0] + 0.01, crop[1]))


def test_each_frame_of_a_stack_is_changed_once_and_stays_so():
    seen = []

    def change(frame):
        seen.append(int(frame[0, 0, 0]))
        return frame + np.uint8(100 * (len(seen) % 2))

    def stacked(*levels):
        return np.stack([np.full((2, 3), level, np.uint8) for level in levels], axis=2)

    begun = once_a_frame(change, 3)
    assert begun(stacked(5, 5, 5))[0, 0].tolist() == [105, 105, 105], "copies of the first frame"
    assert begun(stacked(5, 5, 6))[0, 0].tolist() == [105, 105, 6]
    assert begun(stacked(5, 6, 6))[0, 0].tolist() == [105, 6, 106], "alike, but another frame"
    assert seen == [5, 6, 6]
    seen.clear()
    within = once_a_frame(change, 3)  # in the middle of an episode
    assert within(stacked(1, 2, 3))[0, 0].tolist() == [101, 2, 103]
    assert within(stacked(2, 3, 4))[0, 0].tolist() == [2, 103, 4]
    assert once_a_frame(change, 1) is change
