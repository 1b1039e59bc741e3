"""Recorded drives as demonstrations: what a policy saw and did in our world, record to record."""

import dataclasses
import json
import warnings

import cv2
import numpy as np
import pytest

from envs.recorded import (
    drive_as_demonstrations,
    drives,
    load_recording,
    load_recordings,
    write_lerobot,
    write_minari,
    write_tub,
)
from envs.recorded.drives import BY_PERSON, BY_POLICY, NO_COMMAND, OTHER_SHAPE, STOPPED
from envs.recorded.recording import fit_scales
from ncp_control.command_line import run_job
from ncp_control.contract import View
from ncp_control.deploy.links.world import WorldLink
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.faults import FaultyLink
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.playback import read_recording
from ncp_control.loop.realtime import drive
from ncp_control.loop.recording import DriveRecorder
from ncp_control.loop.settings import LoopSettings
from ncp_control.policy import load
from ncp_control.steering import LARGEST_ANGLE
from ncp_control.worlds import find_world
from scripts.train import train
from scripts.training.jobs import JOBS

SECONDS = 3.0


def drive_world(policy, path, fault="", seconds=SECONDS, world=None):
    """Drive our world in simulated time, and record it."""
    clock, contract = SimulatedClock(), policy.contract
    world = world or find_world(contract.world, **contract.world_options)
    link = WorldLink(world, clock, seed=3)
    if fault:
        link = FaultyLink(link, fault, begin_s=0.5, end_s=1.0, clock=clock, controller=policy)
    with DriveRecorder(path, policy, contract, name="driver") as recorder:
        done = drive(policy, contract, link, clock=clock, monitor=Monitor(contract),
                     settings=LoopSettings(seconds=seconds), recorder=recorder,
                     keeps_observations=True)  # fmt: skip
    link.close()
    return done


@pytest.fixture(scope="module")
def policy():
    return load("drive-ncp")


@pytest.fixture(scope="module")
def recorded(policy, tmp_path_factory):
    """Drive for three seconds; return the drive and its recording."""
    path = tmp_path_factory.mktemp("drive") / "recording.mcap"
    return drive_world(policy, path), path


def test_frames_actions_and_times_are_those_of_the_drive(recorded, policy):
    done, path = recorded
    recording = load_recording(path)
    (episode,) = recording.episodes
    assert len(recording) == len(done.episode) == 90 and recording.num_skipped == 0
    np.testing.assert_allclose(episode.time_s, done.episode.time_s, rtol=0.0, atol=1e-6)
    with recording.as_demonstrations() as store:
        np.testing.assert_array_equal(store.observations, done.episode.recorded_observations)
        np.testing.assert_array_equal(store.actions, done.episode.actions)
        np.testing.assert_allclose(store.dt_s, done.episode.dt_s, rtol=0.0, atol=1e-6)
    assert recording.contract.misfit(policy.contract) is None
    assert recording.frame_s == policy.contract.frame_s


def test_a_drive_at_another_rate_than_its_policys_keeps_its_own(recorded, monkeypatch):
    played = read_recording(recorded[1])
    slow = dataclasses.replace(played, contract=dataclasses.replace(played.contract, frame_s=0.1))
    monkeypatch.setattr(drives, "read_recording", lambda _: slow)
    with pytest.warns(UserWarning, match=r"every 33\.33 ms, but .* for one every 100 ms"):
        recording = load_recording(recorded[1])
    assert recording.frame_s == recording.contract.frame_s == pytest.approx(1 / 30)


def test_it_is_cropped_and_resized_if_asked_for_and_has_no_contract_then(recorded):
    recording = load_recording(recorded[1], image_size=(40, 100))
    assert recording.observation_shape == (40, 100, 3) and recording.contract is None


@pytest.fixture
def cropped(recorded, monkeypatch):
    """The recording as that of a policy whose contract crops images."""
    played = read_recording(recorded[1])
    view = View(crop_top=0.3, crop_bottom=0.1)
    frames = dataclasses.replace(played.contract.observation, view=view)
    action = dataclasses.replace(played.contract.action[0], unit=LARGEST_ANGLE)  # as in a tub
    contract = dataclasses.replace(played.contract, observation=frames, action=(action,))
    other = dataclasses.replace(played, contract=contract)
    monkeypatch.setattr(drives, "read_recording", lambda _: other)
    return recorded[1]


