"""Recordings of drives and their reading back, with a small circuit and a scripted link."""

import dataclasses
import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ncp_control import LTC, FramesPolicy, VectorPolicy
from ncp_control.commands.replaying import Actor
from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    VectorContract,
)
from ncp_control.loop.levels import Level
from ncp_control.loop.link import Reading
from ncp_control.loop.lossless import decode_frame, encode_frame
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.playback import BAD_CHUNK, CUT_OFF, read_recording
from ncp_control.loop.realtime import drive
from ncp_control.loop.recording import DriveRecorder, labels
from ncp_control.records import join
from ncp_control.wiring_rules import fully_connected

ROOT = Path(__file__).parents[3]
BEGUN_NS = 1_700_000_000_123_456_789


@pytest.fixture
def policy(contract):
    made = VectorPolicy(LTC(fully_connected(2, 6, 1), frame_s=0.1), observation_size=2)
    made.contract = contract
    return made.eval()


@pytest.fixture
def record(policy, contract, clock, make_link, tmp_path):
    """Drive along readings and record it; return the drive and the file."""

    def run(readings, monitor=None, name="drive.mcap", num_recorded=None):
        path = tmp_path / name
        with DriveRecorder(path, policy, contract, name="small", begun_ns=BEGUN_NS) as recorder:
            done = drive(policy, contract, make_link(readings), clock=clock, monitor=monitor,
                         recorder=recorder, keeps_observations=True)  # fmt: skip
        assert recorder.fault == ""
        assert recorder.num_ticks == (num_recorded or len(done.episode))
        return done, path

    return run


def readings(count):
    return [np.array([0.1 * np.sin(i), 1.0 + 0.01 * i]) for i in range(count)]


def test_what_was_seen_done_and_thought_is_read_back(record, policy, contract):
    seen = readings(12)
    done, path = record(seen)
    played = read_recording(path)
    assert (played.contract, played.policy, played.faults) == (contract, "small", [])
    assert [tick.number for tick in played.ticks] == list(range(12))
    assert played.ticks[3].numbers.dtype == np.float64
    policy.reset()
    for tick, time_s, command, observation in zip(
        played.ticks, done.episode.time_s, done.episode.actions, seen, strict=True
    ):
        np.testing.assert_array_equal(played.observation(tick), observation)
        np.testing.assert_array_equal(tick.command, command)
        assert tick.taken_s == pytest.approx(time_s, abs=1e-6)
        assert tick.time_s == time_s
        if tick.asked.is_reset:
            policy.reset()
        np.testing.assert_array_equal(
            policy.act(observation, tick.asked.elapsed_s), tick.asked.action
        )
        np.testing.assert_array_equal(policy.state, tick.state)


@pytest.mark.parametrize("is_monitored", [True, False])
def test_a_replay_agrees_with_a_drive_in_which_an_observation_was_refused(
    is_monitored, record, policy, contract
):
    act = policy.act

    def refuse_the_fifth(observation, dt_s=None):
        if observation[1] == 1.04:
            raise ValueError("not this one")
        return act(observation, dt_s)

    policy.act = refuse_the_fifth
    _, path = record(readings(16), Monitor(contract) if is_monitored else None)
    ticks = read_recording(path).ticks
    assert [tick.asked.is_reset for tick in ticks] == [i in (0, 5) for i in range(16)]
    assert [tick.number for tick in ticks if tick.asked.action is None] == [4]
    assert ticks[5].asked.elapsed_s == contract.frame_s  # as of anything that is seen first
    actor = Actor(policy, contract, "torch")
    for tick in ticks:
        actor.act(tick.numbers, tick.asked)
        expected = [np.nan] if tick.asked.action is None else tick.asked.action
        np.testing.assert_array_equal(actor.actions[-1], expected)
        if tick.state is not None:
            np.testing.assert_array_equal(policy.state, tick.state)
    assert actor.num_refused == 1


def by_hand(observation, command):
    return Reading(observation=observation, time_s=0.0, is_manual=True, command=command)


def test_what_a_person_commands_is_recorded_and_is_not_the_policys(record, policy, contract):
    seen = readings(9)
    commands = [np.array([0.1 * i]) for i in (3, 4, 5)]
    taken = [by_hand(one, command) for one, command in zip(seen[3:6], commands, strict=True)]
    unknown = by_hand(seen[6], None)
    done, path = record([*seen[:3], *taken, unknown, *seen[7:]], num_recorded=8)
    assert (len(done.episode), done.manual_ticks) == (5, 4)
    assert done.timing["ticks"] == done.timing["asked"] == 5
    played = read_recording(path)
    assert [tick.is_manual for tick in played.ticks] == [False] * 3 + [True] * 3 + [False] * 2
    for tick, observation, command in zip(played.ticks[3:], seen[3:6], commands, strict=False):
        np.testing.assert_array_equal(played.observation(tick), observation)
        np.testing.assert_array_equal(tick.command, np.float32(command))
        assert tick.asked is None and tick.state is None
    times_s = [tick.time_s for tick in played.ticks]
    assert times_s == pytest.approx([0.1 * i for i in (0, 1, 2, 3, 4, 5, 7, 8)])
    assert [tick.number for tick, *_ in played.asked()] == [0, 1, 2, 6, 7]
    assert played.ticks[6].asked.is_reset, "the person's driving is not in its memory"


