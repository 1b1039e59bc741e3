"""Driving put together: groups of cars that are not all as large."""

import numpy as np
import torch

from ncp_control.learning.closed_loop import PolicyPilot
from policies.driving import make_driving_policy
from scripts.evaluation.driving import DriveSettings, ExpertPilot, evaluate, make_expert, record

THREE_TRACKS = DriveSettings(tracks="train", num_tracks=3, seconds_per_track=0.5, parallel=2)


def test_a_last_group_may_be_smaller(tmp_path):
    expert = ExpertPilot(make_expert(), 0.2, np.random.default_rng(0))
    torch.manual_seed(0)
    learner = PolicyPilot(make_driving_policy("ncp", head="light"))
    for name, pilot in (("expert", expert), ("learner", learner)):
        store = record(tmp_path / name, THREE_TRACKS, pilot, expert, description=name, seed=0)
        assert store.num_episodes == 3 and len(store) == 3 * 15


def test_a_group_knows_nothing_of_the_one_before():
    torch.manual_seed(0)
    policy = make_driving_policy("ncp", head="light")
    together = evaluate(PolicyPilot(policy), THREE_TRACKS, description="")
    alone = evaluate(
        policy,
        DriveSettings(tracks="train", num_tracks=1, first_track=2, seconds_per_track=0.5),
        description="",
    )
    np.testing.assert_allclose(together[2].cross_track_m, alone[0].cross_track_m, atol=1e-6)
