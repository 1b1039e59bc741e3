"""The worst moments of an evaluation: what was seen before a crash, fastest first."""

import numpy as np

from envs.conditions import strengths_of
from ncp_control.records import frames_in
from ncp_control.worlds import find_world
from scripts.evaluation.moments import Moments


def test_what_was_seen_before_a_crash_is_kept():
    moments = Moments()
    world = find_world("RoadDriving-v0", traffic="none", on_crash="recover", episode_s=8.0)
    env = moments.watch(world).make()
    seen, _ = env.reset(seed=2, options={"track": 3})
    frames, is_over, crashes = [frames_in(seen, (78, 200, 3))], False, 0
    while not is_over:
        seen, _, _, is_over, info = env.step(np.array([1.0, 0.2], np.float32))
        crashes += info["crashed"]
        if crashes == 0:
            frames.append(frames_in(seen, (78, 200, 3)))
    assert crashes >= 2
    kept = moments.worst()
    speeds = [moment.speed_mps for moment in kept]
    assert speeds == sorted(speeds, reverse=True) and len({one.place for one in kept}) == len(kept)
    (first,) = [one for one in kept if np.array_equal(one.frames, np.stack(frames[-61:]))]
    assert first.told.startswith("left the lane at") and ", track 3, " in first.told
    assert len(moments.draw().axes) == 6 * len(kept)


def test_what_was_seen_is_what_a_condition_left_and_each_has_moments_of_its_own():
    moments, world = Moments(), find_world("RoadDriving-v0", traffic="none")
    for name in ("fog", "night"):
        disturbed = world.disturbed(strengths_of(name, 5))
        env = moments.watch(disturbed, f"{name}:5").make()
        env.reset(seed=2, options={"track": 3})
        while not env.step(np.array([1.0, 0.2], np.float32))[2]:
            pass
    fog, dark = sorted(moments.worst(), key=lambda one: one.told.rpartition(", ")[2])
    assert dark.told.endswith(", night:5") and fog.told.endswith(", fog:5")
    assert dark.frames[-1].mean() < 60 and fog.frames[-1].mean() > 150


def test_a_drive_without_a_crash_has_no_figure():
    assert Moments().draw() is None
