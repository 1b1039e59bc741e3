"""Faults of observations in C: the same as those that the monitor finds in Python."""

from dataclasses import replace

import numpy as np
import pytest

from ncp_control import LTC, NCP19
from ncp_control.audit.excerpt import read_excerpt
from ncp_control.contract import ActionContract, Contract, Entry, FramesContract, VectorContract
from ncp_control.deploy.c.compiled import CController
from ncp_control.deploy.c.export import to_c
from ncp_control.loop.link import Reading
from ncp_control.loop.monitor import Monitor, certified_state
from ncp_control.loop.profile import InputProfile, SeenDrive, first_outside, statistics_of
from ncp_control.policy import FramesPolicy, load, policy_folder
from ncp_control.records import frames_in, join, numbers_in
from tests.ncp_control.deploy.c_programs import small_walker


def disturbed(frame, random):
    """Yield a frame, and others with one thing wrong, from hardly to very."""
    noise = random.normal(size=frame.shape)
    rows = frame.astype(float)
    for strength in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        for changed in (
            frame * (1.0 - min(strength, 1.0)),
            frame + 255.0 * strength,
            128.0 + (frame - 128.0) * (1.0 + strength),
            frame + 40.0 * strength * noise,
            np.roll(frame, int(60 * strength), axis=1),
            rows + min(strength, 1.0) * (rows[..., ::-1] - rows),
            rows + min(strength, 1.0) * (rows.mean((0, 1)) - rows),
        ):
            yield changed.round().clip(0, 255).astype(np.uint8)


def check(policy, profile, observations):
    """Assert that C finds what Python finds; return the names of all faults."""
    controller = CController(policy, profile=profile)
    seen, found = policy.contract.observation, set()
    for observation in observations:
        faults, distance = controller.faults(observation)
        monitor = Monitor(policy.contract, profile=profile)
        expected = monitor.check(Reading(observation=observation, time_s=0.0), 0.0)
        assert set(faults) == {fault.kind for fault in expected}
        found |= set(faults)
        if distance and set(faults) <= {"far", "range"}:
            assert distance == pytest.approx(
                min(profile.distance(statistics_of(observation, seen)), 1e15), rel=2e-3
            )
    return found


@pytest.mark.parametrize("name", ["drive-ncp", "road-ltc"])
def test_the_faults_of_a_camera_are_those_of_the_monitor(name):
    policy, folder = load(name), policy_folder(name)
    random = np.random.default_rng(0)
    observations = read_excerpt(folder / "excerpt.safetensors").observations[::100]
    if name == "drive-ncp":
        cases = [case for frame in observations for case in disturbed(frame, random)]
    else:
        shape, cases = policy.frame_shape, []
        for one in observations:
            numbers = numbers_in(one, shape)
            cases += [join(case, numbers) for case in disturbed(frames_in(one, shape), random)]
            cases += [join(frames_in(one, shape), numbers * 10.0**k) for k in range(0, 39, 6)]
            cases.append(join(frames_in(one, shape), numbers * np.nan))
    profile = InputProfile.load(folder)
    if name == "road-ltc":
        profile = replace(profile, number_ranges=np.array([[-6.0, 18.0]]))
    found = check(policy, profile, cases)
    assert found >= {"black", "white", "blurred", "colours", "far"}


def on_numbers(lowest, highest):
    policy = small_walker()
    policy.contract = Contract(
        observation=VectorContract(
            entries=tuple(Entry(name=f"n{k}", range=(lowest, highest)) for k in range(5))
        ),
        action=(ActionContract(name="turn"),),
        frame_s=1 / 30,
    )
    return policy


def driven(random, size=300):
    return SeenDrive(
        random.normal(size=(size, 5)) @ random.normal(size=(5, 5)), 0.05 * np.arange(size)
    )