def frames_of(recording):
    with recording.as_demonstrations() as store:
        return np.array(store.observations)


def test_frames_that_were_cropped_when_recorded_are_not_cropped_again(recorded, cropped):
    frames = recorded[0].episode.recorded_observations
    for options in ({}, {"crop": [0.3, 0.1]}):
        recording = load_recording(cropped, options=options)
        assert recording.contract is not None
        np.testing.assert_array_equal(frames_of(recording), frames)
    small = load_recording(cropped, image_size=(39, 100))
    assert small.observation.view == View(crop_top=0.3, crop_bottom=0.1)
    whole = cv2.resize(frames[0], (100, 39), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(frames_of(small)[0], whole)
    for crop in ([0.35, 0.1], [0.0, 0.0]):
        with pytest.raises(ValueError, match=r"`crop` must be \[0.3, 0.1\] for .* got \[0"):
            load_recording(cropped, options={"crop": crop})


def test_cropped_drives_mix_with_recordings_that_are_cropped_alike(cropped, tmp_path, make_tub):
    tub, alike = make_tub(tmp_path / "tub", [{}] * 9), {"crop": [0.3, 0.1]}
    for paths in ([tub, cropped], [cropped, tub]):
        with pytest.raises(ValueError, match="`log` must be recordings that are cropped alike"):
            load_recordings(paths)
        with pytest.raises(ValueError, match=r"`crop` must be \[0.3, 0.1\] for"):
            load_recordings(paths, options={"crop": [0.2, 0.1]})
        with pytest.warns(UserWarning, match="different frame rates"):
            loaded = load_recordings(paths, options=alike)
        assert {one.observation for one in loaded} == {loaded[0].observation}
        assert loaded[0].observation.view == View(crop_top=0.3, crop_bottom=0.1)


@pytest.mark.parametrize("write", [write_lerobot, write_minari, write_tub])
def test_the_crop_of_a_drive_is_kept_in_other_formats(write, cropped, tmp_path):
    recording = load_recording(cropped)
    write(recording, tmp_path / "set")
    again = load_recording(tmp_path / "set")
    assert again.framing == recording.framing and again.framing.is_cropped
    np.testing.assert_array_equal(frames_of(again), frames_of(recording))
    with pytest.raises(ValueError, match=r"`crop` must be \[0.3, 0.1\] for"):
        load_recording(tmp_path / "set", crop=(0.1, 0.1))


def test_a_part_without_driving_is_left_out_and_counted(policy, tmp_path):
    drive_world(policy, tmp_path / "dark.mcap", "black", seconds=2.5)
    with pytest.warns(UserWarning, match=f"images listed in .*: {STOPPED}: "):
        recording = load_recording(tmp_path / "dark.mcap")
    played = read_recording(tmp_path / "dark.mcap")
    assert recording.num_skipped == sum(t.level >= 2 and t.frame is not None for t in played.ticks)
    assert len(recording.episodes) == 2  # before and after
    assert "black" in {event["kind"] for event in played.events}


def test_damaged_frames_are_skipped_and_counted(recorded, tmp_path):
    from mcap.reader import make_reader
    from mcap.writer import Writer

    _, path = recorded
    damaged = tmp_path / "damaged.mcap"
    with path.open("rb") as source, damaged.open("wb") as file:
        reader, writer = make_reader(source), Writer(file)
        writer.start()
        (about,) = reader.iter_metadata()
        writer.add_metadata(about.name, about.metadata)
        channels = {}
        for schema, channel, message in reader.iter_messages():
            if channel.topic not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(channel.topic, "json", number)
            data = message.data
            if channel.topic == "/camera" and message.sequence in (10, 20, 30):
                value = json.loads(data)
                cut = {10: value["data"][:400], 20: "no base64!", 30: None}[message.sequence]
                data = json.dumps({**value, "data": cut}).encode()
            if channel.topic == "/action" and message.sequence in (40, 50):
                data = b'{"steering": "left"}' if message.sequence == 40 else b"\xff"
            writer.add_message(channels[channel.topic], message.log_time, data,
                               message.publish_time, message.sequence)  # fmt: skip
        writer.finish()
    with pytest.warns(UserWarning, match="Skipped"):
        recording = load_recording(damaged)
    faults = ("center image cut off", "center image unreadable")
    assert sum(recording.skipped.get(fault, 0) for fault in faults) == 3
    assert recording.skipped["damaged message of /action"] == 2
    rows = np.concatenate([episode.rows for episode in recording.episodes])
    assert sorted(set(range(90)) - set(rows.tolist())) == [10, 20, 30, 40, 50]
    with pytest.warns(UserWarning, match="Left out of") as warned, drive_as_demonstrations(damaged):
        pass
    told = str(warned[0].message)
    assert f"{NO_COMMAND}: 2 (first: tick 40)" in told and OTHER_SHAPE not in told


def test_a_killed_drive_is_used_up_to_its_last_chunk(recorded, tmp_path):
    data = recorded[1].read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: 2 * len(data) // 3])
    with pytest.warns(UserWarning, match="the file is cut off: 1"):
        recording = load_recording(tmp_path / "cut.mcap")
    assert 25 < len(recording) < 90


def test_steering_of_a_right_positive_policy_is_turned(policy, recorded, tmp_path):
    contract = policy.contract
    right = dataclasses.replace(contract.action[0], positive="right")
    turned = dataclasses.replace(contract, action=(right,))
    clock = SimulatedClock()
    world = find_world(contract.world, **contract.world_options)
    link = WorldLink(world, clock, seed=3)
    link.contract = turned
    with DriveRecorder(tmp_path / "r.mcap", policy, turned) as recorder:
        done = drive(policy, turned, link, clock=clock, recorder=recorder,
                     settings=LoopSettings(seconds=0.5))  # fmt: skip
    recording = load_recording(tmp_path / "r.mcap")
    np.testing.assert_array_equal(
        recording.episodes[0].numbers["steering"], -done.episode.actions[:, 0]
    )
    assert recording.contract.action[0].positive == "left"


def test_steering_that_the_policy_scales_is_read_in_its_unit(policy, recorded, tmp_path):
    """As one that learned from `steering [deg]` drives: 1 stands for 8 degrees to the right."""
    contract = policy.contract
    scale = {"unit": "deg", "positive": "right", "scale": (0.5, 8.0)}
    in_degrees = dataclasses.replace(contract.action[0], **scale)
    scaled = dataclasses.replace(contract, action=(in_degrees,))
    clock = SimulatedClock()
    link = WorldLink(find_world(contract.world, **contract.world_options), clock, seed=3)
    link.contract = scaled
    with DriveRecorder(tmp_path / "r.mcap", policy, scaled) as recorder:
        done = drive(policy, scaled, link, clock=clock, recorder=recorder,
                     settings=LoopSettings(seconds=0.5))  # fmt: skip
    recording = load_recording(tmp_path / "r.mcap")
    degrees = recording.episodes[0].numbers["steering"]
    np.testing.assert_allclose(degrees, -(0.5 + 8.0 * done.episode.actions[:, 0]), rtol=1e-6)
    (steering,) = recording.choose().action
    assert (steering.unit, steering.positive, steering.scale) == ("deg", "left", (-0.5, 8.0))
    assert recording.contract.world == contract.world
    with recording.as_demonstrations() as store:
        np.testing.assert_allclose(store.actions, -done.episode.actions, rtol=1e-4, atol=1e-6)
    assert fit_scales([recording]) == {"steering": (-0.5, 8.0)}
    wider = dataclasses.replace(steering, scale=(0.0, 16.0))  # of another policy
    seen = recording.chosen_for(dataclasses.replace(recording.contract, action=(wider,)))
    with recording.as_demonstrations() as own, seen.as_demonstrations() as of_other:
        in_degrees = [wider.in_unit(of_other.actions), steering.in_unit(own.actions)]
        np.testing.assert_allclose(*in_degrees, atol=1e-5)
    cropped = load_recording(tmp_path / "r.mcap", options={"crop": (0.1, 0.0)})
    assert cropped.contract is None
    np.testing.assert_allclose(cropped.episodes[0].numbers["steering"], degrees)
    with pytest.raises(ValueError, match="`log` must be recordings of one kind"):
        load_recordings([tmp_path / "r.mcap", recorded[1]])


class TakenOver:
    """Our world, in which a person takes over for a while and steers by the road."""

    def __init__(self, link, expert, begin_s, end_s):
        self.link, self.contract, self.expert = link, link.contract, expert
        self.begin_s, self.end_s, self.commands = begin_s, end_s, []

    def read(self, timeout_s):
        reading = self.link.read(timeout_s)
        if reading is None or not self.begin_s <= reading.time_s < self.end_s:
            return reading
        command = self.expert(self.link._env, None, self.link._env.unwrapped._info(crashed=False))
        self.link.send(command)
        self.commands.append(command)
        return dataclasses.replace(reading, is_manual=True, command=command)

    def send(self, command):
        self.link.send(command)

    def stop(self):
        self.link.stop()


def test_where_a_person_took_over_only_the_persons_driving_is_taken(policy, tmp_path):
    clock, contract = SimulatedClock(), policy.contract
    world = find_world(contract.world, **contract.world_options)
    link = TakenOver(WorldLink(world, clock, seed=3), world.expert, begin_s=0.99, end_s=1.79)
    path = tmp_path / "corrected.mcap"
    with DriveRecorder(path, policy, contract) as recorder:
        done = drive(policy, contract, link, clock=clock, recorder=recorder,
                     settings=LoopSettings(seconds=SECONDS))  # fmt: skip
    assert done.manual_ticks == len(link.commands) == 24 and len(done.episode) == 66
    with pytest.warns(UserWarning, match=f"{BY_POLICY}: 66"):
        recording = load_recording(path)
    (episode,) = recording.episodes
    assert recording.driver == "human"
    np.testing.assert_allclose(episode.numbers["steering"], np.ravel(link.commands), rtol=1e-6)
    with pytest.warns(UserWarning, match=f"{BY_PERSON}: 24"):
        own = load_recording(path, options={"driver": "policy"})
    assert [len(one.time_s) for one in own.episodes] == [30, 36] and own.driver == "recorded"
    with pytest.raises(ValueError, match=r"`driver` must be one of .*, got 'me'"):
        load_recording(path, options={"driver": "me"})
    with drive_as_demonstrations(path) as store:
        assert len(store) == 66, "what the policy was asked"


def test_any_recording_is_a_store_of_what_was_asked(recorded, tmp_path):
    done, path = recorded
    with drive_as_demonstrations(path) as store:
        np.testing.assert_array_equal(store.observations, done.episode.recorded_observations)
        np.testing.assert_array_equal(store.actions, done.episode.actions)
        np.testing.assert_array_equal(store.dt_s, np.float32(done.episode.dt_s))
    walker, clock = load("walker2d-ltc"), SimulatedClock()
    world = find_world(walker.contract.world, **walker.contract.world_options)
    link = WorldLink(world, clock, seed=1)
    with DriveRecorder(tmp_path / "w.mcap", walker, walker.contract) as recorder:
        done = drive(walker, walker.contract, link, clock=clock, recorder=recorder,
                     settings=LoopSettings(seconds=0.3), keeps_observations=True)  # fmt: skip
    with drive_as_demonstrations(tmp_path / "w.mcap") as store:
        np.testing.assert_array_equal(
            store.observations, np.float32(done.episode.recorded_observations)
        )
        np.testing.assert_array_equal(store.actions, done.episode.actions)
    with DriveRecorder(tmp_path / "none.mcap", walker, walker.contract):
        pass
    with (
        pytest.raises(ValueError, match="a tick in which the policy was asked, got none"),
        drive_as_demonstrations(tmp_path / "none.mcap"),
    ):
        pass


def test_numbers_are_refused_to_be_learned_from(tmp_path):
    walker = load("walker2d-ltc")
    with DriveRecorder(tmp_path / "w.mcap", walker, walker.contract):
        pass
    with pytest.raises(ValueError, match="must hold RGB frames .* run.py POLICY --replay"):
        load_recording(tmp_path / "w.mcap")


@pytest.mark.slow
def test_record_train_drive_and_record_are_a_circle(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["recorded", "--log", str(recorded[1]), "--models", "ncp", "--imitation.epochs", "1",
             "--imitation.epoch-steps", "4", "--imitation.window", "8"]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["train.py", *words])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_job(train, JOBS, "")
    folder = sorted((tmp_path / "runs").glob("recorded-*/policy"))[0]  # of five ways to teach it
    learned = load(str(folder))
    assert learned.contract.provenance["data"] == "recording.mcap"
    done = drive_world(learned, tmp_path / "again.mcap", seconds=0.5)
    again = load_recording(tmp_path / "again.mcap")
    np.testing.assert_array_equal(again.episodes[0].numbers["steering"], done.episode.actions[:, 0])
