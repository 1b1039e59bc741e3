import json
from dataclasses import replace

import numpy as np
import pytest

from ncp_control import LTC, NCP19, VectorPolicy
from ncp_control.contract import ActionContract, Contract, FramesContract, View
from ncp_control.loop.levels import Level, tolerated
from ncp_control.loop.link import Reading
from ncp_control.loop.monitor import Monitor, certified_state
from ncp_control.loop.pilot import make_monitor
from ncp_control.loop.profile import (
    InputProfile,
    SeenDrive,
    frame_statistics,
    has_colours,
    statistics_of,
    swap_colours,
)
from ncp_control.loop.settings import MonitorSettings
from ncp_control.policy import load, shipped_policies
from ncp_control.records import array_of, frames_in, join, record_frame

SHAPE, FRAME_S = (24, 36, 3), 0.05
FRAMES = FramesContract(shape=SHAPE)


def scene(rng, blue_sky=True):
    """Return a frame with a sky, ground and some texture."""
    frame = np.zeros(SHAPE)
    frame[:10] = (90, 130, 210) if blue_sky else (210, 130, 90)
    frame[10:] = (110, 120, 60)
    edge = int(rng.integers(10, 26))
    frame[10:, edge : edge + 4] = 230
    frame *= rng.uniform(0.8, 1.1)
    return np.clip(frame + rng.normal(0.0, 4.0, SHAPE), 0, 255).astype(np.uint8)


def drive_of(numbers):
    """Return numbers of observations as a drive."""
    rows = np.stack(list(numbers))
    return SeenDrive(rows, FRAME_S * np.arange(len(rows)))


@pytest.fixture(scope="module")
def profile():
    rng = np.random.default_rng(0)
    fitted, others = ([drive_of(frame_statistics(scene(rng)) for _ in range(20)) for _ in range(n)]
                      for n in (20, 10))  # fmt: skip
    fit = InputProfile.fit(fitted, others, FRAMES, provenance={"driving": "test"})
    return replace(fit, swap_ratio=None)


@pytest.fixture
def frames_contract():
    steering = ActionContract(name="steering")
    return Contract(observation=FRAMES, action=(steering,), frame_s=FRAME_S)


def kinds(monitor, frame, count=1, age_s=0.0, start_s=0.0):
    """Return the kinds of fault that a frame, shown several times, has at last."""
    found = []
    for i in range(count):
        now_s = start_s + FRAME_S * (i + 1)
        found = monitor.check(Reading(observation=frame, time_s=now_s - age_s), now_s)
        monitor.judge(found, now_s)
    return [fault.kind for fault in found]


def blur(frame):
    import cv2

    return cv2.GaussianBlur(frame, (0, 0), 6.0)


