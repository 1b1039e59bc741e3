"""ROS 2 bags that `rosbags` has written, read as demonstrations."""

import itertools
import shutil
import sqlite3
import warnings

import numpy as np
import pytest

from envs.recorded import is_bag, load_bag, load_recording
from envs.recorded.bag import DAMAGED_MESSAGE, DAMAGED_PART
from envs.recorded.ros2_driving import BACKWARDS, NO_COMMAND, STANDING
from scripts.training.recorded import contract_of_recordings

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'ncp-control[ros]'")

from tests.envs.recorded import bag_files
from tests.envs.recorded.bag_files import NS, START_NS, write_bag

SIZE = (30, 40)
ANGLE = {"max_steer_rad": 0.4}


def load(path, *, size=SIZE, **options):
    return load_recording(path, image_size=size, options=options or ANGLE)


def quiet(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(path, **options)


def frames_of(recording):
    with recording.as_demonstrations() as store:
        return np.array(store.observations)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize(
    ("make", "encoding"),
    [("image", "rgb8"), ("image", "bgr8"), ("compressed", ".png")],
)
def test_frames_times_and_steering_are_those_that_were_written(tmp_path, storage, make, encoding):
    messages, frames, times_s, turns = bag_files.drive(
        25, make=lambda rgb, at: getattr(bag_files, make)(rgb, at, encoding)
    )
    folder = write_bag(tmp_path / "bag", messages, storage)
    (storage_file,) = [*folder.glob("*.mcap"), *folder.glob("*.db3")]
    for path in (folder, folder / "metadata.yaml", storage_file):
        recording = load(path)
        assert (recording.format, recording.num_skipped) == ("ros2", 0)
        (episode,) = recording.episodes
        np.testing.assert_allclose(episode.time_s, times_s, rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(episode.numbers["steering"], turns / 0.4, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(frames_of(recording), frames)
    assert recording.action[0].unit == "fraction of 0.4 rad"
    contract = contract_of_recordings([recording])
    assert contract.action[0].unit == "fraction of 0.4 rad"
    assert contract.action[0].positive == "left"


@pytest.mark.parametrize(
    ("storage", "compression"), [("mcap", "storage"), ("sqlite3", "message"), ("sqlite3", "file")]
)
def test_compressed_bags_are_read(tmp_path, storage, compression):
    messages, frames, *_ = bag_files.drive(8)
    folder = write_bag(tmp_path / "bag", messages, storage, compression)
    np.testing.assert_array_equal(frames_of(load(folder)), frames)


def test_jpegs_are_read_as_they_are_and_grey_images_get_three_channels(tmp_path):
    messages, frames, *_ = bag_files.drive(
        6, make=lambda rgb, at: bag_files.compressed(rgb, at, ".jpg")
    )
    seen = frames_of(load(write_bag(tmp_path / "jpeg", messages)))
    assert np.abs(seen.astype(int) - frames).mean() < 12.0
    messages, frames, *_ = bag_files.drive(6, make=bag_files.image, encoding="mono8")
    seen = frames_of(load(write_bag(tmp_path / "grey", messages)))
    np.testing.assert_array_equal(seen, frames[..., :1].repeat(3, 3))


def test_yaw_rates_are_steering_or_become_angles(tmp_path):
    def command(speed_mps, turn):
        return bag_files.stamped(bag_files.twist(2.0 * speed_mps, turn), START_NS)

    messages, _, _, turns = bag_files.drive(12, command=command)
    folder = write_bag(tmp_path / "bag", messages)
    recording = load(folder, max_yaw_rate_radps=0.5)
    np.testing.assert_allclose(
        recording.episodes[0].numbers["steering"], turns / 0.5, rtol=1e-6, atol=1e-7
    )
    assert recording.action[0].unit == "fraction of 0.5 rad/s"
    recording = load(folder, max_steer_rad=0.2, wheelbase_m=0.5)
    angles = np.arctan(0.5 * turns / 2.0)
    np.testing.assert_allclose(
        recording.episodes[0].numbers["steering"], angles / 0.2, rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_turn_out_of_its_range_is_told_with_its_sign(tmp_path, sign):
    at = [START_NS + i * NS // 10 for i in range(12)]
    messages = [
        one
        for i, t in enumerate(at)
        for one in (("/cmd", t, bag_files.ackermann(1.0, sign * (0.75 if i == 5 else 0.25))),
                    ("/camera", t, bag_files.image(bag_files.picture(i), t)))
    ]  # fmt: skip
    folder = write_bag(tmp_path / "bag", messages)
    told = rf"steering outside \[-1, 1\]: 1 \(first: {sign * 1.5:g} in "
    with pytest.warns(UserWarning, match=told):
        recording = load(folder, max_steer_rad=0.5)
    steering = np.concatenate([e.numbers["steering"] for e in recording.episodes])
    np.testing.assert_allclose(steering, [sign * 0.5] * 11)


def test_each_image_gets_the_command_in_force_or_is_left_out(tmp_path):
    at = [START_NS + i * NS // 10 for i in range(60)]
    images = [("/camera", t, bag_files.image(bag_files.picture(i), t)) for i, t in enumerate(at)]
    said = [(0.25, 0.1, 1.0), (0.4, 0.2, 1.0), (3.05, 0.3, 1.0), (4.0, -0.1, -1.0)]
    commands = [("/cmd", START_NS + round(s * NS), bag_files.stamped(bag_files.ackermann(v, turn),
                 START_NS)) for s, turn, v in said]  # fmt: skip
    messages = sorted(images + commands, key=lambda one: (one[1], one[0] == "/camera"))
    with pytest.warns(UserWarning, match="Skipped"):
        recording = load(write_bag(tmp_path / "bag", messages))
    kept = np.concatenate([e.time_s for e in recording.episodes]) - START_NS / NS
    steering = np.concatenate([e.numbers["steering"] for e in recording.episodes])
    np.testing.assert_allclose(kept, [*np.arange(3, 15) / 10, *np.arange(31, 40) / 10], atol=1e-6)
    wanted = [0.25] * 1 + [0.5] * 11 + [0.75] * 9
    np.testing.assert_allclose(steering, wanted, rtol=1e-6)
    assert recording.skipped[BACKWARDS] == 11  # those of a second from 4.0 on
    assert recording.skipped[NO_COMMAND] == 60 - 21 - 11
    options = {"max_yaw_rate_radps": 1.0}
    standing = [("/cmd", t, bag_files.twist(0.0 if i < 20 else 1.0, 0.2)) for i, t in enumerate(at)]
    folder = write_bag(tmp_path / "standing", itertools.chain(*zip(standing, images, strict=True)))
    assert load(folder, **options).num_skipped == 0
    assert quiet(folder, max_steer_rad=0.4, wheelbase_m=0.3).skipped == {STANDING: 20}


def test_images_of_one_moment_and_without_stamps_are_told_apart(tmp_path):
    """Times are then those at which the bag received them; an episode ends where none passes."""
    frames = [bag_files.picture(i) for i in range(9)]
    times_ns = [START_NS + (i - (i == 5)) * NS // 20 for i in range(9)]
    messages = [("/cmd", START_NS - 1, bag_files.ackermann(1.0, 0.1))]
    messages += [("/camera", at, bag_files.image(f, 0)) for f, at in zip(frames, times_ns,
                                                                         strict=True)]  # fmt: skip
    for storage in ("mcap", "sqlite3"):
        recording = quiet(write_bag(tmp_path / storage, messages, storage))
        np.testing.assert_array_equal(frames_of(recording), frames)
        assert [len(episode) for episode in recording.episodes] == [5, 4]
        np.testing.assert_allclose(
            np.concatenate([e.time_s for e in recording.episodes]), np.array(times_ns) / NS
        )
        shown = [episode.select(np.arange(len(episode)) == 2) for episode in recording.episodes]
        for episode, number in zip(reversed(shown), (7, 2), strict=True):  # in any order
            data = episode.image_paths[0].read_bytes()
            assert data == bag_files_bmp(frames[number])


def bag_files_bmp(rgb):
    import cv2

    return cv2.imencode(".bmp", rgb[:, :, ::-1])[1].tobytes()


# --- topics and options ---------------------------------------------------------------------------


def test_topics_are_named_where_there_are_several_and_listed_where_they_are_not(tmp_path):
    messages, frames, *_ = bag_files.drive(6)
    other = [("/other", at, bag_files.compressed(255 - m.data.reshape(*SIZE, 3), at))
             for topic, at, m in messages if topic == "/camera"]  # fmt: skip
    folder = write_bag(tmp_path / "bag", sorted(messages + other, key=lambda one: one[1]))
    with pytest.raises(ValueError, match=r"`image_topic` must be a topic of Image or Compressed.*"
                       r", got None .*/camera \(sensor_msgs/msg/Image, 6\), /other \(.*"
                       r"--log-options image_topic=/camera"):  # fmt: skip
        load(folder)
    np.testing.assert_array_equal(frames_of(load(folder, image_topic="/camera", **ANGLE)), frames)
    seen = frames_of(load(folder, image_topic="/other", **ANGLE))
    np.testing.assert_array_equal(seen, 255 - frames)
    with pytest.raises(ValueError, match=r"`command_topic` .* got '/no'.*/cmd \(ackermann"):
        load(folder, image_topic="/other", command_topic="/no", **ANGLE)
    folder = write_bag(tmp_path / "blind", [one for one in messages if one[0] == "/cmd"])
    with pytest.raises(ValueError, match=r"`image_topic` .* with /cmd \(.* Record one"):
        load(folder, image_topic="/camera", **ANGLE)


def test_the_scale_of_the_steering_must_be_said_and_the_largest_is_told(tmp_path):
    folder = write_bag(tmp_path / "a", bag_files.drive(12)[0])
    with pytest.raises(ValueError, match=r"max_steer_rad for an AckermannDrive, got none of them; "
                       r"its largest angle is 0\.29\d rad"):  # fmt: skip
        load_recording(folder)
    with pytest.raises(ValueError, match="got max_yaw_rate_radps; its largest angle"):
        load(folder, max_yaw_rate_radps=1.0)
    folder = write_bag(tmp_path / "t", bag_files.drive(12, command=bag_files.twist)[0])
    with pytest.raises(ValueError, match=r"for a Twist, got max_steer_rad; its largest yaw rate"):
        load(folder, **ANGLE)
    with pytest.raises(ValueError, match="`max_yaw_rate_radps` must be"):
        load(folder, max_yaw_rate_radps=-1.0)
    with pytest.raises(ValueError, match="`log_options` must be options of the reader of .* got"
                       " 'topic'. It takes image_topic, state_topic, command_topic"):  # fmt: skip
        load(folder, topic="/camera")
    with pytest.raises(ValueError, match=r"`steering` must be a fraction of the largest angle"):
        load(folder, max_yaw_rate_radps=0.05)  # most of it is outside


def test_a_part_of_the_image_is_cut_off_if_asked_for(tmp_path):
    messages, frames, *_ = bag_files.drive(6)
    recording = load(write_bag(tmp_path / "bag", messages), size=(15, 40), crop=[0.5, 0.0], **ANGLE)
    np.testing.assert_array_equal(frames_of(recording), frames[:, 15:])
    assert contract_of_recordings([recording]).observation.view.crop_top == 0.5


# --- damage ---------------------------------------------------------------------------------------


def test_a_damaged_message_is_left_out_and_counted(tmp_path):
    messages, frames, *_ = bag_files.drive(12)
    whole = bag_files.STORE.serialize_cdr(messages[9][2], "sensor_msgs/msg/Image")
    messages[9] = ("/camera", messages[9][1], ("sensor_msgs/msg/Image", bytes(whole[:300])))
    messages[14] = ("/cmd", messages[14][1], ("ackermann_msgs/msg/AckermannDrive", b"\0\1\0"))
    messages[17][2].encoding = "16UC1"
    messages[20][2].steering_angle = float("nan")
    for storage in ("mcap", "sqlite3"):
        with pytest.warns(UserWarning, match=DAMAGED_MESSAGE):
            recording = load(write_bag(tmp_path / storage, messages, storage))
        kept = [i for i in range(12) if i not in (4, 8, 10)]
        np.testing.assert_array_equal(frames_of(recording), frames[kept])
        assert recording.num_skipped == 4


def test_a_bag_that_is_damaged_in_the_middle_is_read_before_and_behind(tmp_path):
    messages, *_ = bag_files.drive(80, size=(120, 160))  # five chunks
    path = write_bag(tmp_path / "bag", messages, compression="storage") / "bag.mcap"
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(range(256)) * 16
    path.write_bytes(data)
    recording = quiet(path.parent)
    rows = np.concatenate([episode.rows for episode in recording.episodes])
    assert 0 < recording.skipped[DAMAGED_PART] < 20 and len(set(rows)) == len(rows)
    times_s = np.concatenate([e.time_s for e in recording.episodes]) - START_NS / NS
    assert times_s.min() < 0.1 and times_s.max() > 3.9


def test_what_is_no_whole_bag_is_refused_in_one_sentence(tmp_path):
    folder = write_bag(tmp_path / "bag", bag_files.drive(6)[0])
    shutil.copytree(folder, tmp_path / "cut")
    path = tmp_path / "cut" / "bag.mcap"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"`folder` must hold a ROS 2 bag that can be read.* `ros2"
    ):
        load(tmp_path / "cut")
    (tmp_path / "cut" / "bag.mcap").unlink()
    with pytest.raises(ValueError, match="`folder` must hold a ROS 2 bag that can be read"):
        load(tmp_path / "cut")
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    assert len(load(folder)) == 6
    (folder / "metadata.yaml").unlink()  # a recording that was killed before it wrote that
    assert len(load(folder)) == 6


def test_bags_are_told_from_other_recordings(tmp_path, recorded_by_us):
    folder = write_bag(tmp_path / "bag", bag_files.drive(6)[0])
    assert is_bag(folder) and is_bag(folder / "bag.mcap") and is_bag(folder / "metadata.yaml")
    assert not is_bag(recorded_by_us) and not is_bag(recorded_by_us.parent)
    assert load_recording(recorded_by_us).format == "mcap"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metadata.yaml").write_text("name: rosbag")
    assert not is_bag(tmp_path / "other") and not is_bag(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="`log_options` must be options .* It takes image_size"):
        load(recorded_by_us, **ANGLE)


@pytest.fixture(scope="module")
def recorded_by_us(tmp_path_factory):
    from ncp_control.policy import load as load_policy
    from tests.envs.recorded.test_drives import drive_world

    path = tmp_path_factory.mktemp("ours") / "recording.mcap"
    drive_world(load_policy("drive-ncp"), path, seconds=0.5)
    return path


def test_without_rosbags_the_package_is_named(tmp_path, monkeypatch):
    import sys

    folder = write_bag(tmp_path / "bag", bag_files.drive(6)[0])
    monkeypatch.setitem(sys.modules, "rosbags", None)
    with pytest.raises(ValueError, match=r"needs rosbags.*ncp-control\[ros\]"):
        load_bag(folder)


# --- counterparts ---------------------------------------------------------------------------------


def test_mcap_ros2_support_reads_the_same_bag_and_not_our_own_recordings(tmp_path, recorded_by_us):
    """Ours hold JSON of Foxglove's schemas, as docs/robots.md says."""
    reason = "mcap-ros2-support is not installed: pip install mcap-ros2-support"
    reader = pytest.importorskip("mcap_ros2.reader", reason=reason)
    messages, *_ = bag_files.drive(8)
    folder = write_bag(tmp_path / "bag", messages)
    seen, said = [], []
    for one in reader.read_ros2_messages(str(folder / "bag.mcap")):
        if one.channel.topic == "/camera":
            stamp = one.ros_msg.header.stamp
            pixels = np.frombuffer(bytes(one.ros_msg.data), np.uint8).reshape(*SIZE, 3)
            seen.append((stamp.sec + stamp.nanosec / NS, pixels))
        else:
            said.append(one.ros_msg.steering_angle)
    recording = load(folder)
    np.testing.assert_array_equal(frames_of(recording), [pixels for _, pixels in seen])
    np.testing.assert_allclose(recording.episodes[0].time_s, [t for t, _ in seen], atol=1e-6)
    np.testing.assert_allclose(
        recording.episodes[0].numbers["steering"], np.array(said) / 0.4, rtol=1e-6
    )
    with pytest.raises(Exception, match="json"):
        list(reader.read_ros2_messages(str(recorded_by_us)))


def test_the_database_is_not_written_to(tmp_path):
    folder = write_bag(tmp_path / "bag", bag_files.drive(6)[0], "sqlite3")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    load(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with sqlite3.connect(folder / "bag.db3") as connection:
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (12,)
    connection.close()


def test_a_bag_without_images_is_read_as_numbers(tmp_path):
    said = [("/cmd", START_NS + i * NS // 10, bag_files.twist(0.1 * i, -0.2 * i)) for i in range(9)]
    folder = write_bag(tmp_path / "bag", said)
    with pytest.warns(UserWarning, match="has no images: the numbers of /cmd are read alone"):
        recording = load_recording(folder)
    chosen = recording.choose(["yaw_rate"])
    assert (chosen.inputs, chosen.action[0].unit) == (("speed",), "rad/s")
    np.testing.assert_allclose(chosen.episodes[0].numbers["speed"], 0.1 * np.arange(9), atol=1e-6)
    with pytest.warns(UserWarning, match="are read alone"):
        steered = load_recording(folder, options={"max_yaw_rate_radps": 1.6})
    np.testing.assert_allclose(steered.choose().episodes[0].numbers["steering"],
                               -np.arange(9) / 8, atol=1e-6)  # fmt: skip


def test_the_real_bag_of_commands(recordings):
    folder = recordings / "formats" / "ros2_bag_twist"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    with pytest.warns(UserWarning, match="/turtle1/cmd_vel are read alone"):
        recording = load_recording(folder)
    assert recording.num_listed == len(recording) == 113
    assert [one.name for one in recording.quantities] == ["speed", "yaw_rate"]
