"""Parts of a recording that cannot judge what another part teaches are named."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.recorded import Recording, Stretch, load_recording
from envs.recorded.images import Framing
from envs.recorded.likeness import compare_actions
from envs.recorded.quantities import describe_quantities


def recording_of(steering, **others):
    """A recording with these actions, each as given over and over; it has no images."""
    frames, actions = np.arange(40), {"steering": steering, **others}
    episode = Stretch(
        camera="center",
        rows=frames,
        image_paths=tuple(Path(f"{i}.jpg") for i in frames),
        numbers={name: np.resize(np.float32(one), 40) for name, one in actions.items()},
        time_s=frames / 20,
    )
    return Recording(
        folder=Path("drive"),
        format="udacity",
        episodes=(episode,),
        framing=Framing(image_size=(78, 200), crop=(0.0, 0.0)),
        frame_s=0.05,
        num_listed=40,
        quantities=describe_quantities(actions, []),
        actions=tuple(actions),
    )


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ([0.2, -0.2], [0.2, -0.2], None),
        ([0.2, -0.2], [0.39, -0.39], None),
        ([0.2, -0.2, np.nan], [np.nan, 0.2, -0.2], None),
        ([np.nan], [0.2, -0.2], "training part has no steering in any frame"),
        ([0.2, -0.2], [np.nan], "test part has no steering in any frame"),
        ([0.2, -0.2], [0.11, -0.11], None),
        ([0.2, -0.2], [0.38, -0.02], None),
        (
            [0.2, -0.2],
            [0.41, -0.41],
            "driven unlike .* its steering is -?0.00 ± 0.41 instead of -?0.00 ± 0.20 .mean ± dev",
        ),
        ([0.2, -0.2], [0.09, -0.09], "driven unlike .* 0.00 ± 0.09 instead"),
        ([0.2, -0.2], [0.42, 0.02], "driven unlike .* is 0.22 ± 0.20 instead"),
        ([0.2, -0.2], [0.0], r"never steers: its steering stays at 0.00 \(deviation 0.000\)"),
        ([0.2, -0.2], [0.3], "never steers: its steering stays at 0.30"),
        ([0.2, -0.2], [0.009, -0.009], "never steers"),
        ([0.0], [0.0], "recording never steers: its steering is 0.00 .* right column"),
        ([0.1], [0.2, -0.2], "training part never steers: its steering stays at 0.10"),
    ],
)
def test_a_part_that_steers_less_more_or_elsewhere_is_named(train, test, said):
    doubts = compare_actions(recording_of(train), recording_of(test), "test part")
    assert len(doubts) == (said is not None)
    for doubt in doubts:
        assert re.search(f"^The .*{said}", doubt)


def test_a_note_names_all_actions_of_its_reason():
    moving, larger, still = [0.2, -0.2], [0.5, -0.5], [0.1]
    train = recording_of(moving, brake=moving, throttle=moving, hand=moving, foot=moving)
    test = recording_of(moving, brake=larger, throttle=still, hand=larger, foot=still)
    unlike, uniform = compare_actions(train, test, "test part")
    assert re.match(
        r"The test part is driven unlike the training part: its brake is -?0.00 ± 0.50 instead of"
        r" -?0.00 ± 0.20, hand is .* 0.20 \(mean ± deviation\). Its error tells more",
        unlike,
    )
    assert uniform.startswith(
        "The test part is uniform: its throttle stays at 0.10 (deviation 0.000), foot stays at 0.10"
        " (deviation 0.000). Its error tells nothing"
    )


def test_a_part_of_a_few_frames_is_named():
    whole = recording_of([0.2, -0.2])
    few, _ = whole.split(0.2)
    (doubt,) = compare_actions(whole, few, "test part")
    assert doubt.startswith("The test part has 8 frames.")


@pytest.mark.filterwarnings("ignore:Skipped:UserWarning")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("donkey_tub", "The test part never steers: its steering stays at 0.00"),
        (
            "udacity_other",
            "The test part is driven unlike the training part: its steering is",
        ),
        ("more_tubs/tub_19_simulator", None),
    ],
)
def test_real_recordings(recordings, name, said):
    if not (recordings / name).is_dir():
        pytest.skip(f"no {name} in {recordings}")
    doubts = compare_actions(*load_recording(recordings / name).split(0.8), "test part")
    assert [doubt[: len(said or "")] for doubt in doubts] == ([] if said is None else [said])


def test_a_part_knows_the_action_of_the_frame_before_it():
    whole = recording_of(np.arange(40) / 100)
    first, rest = whole.split(0.5)
    assert whole.actions_before == first.actions_before == [None]
    assert rest.actions_before == [[pytest.approx(0.19)]]
    (episode,) = whole.episodes
    is_in = ((episode.rows >= 10) & (episode.rows < 15)) | (episode.rows >= 30)
    pieces = replace(whole, episodes=tuple(episode.select(is_in).cut(whole.cuts)))
    assert pieces.actions_before == [[pytest.approx(0.09)], None], "the gap has other frames"
    scales = replace(rest, scales={"steering": (0.1, 0.5)})
    assert scales.actions_before == [[pytest.approx((0.19 - 0.1) / 0.5)]]