def test_the_faults_of_numbers_are_those_of_the_monitor(tmp_path):
    random = np.random.default_rng(0)
    drives = [driven(random)] * 2
    policy = on_numbers(-4.0, 6.0)
    for drive in drives:
        drive.numbers[:, 2] = np.float32(1 / 3)  # a constant
    InputProfile.fit(drives, drives, policy.contract.observation).save(tmp_path)
    profile = InputProfile.load(tmp_path)
    seen = drives[0].numbers.astype(np.float32)
    assert all(first_outside(one.astype(np.float64), profile.number_ranges) is None for one in seen)
    check(policy, profile, seen)
    numbers = drives[0].numbers[:20].astype(np.float32)
    strengths = np.array([1.0, 2.0, 3.0, 10.0, 1e10, 1e38, np.inf, np.nan], np.float32)
    with np.errstate(all="ignore"):
        cases = (strengths[:, None, None] * numbers).reshape(-1, 5)
    found = check(policy, profile, cases)
    assert found == {"not finite", "range", "far"}
    found = check(on_numbers(-np.inf, 1e30), None, cases)
    assert found == {"not finite", "range"}


def test_a_monitor_that_is_not_calibrated_finds_only_light_and_ranges():
    numbers = np.array([[0.0] * 5, [1e30] * 5, [np.nan] * 5, [np.inf] * 5], np.float32)
    plain = CController(small_walker())
    assert [plain.faults(one)[0] for one in numbers] == [(), (), *[("not finite",)] * 2]
    policy, random = load("drive-ncp"), np.random.default_rng(0)
    frame = random.integers(0, 256, policy.frame_shape, np.uint8)
    assert check(policy, None, disturbed(frame, random)) == {"black", "white"}


@pytest.mark.parametrize("colour, stack", [("grey", 1), ("grey", 3), ("RGB", 2)])
def test_grey_and_stacked_frames(colour, stack):
    random = np.random.default_rng(0)
    shape = (23, 41, stack * (1 if colour == "grey" else 3))
    policy = FramesPolicy(LTC(NCP19), head="light", frame_shape=shape)
    seen = FramesContract(shape=shape, colour=colour)
    seen = replace(seen, view=replace(seen.view, stack=stack))
    policy.contract = Contract(
        observation=seen, action=(ActionContract(name="turn"),), frame_s=1 / 30
    )
    ramp = np.linspace(60, 180, 23)[:, None, None] + np.linspace(-30, 50, shape[2])
    frames = [
        (ramp + random.normal(0, 9, (1, 41, 1)) + random.normal(0, 5, shape)).astype(np.uint8)
        for _ in range(200)
    ]
    drive = SeenDrive(np.stack([statistics_of(one, seen) for one in frames]), np.arange(200) / 30)
    profile = InputProfile.fit([drive], [drive], seen)
    cases = [case for frame in frames[:5] for case in disturbed(frame, random)]
    found = check(policy, profile, cases)
    assert found >= {"black", "white", "blurred", "far"}
    assert ("colours" in found) == (colour == "RGB")


def test_a_profile_of_other_observations_is_refused():
    profile = InputProfile.load(policy_folder("road-ltc"))
    with pytest.raises(ValueError, match="`profile` must be of the policy's observations, got 37"):
        to_c(load("drive-ncp"), profile=profile)


def test_a_state_outside_of_its_certified_bounds_is_reset():
    policy = load("drive-ncp")
    controller, frame = CController(policy), np.zeros(policy.frame_shape, np.uint8)
    bounds = certified_state(policy)
    for state in (bounds.low, bounds.high):
        controller.state[:] = state
        controller.act(frame, dt_s=0.0)
    for state in (bounds.low - 0.01, bounds.high + 0.01):
        controller.state[:] = state
        with pytest.raises(ValueError, match="finite and within its certified bounds"):
            controller.act(frame, dt_s=0.0)
        assert not controller.state.any()


def test_one_broken_potential_is_found_before_the_step_pulls_it_back():
    policy = load("drive-ncp")
    controller, frame = CController(policy), np.zeros(policy.frame_shape, np.uint8)
    bounds = certified_state(policy)
    for neuron in range(len(bounds.low)):
        for broken in (bounds.low[neuron] - 10.0, bounds.high[neuron] + 10.0, np.nan):
            controller.act(frame)
            controller.state[neuron] = broken
            with pytest.raises(ValueError, match="finite and within its certified bounds"):
                controller.act(frame, dt_s=1.0)
            assert not controller.state.any()