def test_a_person_who_stands_commands_nothing_and_damages_nothing(record):
    seen = readings(4)
    _, path = record([*seen[:2], by_hand(seen[2], np.array([np.nan])), seen[3]], num_recorded=4)
    played = read_recording(path)
    assert played.faults == [] and [tick.number for tick in played.ticks] == [0, 1, 2, 3]
    assert [tick.command is None for tick in played.ticks] == [False, False, True, False]
    assert played.ticks[2].is_manual


def test_a_persons_command_of_another_size_is_the_links_mistake(policy, contract, clock, make_link):
    link = make_link([by_hand(np.zeros(2), np.zeros(2))])
    recorder = SimpleNamespace(begin=lambda _: None)
    with pytest.raises(ValueError, match=r"`command` of a reading must be of shape \(1,\)"):
        drive(policy, contract, link, clock=clock, recorder=recorder)
    assert link.stopped_s


def test_the_file_is_what_foxglove_reads(record, policy):
    from mcap.reader import make_reader

    _, path = record(readings(3))
    data = path.read_bytes()
    reader = make_reader(io.BytesIO(data), validate_crcs=True)
    messages: dict[str, list] = {}
    for schema, channel, message in reader.iter_messages():
        assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
        assert json.loads(schema.data)["type"] == "object"
        messages.setdefault(channel.topic, []).append((message, json.loads(message.data)))
    names = policy.circuit.cell.neuron_names
    for topic in ("/state", "/time_constants"):
        assert list(messages[topic][0][1]) == names
    assert all(tau > 0.0 for tau in messages["/time_constants"][2][1].values())
    first, value = messages["/observation"][1]
    assert first.log_time == BEGUN_NS + 100_000_000  # a tick of 0.1 s
    assert value == {"dtype": "float64", "values": {"a": 0.1 * np.sin(1), "b": 1.01}}


def test_time_constants_are_those_of_the_circuit(record, policy):
    import torch
    from mcap.reader import make_reader

    seen = readings(6)
    _, path = record(seen)
    told = [
        list(json.loads(message.data).values())
        for _, _, message in make_reader(io.BytesIO(path.read_bytes())).iter_messages(
            topics=["/time_constants"]
        )
    ]
    features = policy.perceive(policy.read_observations(np.array(seen)))
    activity = policy.circuit.record(features[None], dt_s=torch.full((1, 6), 0.1))
    np.testing.assert_allclose(told, activity.timescales_s[0], rtol=1e-4)


def test_events_and_gaps_are_recorded_with_their_reasons(record, contract):
    bad = np.array([np.nan, 1.0])
    done, path = record([*readings(4), bad, None, *readings(30)], Monitor(contract))
    played = read_recording(path)
    assert [(e["kind"], e["level"]) for e in played.events] == [
        (e.kind, e.level.name.lower()) for e in done.events
    ]
    assert played.events[0]["reason"] == "NaN or infinity"
    assert played.events[0]["time_s"] == pytest.approx(done.events[0].time_s)
    assert played.ticks[4].level == Level.HOLD and played.ticks[4].asked is None
    assert played.ticks[5].numbers is None
    (fault,) = played.faults  # a number that is not finite cannot be seen again
    assert fault[0] == "damaged message of /observation"


def test_a_file_that_was_cut_is_read_up_to_there(record, tmp_path):
    _, path = record(readings(40))  # 4 s, and a chunk at least every second
    data = path.read_bytes()
    found = []
    for size in range(0, len(data), 97):
        (tmp_path / "cut.mcap").write_bytes(data[:size])
        try:
            played = read_recording(tmp_path / "cut.mcap")
        except ValueError as error:
            assert "without a contract" in str(error) and size < 4000
            continue
        assert played.faults[0][0] == CUT_OFF
        found.append(len(played.ticks))
    assert found == sorted(found)
    assert {0, 40} < set(found) and len(set(found)) >= 4


def test_a_damaged_chunk_and_damaged_messages_are_left_out_and_counted(record, tmp_path):
    _, path = record(readings(40))
    data = bytearray(path.read_bytes())
    offset = sorted(_chunks(path))[1]
    data[offset + 200] ^= 0xFF
    (tmp_path / "bad.mcap").write_bytes(data)
    played = read_recording(tmp_path / "bad.mcap")
    assert [fault for fault, _ in played.faults] == [BAD_CHUNK]
    assert 20 <= len(played.ticks) < 40 and played.ticks[-1].number == 39


def _chunks(path):
    from mcap.reader import make_reader

    summary = make_reader(io.BytesIO(path.read_bytes())).get_summary()
    return [index.chunk_start_offset for index in summary.chunk_indexes]


