"""The worst moments of an evaluation: what was seen before a crash, fastest first."""

import numpy as np

from envs.conditions import strengths_of
from ncp_control.records import frames_in
from ncp_control.worlds import find_world
from scripts.evaluation.moments import STRIP_FRAMES, Moment, draw_moments, watch_crashes, worst_of


def test_what_was_seen_before_a_crash_is_kept():
    kept: list[Moment] = []
    world = find_world("RoadDriving-v0", traffic="none", on_crash="recover", episode_s=8.0)
    env = watch_crashes(world, kept).make()
    seen, _ = env.reset(seed=2, options={"track": 3})
    frames, is_over, crashes = [frames_in(seen, (78, 200, 3))], False, 0
    while not is_over:
        seen, _, _, is_over, info = env.step(np.array([1.0, 0.2], np.float32))
        crashes += info["crashed"]
        if crashes == 0:
            frames.append(frames_in(seen, (78, 200, 3)))
    assert crashes >= 2
    shown = np.linspace(0, len(frames[-61:]) - 1, STRIP_FRAMES).round().astype(int)
    np.testing.assert_array_equal(kept[0].frames, np.stack(frames[-61:])[shown])
    assert kept[0].caption.startswith("left the lane at") and ", track 3, " in kept[0].caption
    worst = worst_of(kept)
    speeds = [moment.speed_mps for moment in worst]
    assert speeds == sorted(speeds, reverse=True) and kept[0] in worst
    assert {one.place for one in worst} == {one.place for one in kept}
    assert len({one.place for one in worst}) == len(worst)
    strips = draw_moments(worst)
    assert strips is not None and len(strips.axes) == STRIP_FRAMES * len(worst)


def test_an_episode_that_only_fills_the_time_has_no_moments():
    kept: list[Moment] = []
    env = watch_crashes(find_world("RoadDriving-v0", traffic="none"), kept).make()
    for seed in (2, None):
        env.reset(seed=seed, options={"track": 3})
        while not env.step(np.array([1.0, 0.2], np.float32))[2]:
            pass
    assert [moment.seed for moment in kept] == [2]


def test_what_was_seen_is_what_a_condition_left_and_each_has_moments_of_its_own():
    world = find_world("RoadDriving-v0", traffic="none")
    kept: list[Moment] = []
    for name in ("fog", "night"):
        disturbed = world.disturbed(strengths_of(name, 5))
        env = watch_crashes(disturbed, kept, f"{name}:5").make()
        env.reset(seed=2, options={"track": 3})
        while not env.step(np.array([1.0, 0.2], np.float32))[2]:
            pass
    fog, dark = sorted(worst_of(kept), key=lambda one: one.caption.rpartition(", ")[2])
    assert dark.caption.endswith(", night:5") and fog.caption.endswith(", fog:5")
    assert dark.frames[-1].mean() < 60 and fog.frames[-1].mean() > 150


def test_a_drive_without_a_crash_has_no_figure():
    assert draw_moments(worst_of([])) is None