@pytest.mark.parametrize(
    ("fault", "spoil"),
    [
        ("black", lambda frame: frame // 30),
        ("white", lambda frame: 245 + frame // 30),
        ("blurred", blur),
        ("shape", lambda frame: frame[::2]),
        ("shape", lambda frame: frame.astype(np.float32)),
        ("not finite", lambda frame: np.full(SHAPE, np.nan, np.float32)),
        ("colours", lambda frame: frame[:, :, ::-1]),
        ("far", lambda frame: np.where(np.arange(36)[:, None] < 18, np.uint8(127), frame)),
        ("far", lambda frame: frame[::-1]),
        ("unreadable", lambda frame: None),
    ],
)
def test_a_fault_of_a_frame_is_named(fault, spoil, frames_contract, profile):
    monitor = Monitor(frames_contract, profile=profile)
    frame = scene(np.random.default_rng(7))
    assert kinds(monitor, frame) == []
    assert kinds(monitor, spoil(frame), start_s=FRAME_S) == [fault]


def test_clean_frames_have_no_fault(frames_contract, profile):
    monitor, rng = Monitor(frames_contract, profile=profile), np.random.default_rng(5)
    assert all(kinds(monitor, scene(rng), start_s=i) == [] for i in range(300))
    assert monitor.events == [] and monitor.level == Level.DRIVE


def test_swapped_colours_are_told_within_the_limit_by_the_nearer_of_the_two(frames_contract):
    rng = np.random.default_rng(0)
    fitted, others = ([drive_of(frame_statistics(scene(rng)) for _ in range(20)) for _ in range(n)]
                      for n in (20, 10))  # fmt: skip
    fit = InputProfile.fit(fitted, others, FRAMES, margin=1000.0)
    frame = scene(np.random.default_rng(7))[:, :, ::-1]
    assert fit.distance(frame_statistics(frame)) < fit.limit
    # The margin is that of the ratio, too: take one that is as narrow as the colours are.
    for swap_ratio, found in ((1.0, ["colours"]), (None, [])):
        profile = replace(fit, swap_ratio=swap_ratio)
        assert kinds(Monitor(frames_contract, profile=profile), frame) == found
        clean = Monitor(frames_contract, profile=profile)
        assert all(kinds(clean, scene(rng), start_s=i) == [] for i in range(100))


def test_noise_is_far_even_if_it_is_a_little_nearer_with_red_and_blue_swapped(
    frames_contract, profile
):
    calibrated = replace(profile, swap_ratio=1.0)
    noise = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    for frame in (noise, noise[:, :, ::-1]):
        assert kinds(Monitor(frames_contract, profile=calibrated), frame) == ["far"]
    dimmed = scene(np.random.default_rng(7))[:, :, ::-1] // 2  # far, but much less when swapped
    x = frame_statistics(dimmed)
    assert profile.limit < 2.0 * profile.distance(swap_colours(x)) < profile.distance(x)
    assert kinds(Monitor(frames_contract, profile=calibrated), dimmed) == ["colours"]


def test_numbers_of_a_frame_with_swapped_colours_are_swapped_numbers():
    frame = scene(np.random.default_rng(0))
    np.testing.assert_allclose(
        swap_colours(frame_statistics(frame)), frame_statistics(frame[:, :, ::-1]), atol=1e-6
    )


def test_the_ratio_of_swapped_colours_is_calibrated_and_kept(tmp_path):
    rng = np.random.default_rng(0)

    def drives(num, is_grey):
        frames = [scene(rng) for _ in range(20 * num)]
        if is_grey:  # nearly grey: red and blue differ by noise alone
            grey = [frame[:, :, 1:2].astype(float) for frame in frames]
            frames = [np.clip(g + rng.normal(0.0, 4.0, SHAPE), 0, 255).astype(np.uint8)
                      for g in grey]  # fmt: skip
        return [drive_of(map(frame_statistics, frames[i::num])) for i in range(num)]

    for is_grey, low, high in ((False, 1.0, 1.0), (True, 1.05, 1.5)):
        fitted, others = drives(20, is_grey), drives(10, is_grey)
        profile = InputProfile.fit(fitted, others, FRAMES)
        assert low <= profile.swap_ratio <= high
        profile.save(tmp_path)
        loaded = InputProfile.load(tmp_path)
        assert loaded is not None and loaded.swap_ratio == profile.swap_ratio


def test_late_and_out_of_order_readings_are_told_by_their_times(frames_contract):
    monitor, rng = Monitor(frames_contract), np.random.default_rng(0)
    assert kinds(monitor, scene(rng), age_s=0.3, start_s=1.0) == ["late"]
    assert kinds(monitor, scene(rng), age_s=0.3, start_s=1.0) == ["out of order"]


@pytest.mark.parametrize("time_s", [1.5, 1e9, np.inf, np.nan])
def test_a_reading_from_the_future_is_out_of_order_and_the_next_one_is_good(
    time_s, frames_contract
):
    monitor, rng = Monitor(frames_contract), np.random.default_rng(0)
    assert kinds(monitor, scene(rng), start_s=0.9) == []
    (fault,) = monitor.check(Reading(observation=scene(rng), time_s=time_s), 1.0)
    assert fault.kind == "out of order" and fault.is_unusable
    assert kinds(monitor, scene(rng), start_s=1.0) == []


def test_a_frozen_sensor_is_told_from_a_body_that_stands(frames_contract):
    settings = MonitorSettings(frozen_s=0.12, stop_after_s=0.3, recover_s=0.3)
    monitor, rng = Monitor(frames_contract, settings), np.random.default_rng(0)
    frozen, other = scene(rng), scene(rng)
    assert kinds(monitor, frozen, 3) == [] and kinds(monitor, frozen, 1, start_s=0.15) == ["frozen"]
    assert kinds(monitor, frozen, 10, start_s=0.2) == ["frozen"] and monitor.level == Level.STOP
    # One change shows that the sensor lives; a body that stands then sees the same all the time.
    assert kinds(monitor, other, 5, start_s=0.7) == [] and monitor.level == Level.STOP
    assert kinds(monitor, other, 3, start_s=0.95) == [] and monitor.level == Level.DRIVE


def test_two_frames_in_turn_are_frozen_but_two_numbers_in_turn_are_not(frames_contract):
    rng = np.random.default_rng(0)
    frames = scene(rng), scene(rng)
    numbers = np.zeros(2, np.float32), np.ones(2, np.float32)  # e.g. a speed in coarse steps
    for contract, seen, found in ((frames_contract, frames, ["frozen"]),
                                  (_vector_contract(2), numbers, [])):  # fmt: skip
        monitor = Monitor(contract, MonitorSettings(frozen_s=0.12))
        assert kinds(monitor, seen[0]) == kinds(monitor, seen[1], start_s=FRAME_S) == []
        for i in range(2, 12):
            told = kinds(monitor, seen[i % 2], start_s=FRAME_S * i)
        assert told == found


@pytest.mark.parametrize(("frame_s", "patience_s"), [(0.03, 0.12), (0.2, 0.5), (1.0, 2.5)])
def test_a_slow_loop_waits_for_frames_as_long_as_they_take(frames_contract, frame_s, patience_s):
    """One frame that does not come, or that is seen twice, is no fault of a loop of 5 Hz."""
    slow = replace(frames_contract, frame_s=frame_s)
    rng = np.random.default_rng(0)
    frame = scene(rng)
    for seconds, faults in ((0.99 * patience_s, []), (1.01 * patience_s, ["missing"])):
        monitor = Monitor(slow)
        monitor.check(Reading(observation=frame, time_s=0.0), 0.0)
        assert [fault.kind for fault in monitor.check(None, seconds)] == faults
        again = monitor.check(Reading(observation=frame, time_s=seconds), seconds)
        assert [fault.kind for fault in again] == (["frozen"] if faults else [])
        late = monitor.check(Reading(observation=scene(rng), time_s=2.0 * seconds), 3.0 * seconds)
        assert [fault.kind for fault in late] == (["late"] if faults else [])
    strict = Monitor(slow, MonitorSettings(missing_s=0.05))
    strict.check(Reading(observation=frame, time_s=0.0), 0.0)
    assert [fault.kind for fault in strict.check(None, 0.06)] == ["missing"]


def test_input_that_flickers_between_good_and_bad_is_not_recovered(frames_contract):
    monitor, rng = Monitor(frames_contract), np.random.default_rng(0)
    for i in range(20):
        frame = scene(rng) if i % 2 else np.zeros(SHAPE, np.uint8)
        kinds(monitor, frame, start_s=FRAME_S * i)
    assert monitor.level == Level.STOP
    assert [event.level for event in monitor.events] == [Level.HOLD, Level.STOP]


def test_certified_bounds_catch_a_state_that_the_circuit_cannot_reach():
    policy = VectorPolicy(LTC(NCP19), observation_size=32)
    bounds = certified_state(policy)
    assert bounds is not None
    monitor = Monitor(_vector_contract(32), bounds=bounds)
    for _ in range(50):
        policy.act(np.random.default_rng(0).normal(size=32) * 1e6, 0.5)
        assert monitor.check_state(policy.state) is None
    state = policy.state
    assert state is not None
    broken = state.copy()
    broken[3] = bounds.high[3] + 0.1
    fault = monitor.check_state(broken)
    assert fault is not None and "neuron 3" in fault.reason
    broken[3] = np.nan
    assert monitor.check_state(broken).reason == "not finite"


def _vector_contract(size):
    from ncp_control.contract import Entry, VectorContract

    entries = tuple(Entry(name=f"x{i}") for i in range(size))
    steering = ActionContract(name="steering")
    return Contract(observation=VectorContract(entries=entries), action=(steering,), frame_s=0.1)


def test_a_cell_without_certificate_has_no_bounds():
    assert certified_state(load("drive-lstm")) is None


def test_a_profile_of_numbers_is_their_mahalanobis_distance(tmp_path):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    fitted, others = (rng.normal(size=(n, 3)) @ mixing for n in (2000, 500))
    profile = InputProfile.fit(
        [drive_of(fitted)], [drive_of(others)], _vector_contract(3).observation, margin=1.5
    )
    one = np.array([1.0, -2.0, 0.5])
    away = one - fitted.mean(0)
    expected = np.sqrt(away @ np.linalg.solve(np.cov(fitted.T), away) / 3)
    assert profile.distance(one) == pytest.approx(expected, rel=1e-3)
    distances = np.array([profile.distance(x) for x in others])
    assert profile.limit == 1.5 * tolerated(distances, FRAME_S * np.arange(500))
    assert profile.provenance["largest_distance"] == pytest.approx(distances.max(), abs=1e-4)
    profile.save(tmp_path)
    loaded = InputProfile.load(tmp_path)
    assert loaded is not None and loaded.distance(one) == pytest.approx(expected, rel=1e-3)
    assert loaded.provenance["observations"] == 2500 and loaded.least_sharpness is None


def test_a_share_of_the_drives_does_not_set_the_limit():
    rng = np.random.default_rng(0)
    fitted = [drive_of(rng.normal(size=(500, 1)))]
    # Drive k is k standard deviations away all the time: its limit is about k.
    others = [drive_of(np.full((10, 1), float(k))) for k in rng.permutation(101)]
    found = {
        share: InputProfile.fit(
            fitted, others, _vector_contract(1).observation, margin=2.0, held_share=share
        )
        for share in (0.0, 0.01, 0.1)
    }
    unit = found[0.0].provenance["largest_distance"] / 100.0
    for share, profile in found.items():
        assert profile.limit == pytest.approx(2.0 * unit * 100.0 * (1.0 - share), rel=2e-3)


def test_a_few_blurred_frames_of_a_drive_do_not_set_the_least_sharpness():
    rng = np.random.default_rng(0)

    def drive(blurred):
        frames = [scene(rng) for _ in range(20)]
        frames[:blurred] = [blur(frame) for frame in frames[:blurred]]
        return drive_of(map(frame_statistics, frames))

    clean, others = [drive(0) for _ in range(10)], [drive(0) for _ in range(5)]
    sharp, with_two, with_many = (
        InputProfile.fit([*clean, drive(n)], others, FRAMES, held_share=0.0) for n in (0, 2, 8)
    )
    assert with_two.least_sharpness == pytest.approx(sharp.least_sharpness, abs=0.1)
    assert with_many.least_sharpness < sharp.least_sharpness - 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"limit": "far"}, "`limit` must be a number from 0 to 1e+06, got 'far'"),
        ({"limit": "nan"}, "`limit` must be a number from 0 to 1e+06, got 'nan'"),
        ({"limit": "3.0"}, "`limit` must be a number from 0 to 1e+06, got '3.0'"),
        ({"limit": None}, "`limit` must be a number from 0 to 1e+06, got None"),
        ({"limit": 10**400}, "`limit` must be a number from 0 to 1e+06, got 1000"),
        ({"limit": 1e9}, "`limit` must be a number from 0 to 1e+06, got 1000000000.0"),
        ({"limit": -1}, "`limit` must be a number from 0 to 1e+06, got -1"),
        ({"limit": True}, "`limit` must be a number from 0 to 1e+06, got True"),
        ({"least_sharpness": "nan"}, "`least_sharpness` must be a number from -3 to 5.6, got 'nan"),
        ({"least_sharpness": -1e3}, "`least_sharpness` must be a number from -3 to 5.6, got -1000"),
        ({"swap_ratio": 0}, "`swap_ratio` must be a number from 1 to 1e+06, got 0"),
        ({"swap_ratio": [1.0]}, r"`swap_ratio` must be a number from 1 to 1e+06, got [1.0]"),
        ({"number_ranges": [["0", "1"]]}, "['0', '1'] instead of a list of finite numbers"),
        ({"number_ranges": [[0, 10**400]]}, "instead of a list of finite numbers"),
        ({"number_ranges": 1}, "not iterable"),
        ({"mean": [0.0]}, "a covariance that is not of 1 numbers"),
        ({"mean": ["0.0"]}, "['0.0'] instead of a list of finite numbers"),
        ({"mean": "12"}, "'12' instead of a list of finite numbers"),
        ({"covariance": [[1.0], [0.5]], "mean": [0.0, 0.0]}, "a covariance that is not of 2 n"),
        ({"covariance": [[-1.0], [0.0, -1.0]], "mean": [0.0, 0.0]}, "not positive definite"),
        ({"provenance": []}, "not a mapping"),
        ({"format_version": 2}, "format version 2, not 1"),
        ({"format_version": "1"}, "format version '1', not 1"),
    ],
)
def test_a_damaged_profile_is_one_sentence(change, told, profile, tmp_path):
    path = profile.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"monitor\.json must be what the calibration") as error:
        InputProfile.load(tmp_path)
    assert told in str(error.value) and str(error.value).count("Calibrate") == 1