KILLED = """
import sys
import numpy as np
from ncp_control.loop.recording import DriveRecorder
from ncp_control.policy import load
policy = load("walker2d-ltc")
seen = np.zeros(len(policy.contract.observation.entries))
policy.act(seen)
recorder = DriveRecorder(__import__("pathlib").Path(sys.argv[1]), policy, policy.contract)
row = {"dt_s": 0.1, "command": np.zeros(len(policy.contract.action)), "level": 0, "model_s": 0.0,
       "jitter_s": 0.0, "is_late": False, "action": None, "elapsed_s": None, "is_reset": False,
       "is_manual": False}
for i in range(10**9):
    recorder.add(None, {**row, "time_s": 0.1 * i}, policy, ())
    if i == 30:
        print("3 s", flush=True)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_all_but_the_last_second(tmp_path):
    path = tmp_path / "killed.mcap"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(read_recording(path).ticks) >= 20


def test_a_full_disk_ends_the_recording_and_not_the_drive(
    policy, contract, clock, make_link, tmp_path
):
    recorder = DriveRecorder(tmp_path / "full.mcap", policy, contract)
    write = recorder._writer.flush

    def flush():
        if recorder.num_ticks > 15:
            raise OSError(errno.ENOSPC, "No space left on device")
        write()

    recorder._writer.flush = flush
    link = make_link(readings(40))
    with recorder:
        done = drive(policy, contract, link, clock=clock, recorder=recorder)
    assert len(done.episode) == len(link.sent) == 40
    assert done.ended == "the script is over"
    assert "No space left" in recorder.fault
    assert len(read_recording(tmp_path / "full.mcap").ticks) >= 10


def test_another_file_is_refused_with_what_to_do(tmp_path):
    for name, data in (("empty.mcap", b""), ("text.mcap", b"hello, world\n" * 9)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="must be an MCAP file that `ncp run --record`"):
            read_recording(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_recording(tmp_path / "none.mcap")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 9])
@pytest.mark.parametrize("is_bgr", [False, True])
def test_frames_of_any_channels_pass_through_a_png_without_loss(channels, is_bgr):
    frame = np.random.default_rng(0).integers(0, 256, (17, 23, channels), np.uint8)
    png = encode_frame(frame, is_bgr)
    np.testing.assert_array_equal(decode_frame(png, frame.shape, is_bgr), frame)
    for damaged in (png[:40], b"", png[:-200] if channels > 3 else b"none"):
        with pytest.raises(ValueError, match="the frame is no PNG"):
            decode_frame(damaged, (*frame.shape[:1], 24, channels), is_bgr)


def test_red_is_red_in_the_picture():
    import cv2

    frame = np.zeros((20, 20, 3), np.uint8)
    frame[..., 0] = 255  # red, in RGB
    picture = cv2.imdecode(np.frombuffer(encode_frame(frame), np.uint8), cv2.IMREAD_COLOR)
    assert picture[0, 0].tolist() == [0, 0, 255]  # OpenCV's order


def test_labels_differ():
    assert labels(["a", "", "a", "b", ""]) == ["a", "1", "a 2", "b", "4"]
    assert labels(["x", "x 2", "x"]) == ["x", "x 2", "x 3"]


def test_an_entry_that_is_named_twice_is_kept_twice(policy, contract, clock, make_link, tmp_path):
    entry = contract.observation.entries[0]
    twice = dataclasses.replace(contract.observation, entries=(entry, entry))
    policy.contract = dataclasses.replace(contract, observation=twice)
    link = make_link(readings(3))
    link.contract = policy.contract
    with DriveRecorder(tmp_path / "x.mcap", policy, policy.contract) as recorder:
        drive(policy, policy.contract, link, clock=clock, recorder=recorder)
    played = read_recording(tmp_path / "x.mcap")
    np.testing.assert_array_equal(played.ticks[2].numbers, readings(3)[2])


def test_records_of_a_frame_and_numbers_are_a_picture_and_numbers(clock, make_link, tmp_path):
    frames = FramesContract(shape=(48, 64, 3))
    numbers = VectorContract(entries=(Entry(name="speed", unit="m/s"),))
    contract = Contract(
        observation=DictContract(parts={"camera": frames, "body": numbers}),
        action=(ActionContract(name="steering"),),
        frame_s=0.1,
    )
    policy = FramesPolicy(
        LTC(fully_connected(33, 6, 1), frame_s=0.1),
        head="light",
        frame_shape=(48, 64, 3),
        numbers=1,
    )
    policy.contract = contract
    rng = np.random.default_rng(0)
    seen = [
        join(rng.integers(0, 256, (48, 64, 3), np.uint8), np.array([0.1 * i], np.float32))
        for i in range(5)
    ]
    link = make_link(seen)
    link.contract = contract
    with DriveRecorder(tmp_path / "both.mcap", policy, contract) as recorder:
        drive(policy.eval(), contract, link, clock=clock, recorder=recorder)
    played = read_recording(tmp_path / "both.mcap")
    assert played.ticks[2].shape == (48, 64, 3)
    assert played.ticks[2].numbers.tolist() == [np.float32(0.2)]
    for tick, record in zip(played.ticks, seen, strict=True):
        np.testing.assert_array_equal(played.observation(tick), record)
    assert all(tick.asked.action is not None for tick in played.ticks)
