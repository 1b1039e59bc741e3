"""Drives of shipped policies, recorded as `run.py --record` does."""

from ncp_control.deploy.links.world import WorldLink
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.realtime import drive
from ncp_control.loop.recording import DriveRecorder
from ncp_control.loop.settings import LoopSettings
from ncp_control.policy import load
from ncp_control.worlds import find_world


def record_drive(name, path, seconds):
    """Drive a shipped policy in its world, record it, and return what was seen."""
    policy, clock = load(name), SimulatedClock()
    world = find_world(policy.contract.world, **policy.contract.world_options)
    link = WorldLink(world, clock, seed=1)
    with DriveRecorder(path, policy, policy.contract, name=name) as recorder:
        done = drive(policy, policy.contract, link, clock=clock, recorder=recorder,
                     settings=LoopSettings(seconds=seconds), keeps_observations=True)  # fmt: skip
    link.close()
    return policy, done.episode.recorded_observations