def test_a_profile_without_its_numbers_is_one_sentence(profile, tmp_path):
    path = profile.save(tmp_path)
    values = json.loads(path.read_text())
    del values["mean"]
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="got no JSON object with covariance, format_version,"):
        InputProfile.load(tmp_path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="got no JSON object with covariance, format_version,"):
        InputProfile.load(tmp_path)


def test_a_monitor_says_what_it_cannot_notice(frames_contract, profile):
    bounds = certified_state(load("drive-ncp"))
    whole = replace(profile, swap_ratio=1.2, provenance={"world": "Yard-v0"})
    here = replace(frames_contract, world="Yard-v0")

    def told(profile, contract=here, bounds=bounds):
        return Monitor(contract, profile=profile, bounds=bounds).blind_spots

    assert told(whole) == []
    assert told(replace(whole, provenance={"log": "drive.mcap"})) == []
    (sentence,) = told(None)
    assert sentence.startswith("the monitor is not calibrated")
    (sentence,) = told(replace(whole, swap_ratio=None, least_sharpness=None))
    assert "does not tell blurred frames or wrong colours of frames that are near to" in sentence
    (sentence,) = told(whole, replace(frames_contract, world="Road-v0"))
    assert "calibrated in 'Yard-v0', and the policy is of 'Road-v0': what is" in sentence
    (sentence,) = told(whole, frames_contract)
    assert "the policy is of no world" in sentence
    assert told(whole, bounds=None)[0].startswith("this cell has no certified bounds")


