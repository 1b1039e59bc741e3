"""Bags of robot arms: joints that are sensed and commanded, by name and unit."""

import math
import warnings

import numpy as np
import pytest

from envs.recorded import load_recording, write_lerobot
from envs.recorded.ros2_driving import NO_COMMAND
from envs.recorded.ros2_joints import BAD_LENGTH, BAD_NAMES, NO_POINT

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'ncp-control[ros]'")

from tests.envs.recorded import bag_files
from tests.envs.recorded.bag_files import NS, START_NS, joint_state, joint_trajectory, write_bag

LEADER = {"command_topic": "/leader"}
SENSED = [f"observation.state.{joint}.{kind}" for joint, kind in
          (("wrist", "position"), ("elbow", "position"), ("wrist", "velocity"),
           ("elbow", "velocity"))]  # fmt: skip
TOLD = ["action.elbow.position", "action.wrist.position"]


def load(path, **options):
    return load_recording(path, image_size=(30, 40), options=options)


def quiet(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(path, **options)


def numbers_of(recording, name):
    return np.concatenate([episode.numbers[name] for episode in recording.episodes])


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_each_state_has_the_command_in_force_by_the_names_of_the_joints(tmp_path, storage):
    messages, told = bag_files.arm(40)
    recording = load(write_bag(tmp_path / "bag", messages, storage), **LEADER)
    assert (len(recording), recording.num_skipped, recording.framing) == (40, 0, None)
    assert recording.actions == tuple(TOLD) and recording.inputs == tuple(SENSED)
    assert {one.name: one.unit for one in recording.quantities} == dict(
        zip([*SENSED, *TOLD], ["rad", "rad", "rad/s", "rad/s", "rad", "rad"], strict=True)
    )
    assert recording.choose(TOLD[:1]).inputs == tuple(SENSED), "no command of the other joint"
    (episode,) = recording.choose(["action"], ["observation.state.elbow"]).episodes
    for name, wanted in zip(TOLD, told.T, strict=True):
        np.testing.assert_allclose(episode.numbers[name], wanted, atol=1e-7)
    np.testing.assert_allclose(episode.numbers[SENSED[1]][1:], told[:-1, 0], atol=1e-7)
    np.testing.assert_allclose(episode.numbers[SENSED[3]], -0.1 * np.arange(40), atol=1e-6)
    np.testing.assert_allclose(episode.time_s, START_NS / NS + np.arange(40) / 20, atol=1e-6)


def test_images_get_states_and_commands_by_time(tmp_path):
    messages, told = bag_files.arm(12, has_camera=True)
    recording = load(write_bag(tmp_path / "bag", messages), **LEADER)
    assert recording.framing is not None and recording.inputs == ()
    chosen = recording.choose(inputs=["observation.state"])
    assert chosen.actions == tuple(TOLD) and len(chosen) == 12
    np.testing.assert_allclose(numbers_of(chosen, TOLD[1]), told[:, 1], atol=1e-7)
    np.testing.assert_allclose(numbers_of(chosen, SENSED[0])[1:], told[:-1, 1], atol=1e-7)
    with recording.as_demonstrations() as store:
        assert store.observations.shape == (12, 30, 40, 3) and store.actions.shape == (12, 2)


def test_the_first_point_of_a_trajectory_is_the_command_and_found_alone(tmp_path):
    def command(names, positions):
        return joint_trajectory(names, positions, np.asarray(positions) + 9.0)

    messages, told = bag_files.arm(12, command=command)
    messages.insert(5, ("/leader", messages[4][1] + 1, joint_trajectory(["elbow", "wrist"])))
    with pytest.warns(UserWarning, match=f"{NO_POINT} on /leader"):
        recording = load(write_bag(tmp_path / "bag", messages))
    assert recording.actions == tuple(TOLD)
    np.testing.assert_allclose(numbers_of(recording, TOLD[0]), told[:, 0], atol=1e-7)


def test_an_array_is_a_command_if_it_is_named(tmp_path):
    messages, told = bag_files.arm(12, command=bag_files.float_array)
    messages.insert(5, ("/leader", messages[4][1] + 1, bag_files.float_array((), [1.0])))
    path = write_bag(tmp_path / "bag", messages)
    with pytest.raises(ValueError, match="`command_topic` must be .*MultiArray, got None"):
        load(path)
    recording = load(path, **LEADER)
    assert recording.actions == ("action.0", "action.1")
    assert {one.unit for one in recording.quantities if one.name in recording.actions} == {""}
    with pytest.warns(UserWarning, match=f"{BAD_LENGTH} on /leader: 1 "):
        named = load(path, **LEADER, command_joints="elbow, wrist")
    assert named.actions == ("action.elbow", "action.wrist")
    for number, column in zip(named.actions, told.T, strict=True):
        np.testing.assert_allclose(numbers_of(named, number), column, atol=1e-7)
    with pytest.raises(ValueError, match="`command_joints` must name each entry once"):
        load(path, **LEADER, command_joints="elbow,elbow")
    states = write_bag(tmp_path / "states", bag_files.arm(12)[0])
    with pytest.raises(ValueError, match="`command_joints` must be left out for /leader"):
        load(states, **LEADER, command_joints=["elbow", "wrist"])


def test_joints_that_come_and_go_keep_their_number_for_a_while(tmp_path):
    """An arm and its gripper send messages of their own; the gripper ends after 1 s."""
    messages = []
    for i in range(60):
        at = START_NS + i * NS // 20
        messages.append(("/states", at, joint_state(["arm"], [i], time_ns=at)))
        messages.append(("/told", at - 1, joint_state(["arm"], [i + 0.5])))
        if i % 4 == 0 and i <= 20:
            messages.append(("/told", at - 2, joint_state(["gripper"], [-i])))
    messages.sort(key=lambda one: one[1])
    path = write_bag(tmp_path / "bag", messages)
    recording = load(path, command_topic="/told")
    assert recording.inputs == ("observation.state.arm.position",) and len(recording) == 60
    gripper = numbers_of(recording, "action.gripper.position")
    np.testing.assert_array_equal(gripper[:40], np.minimum(-(np.arange(40) // 4 * 4), 0).clip(-20))
    assert np.isnan(gripper[41:]).all()
    chosen = recording.choose()
    assert len(chosen) in (40, 41)
    assert chosen.skipped["no action.gripper.position"] == 60 - len(chosen)
    assert len(recording.choose(["action.arm"], ["observation"])) == 60
    short = load(path, command_topic="/told", command_age_s=0.1).choose()
    assert 0 < len(short) < 30


def test_nan_is_a_missing_number_and_one_that_is_never_there_has_no_name(tmp_path):
    messages, _ = bag_files.arm(20)
    for i, (topic, _, message) in enumerate(messages):
        if topic == "/joint_states":
            message.velocity = np.array([math.nan, 1.0])  # the wrist has no sensor of its rate
            if i == 11:
                message.position[1] = math.nan
            if i == 13:
                message.velocity = np.zeros(0)
    recording = load(write_bag(tmp_path / "bag", messages), **LEADER)
    assert "observation.state.wrist.velocity" not in recording.inputs
    assert len(recording) == 20
    chosen = recording.choose()
    assert chosen.skipped == {"no observation.state.elbow.position": 1}
    # Without a velocity in the message, the one before is in force.
    assert len(recording.choose(inputs=["observation.state.elbow.velocity"])) == 20


def test_messages_that_cannot_be_told_apart_are_left_out_and_counted(tmp_path):
    messages, _ = bag_files.arm(20)
    bad = {5: (["elbow", "elbow"], [1, 2]), 7: (["elbow", ""], [1, 2]), 9: (["elbow"], [1, 2])}
    for i, (names, position) in bad.items():
        messages[i] = (*messages[i][:2], joint_state(names, position))
    path = write_bag(tmp_path / "bag", messages)
    with pytest.warns(UserWarning, match=f"{BAD_NAMES} on /joint_states: 2"):
        recording = load(path, **LEADER)
    assert recording.skipped[f"{BAD_LENGTH} on /joint_states"] == 1 and len(recording) == 17


def test_states_before_the_first_command_are_left_out(tmp_path):
    messages, _ = bag_files.arm(20)
    path = write_bag(tmp_path / "bag", [one for i, one in enumerate(messages) if i not in (0, 2)])
    recording = quiet(path, **LEADER)
    assert recording.skipped == {NO_COMMAND: 2} and len(recording) == 18


def test_topics_of_joints_are_named_where_nothing_tells_them_apart(tmp_path):
    messages, _ = bag_files.arm(8)
    other = [("/third", at + 1, one) for topic, at, one in messages if topic == "/leader"]
    path = write_bag(tmp_path / "two", messages)
    with pytest.raises(ValueError, match=r"`command_topic` must be .* got None .*/joint_states \("
                       r"sensor_msgs/msg/JointState, 8\), /leader .*_topic=/leader"):  # fmt: skip
        load(path)
    with pytest.raises(ValueError, match=r"JointState other than /leader, got '/leader'"):
        load(path, state_topic="/leader", **LEADER)
    with pytest.raises(ValueError, match="`max_steer_rad` must be left out where joints"):
        load(path, max_steer_rad=0.4, **LEADER)
    path = write_bag(tmp_path / "three", sorted([*messages, *other], key=lambda one: one[1]))
    with pytest.raises(ValueError, match=r"`state_topic` must be a topic of JointState other than"
                       r" /leader.* state_topic=/joint_states"):  # fmt: skip
        load(path, **LEADER)
    assert load(path, state_topic="/third", **LEADER).inputs[0].startswith("observation.state.elb")
    path = write_bag(tmp_path / "one", [one for one in messages if one[0] == "/joint_states"])
    with pytest.raises(ValueError, match="command_topic=/joint_states"):
        load(path)
    with pytest.warns(UserWarning, match="numbers of /joint_states are read alone"):
        alone = load(path, command_topic="/joint_states")
    assert alone.choose(["action.elbow.velocity"], ["action.elbow.position"]).inputs == TOLD_ELBOW


TOLD_ELBOW = ("action.elbow.position",)


def test_wheels_of_a_car_come_along_and_change_nothing_else(tmp_path):
    messages, frames, times_s, turns = bag_files.drive(12)
    wheels = [("/joint_states", at + 1, joint_state(["left"], [i], time_ns=at))
              for i, (_, at, _) in enumerate(messages)]  # fmt: skip
    everything = sorted([*messages, *wheels], key=lambda one: one[1])
    plain = load(write_bag(tmp_path / "plain", messages), max_steer_rad=0.4)
    recording = load(write_bag(tmp_path / "wheels", everything), max_steer_rad=0.4)
    assert recording.actions == plain.actions == ("steering",)
    assert recording.inputs == plain.inputs == ()
    np.testing.assert_array_equal(numbers_of(recording, "steering"), numbers_of(plain, "steering"))
    assert numbers_of(recording, "observation.state.left.position")[3] == 7
    assert len(frames) == len(times_s) == len(turns) == len(recording)


def test_an_arm_keeps_its_names_as_a_lerobot_data_set(tmp_path):
    pytest.importorskip("pyarrow")
    messages, _ = bag_files.arm(20)
    recording = load(write_bag(tmp_path / "bag", messages), **LEADER)
    write_lerobot(recording, tmp_path / "dataset")
    again = load_recording(tmp_path / "dataset")
    assert again.actions == recording.actions
    assert set(again.inputs) == set(recording.inputs)
    assert {one.name: one.unit for one in again.quantities} == {
        one.name: one.unit for one in recording.quantities
    }
    for name in (*again.actions, *again.inputs):
        np.testing.assert_array_equal(numbers_of(again, name), numbers_of(recording, name))
