"""Driving put together: groups of cars that are not all as large."""

import numpy as np
import pytest
import torch

from envs.driving import HELD_OUT_TRACKS, TRAIN_TRACKS, VALIDATION_TRACKS, LaneKeepingEnv
from envs.driving.pure_pursuit import keep_lane
from ncp_control.acting.closed_loop import PolicyPilot
from ncp_control.acting.experts import SlowError
from policies.driving import make_driving_policy
from scripts.evaluation.driving import DriveSettings, drive_km
from scripts.training.drive import VALIDATION, driving_task
from scripts.training.from_expert import record
from scripts.training.imitation_settings import Drive

THREE_TRACKS = DriveSettings(tracks="train", num_tracks=3, seconds_per_track=0.5, parallel=2)


def test_a_last_group_may_be_smaller(tmp_path):
    settings = Drive()
    task = driving_task(settings)
    torch.manual_seed(0)
    acts = {"expert": None, "learner": PolicyPilot(make_driving_policy("ncp", head="light"))}
    for name, learner in acts.items():
        store = record(tmp_path / name, THREE_TRACKS.place(), task, settings, learner)
        assert store.num_episodes == 3 and len(store) == 3 * 15


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_what_is_written_down_is_what_the_expert_would_do_there_and_then(tmp_path, noise):
    """A pilot that asks the expert itself, and errs, is compared with what was written down."""
    settings = Drive(tracks=1, seconds_per_track=1.0)
    task = driving_task(settings)
    world = LaneKeepingEnv()
    error, done = SlowError(noise, np.random.default_rng(0)), []

    def pilot(observations, infos, dt_s, reset):
        said = np.stack([keep_lane(world, None, info) for info in infos])
        done.append(error.add(said, reset)[0])
        return done[-1][None]

    store = record(tmp_path / "s", task.demonstration_place, task, settings, pilot)
    if noise:
        assert np.abs(store.actions - np.stack(done)).max() > 0.1
    else:
        np.testing.assert_array_equal(store.actions, np.stack(done))


def test_tracks_that_choose_or_judge_train_nobody():
    assert set(drive_km(20).track_numbers) <= set(HELD_OUT_TRACKS)
    assert set(VALIDATION.track_numbers) <= set(VALIDATION_TRACKS)
    parts = TRAIN_TRACKS, VALIDATION_TRACKS, HELD_OUT_TRACKS
    assert len(set().union(*parts)) == sum(map(len, parts))


def test_a_group_knows_nothing_of_the_one_before():
    torch.manual_seed(0)
    policy = make_driving_policy("ncp", head="light")
    together = THREE_TRACKS.place().run(PolicyPilot(policy))
    third = DriveSettings(tracks="train", num_tracks=1, first_track=2, seconds_per_track=0.5)
    alone = third.place().run(policy)
    np.testing.assert_allclose(
        together[2].infos["cross_track_m"], alone[0].infos["cross_track_m"], atol=1e-6
    )


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"head": "motion"}, "`head` must see one frame in LaneKeeping-v0, got 'motion', which"),
        ({"seed": 2**31}, "`seed` must be"),
    ],
)
def test_what_no_drive_can_use_is_refused_before_anything_is_recorded(asked, match):
    with pytest.raises(ValueError, match=match):
        Drive(**asked)