def test_a_monitor_of_numbers_without_their_ranges_says_so():
    numbers = np.random.default_rng(0).normal(size=(60, 2))
    contract = _vector_contract(2)
    fit = InputProfile.fit([drive_of(numbers)], [drive_of(numbers)], contract.observation)
    told = [Monitor(contract, profile=one).blind_spots[0]
            for one in (fit, replace(fit, number_ranges=None))]  # fmt: skip
    assert told[0].startswith("this cell has no certified bounds")
    assert told[1].startswith("monitor.json does not tell one unusual number among many. Run")


def test_a_profile_of_other_observations_is_refused(profile):
    with pytest.raises(ValueError, match="`profile` must be of the policy's observations"):
        Monitor(_vector_contract(4), profile=profile)


def test_there_is_no_profile_beside_most_policies(tmp_path):
    assert InputProfile.load(tmp_path) is None


def test_numbers_of_a_grey_frame_have_no_colours(frames_contract):
    frame = scene(np.random.default_rng(0))
    grey = FramesContract(shape=(*SHAPE[:2], 1), colour="grey")
    assert len(statistics_of(frame[:, :, :1], grey)) == 28
    assert len(statistics_of(frame, frames_contract.observation)) == 36


@pytest.mark.parametrize(
    ("colour", "stack", "per_frame"),
    [("grey", 3, 1), ("grey", 6, 1), ("grey", 4, 1), ("RGB", 2, 3), ("BGR", 3, 3),
     ("4 channels", 3, 4)],
)  # fmt: skip
def test_numbers_of_a_stack_are_those_of_its_latest_frame(colour, stack, per_frame):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*SHAPE[:2], per_frame), np.uint8) for _ in range(stack)]
    shape = (*SHAPE[:2], stack * per_frame)
    seen = FramesContract(shape=shape, colour=colour, view=View(stack=stack))
    one = FramesContract(shape=frames[-1].shape, colour=colour)
    found = statistics_of(np.concatenate(frames, axis=2), seen)
    np.testing.assert_array_equal(found, statistics_of(frames[-1], one))
    assert len(found) == (36 if per_frame == 3 else 28)


