"""Short episodes of untrained policies, with the activity of their circuits."""

import dataclasses

import torch

from envs.driving.road import HELD_OUT_TRACKS
from ncp_control import LTC, auto_ncp
from ncp_control.policy import VectorPolicy
from policies.driving import make_driving_policy
from scripts.auditing.recording import act
from scripts.evaluation.driving import track_place
from scripts.evaluation.worlds import WorldSettings


def drive_untrained():
    """Return an untrained policy and half a second of its drive."""
    torch.manual_seed(0)
    policy = make_driving_policy("ncp", head="light")
    place = track_place(HELD_OUT_TRACKS[0], 0.5, 0)
    return policy, act(policy, "untrained", place, seconds=0.5)


def walk_untrained():
    """Return an untrained policy of numbers and half a second of its HalfCheetah."""
    torch.manual_seed(0)
    policy = VectorPolicy(LTC(auto_ncp(17, 16, 6), frame_s=0.05), observation_size=17)
    where = WorldSettings(env="halfcheetah", seed=0)
    return policy, act(policy, "walker", where.place, seconds=0.5)


def shortened(audited, frames):
    """The first frames of an episode."""
    activity = audited.activity
    parts = ("states", "outputs", "timescales_s", "synaptic_currents", "dt_s")
    cut = {name: getattr(activity, name)[:, :frames] for name in parts}
    return dataclasses.replace(
        audited,
        time_s=audited.time_s[:frames],
        observations=audited.observations[:frames],
        features=audited.features[:frames],
        actions=audited.actions[:frames],
        activity=dataclasses.replace(activity, **cut),
        signals={name: values[:frames] for name, values in audited.signals.items()},
        pictures=audited.pictures[:frames],
        infos={},
    )