def test_a_blurred_grey_frame_is_noticed_at_once_though_those_before_it_are_sharp():
    rng = np.random.default_rng(0)
    shape = (*SHAPE[:2], 3)
    seen = FramesContract(shape=shape, colour="grey", view=View(stack=3))
    contract = Contract(observation=seen, action=(ActionContract(name="steering"),),
                        frame_s=FRAME_S)  # fmt: skip

    def stacked():
        return np.stack([scene(rng)[:, :, 1] for _ in range(3)], axis=2)

    fitted, others = ([drive_of(statistics_of(stacked(), seen) for _ in range(20))
                       for _ in range(n)] for n in (20, 10))  # fmt: skip
    monitor = Monitor(contract, profile=InputProfile.fit(fitted, others, seen))
    frame = stacked()
    assert kinds(monitor, frame) == []
    frame = stacked()
    frame[:, :, 2] = blur(frame[:, :, 2])
    assert kinds(monitor, frame, start_s=FRAME_S) == ["blurred"]


@pytest.mark.parametrize("name", ["drive-ncp", "drive-ncp-robust", "road-ltc", "road-ltc-careful"])
def test_profiles_of_shipped_policies_fit_them(name):
    policy = load(name)
    monitor = make_monitor(policy, shipped_policies()[name])
    observation = policy.contract.observation
    rng = np.random.default_rng(0)
    shape, kind = array_of(observation)
    assert monitor._profile is not None and has_colours(observation)
    seen = rng.integers(0, 256, shape, np.uint8).astype(kind)
    if record_frame(observation) is not None:
        seen = join(frames_in(seen, record_frame(observation)), np.zeros(1, np.float32))
    found = monitor.check(Reading(observation=seen, time_s=0.0), 0.0)
    assert [fault.kind for fault in found] == ["far"]  # noise is no road


def test_hold_must_come_before_stop():
    with pytest.raises(ValueError, match="`hold_after_s` must be at most `stop_after_s`"):
        MonitorSettings(hold_after_s=2.0)
