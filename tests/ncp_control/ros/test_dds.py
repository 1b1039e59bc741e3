"""Messages of DDS against those that `rosbags` packs and unpacks."""

import numpy as np
import pytest

dds = pytest.importorskip(
    "ncp_control.ros.dds", reason="cyclonedds is not installed: pip install 'ncp-control[ros]'"
)
typesys = pytest.importorskip(
    "rosbags.typesys", reason="rosbags is not installed: pip install 'ncp-control[ros]'"
)


@pytest.fixture(scope="module")
def store():
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    drive = "float32 steering_angle\nfloat32 steering_angle_velocity\nfloat32 speed\n" \
        "float32 acceleration\nfloat32 jerk\n"  # fmt: skip
    stamped = "std_msgs/Header header\nackermann_msgs/AckermannDrive drive\n"
    for name, text in (("AckermannDrive", drive), ("AckermannDriveStamped", stamped)):
        store.register(typesys.get_types_from_msg(text, f"ackermann_msgs/msg/{name}"))
    return store


def header_of(store, frame_id):
    stamp = store.types["builtin_interfaces/msg/Time"](sec=-3, nanosec=7)
    return store.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


@pytest.mark.parametrize("is_little", [True, False])
@pytest.mark.parametrize("frame_id", ["", "cam", "camera", "camera_é"])
def test_images_are_unpacked_as_rosbags_packs_them(store, frame_id, is_little):
    header, data = header_of(store, frame_id), np.arange(18, dtype=np.uint8)
    raw = store.types["sensor_msgs/msg/Image"](
        header=header, height=2, width=3, encoding="bgr8", is_bigendian=0, step=9, data=data
    )
    packed = store.serialize_cdr(raw, "sensor_msgs/msg/Image", little_endian=is_little)
    found = dds.Image.deserialize(bytes(packed))
    assert (found.height, found.width, found.step, found.encoding) == (2, 3, 9, "bgr8")
    assert (found.header.frame_id, found.header.stamp.time_s) == (frame_id, -3 + 7e-9)
    np.testing.assert_array_equal(found.data, data)
    squeezed = store.types["sensor_msgs/msg/CompressedImage"](
        header=header, format="jpeg", data=data
    )
    packed = store.serialize_cdr(squeezed, "sensor_msgs/msg/CompressedImage",
                                 little_endian=is_little)  # fmt: skip
    found = dds.CompressedImage.deserialize(bytes(packed))
    assert found.format == "jpeg"
    np.testing.assert_array_equal(found.data, data)


def test_damaged_messages_are_a_valueerror_and_nothing_else(store):
    raw = store.types["sensor_msgs/msg/CompressedImage"](
        header=header_of(store, "cam"), format="jpeg", data=np.arange(9, dtype=np.uint8)
    )
    packed = bytes(store.serialize_cdr(raw, "sensor_msgs/msg/CompressedImage"))
    for size in range(len(packed)):
        with pytest.raises(ValueError, match="`data` must be a"):
            dds.CompressedImage.deserialize(packed[:size])
    for at in range(len(packed)):
        changed = bytearray(packed)
        changed[at] ^= 0xFF
        try:
            dds.CompressedImage.deserialize(bytes(changed))
        except ValueError as error:
            assert str(error).startswith("`data` must be a")


def test_commands_are_packed_as_rosbags_unpacks_them(store):
    header = dds.Header(stamp=dds.Time(5, 6), frame_id="base_link")
    twist = dds.Twist(linear=dds.Vector3(x=1.5), angular=dds.Vector3(z=-0.25))
    drive = dds.AckermannDrive(steering_angle=0.25, speed=2.0)
    for message, kind in (
        (twist, "geometry_msgs/msg/Twist"),
        (dds.TwistStamped(header, twist), "geometry_msgs/msg/TwistStamped"),
        (drive, "ackermann_msgs/msg/AckermannDrive"),
        (dds.AckermannDriveStamped(header, drive), "ackermann_msgs/msg/AckermannDriveStamped"),
    ):
        found = store.deserialize_cdr(message.serialize(), kind)
        if kind.endswith("Stamped"):
            assert (found.header.stamp.sec, found.header.frame_id) == (5, "base_link")
        body = getattr(found, "twist", getattr(found, "drive", found))
        if "Twist" in kind:
            assert (body.linear.x, body.angular.z, body.linear.y) == (1.5, -0.25, 0.0)
        else:
            assert (body.steering_angle, body.speed, body.jerk) == (0.25, 2.0, 0.0)


def test_topics_are_named_as_on_the_wire():
    assert dds.topic_name("/camera/image_raw") == "rt/camera/image_raw"
    assert dds.MESSAGES["Image"].__idl__.idl_transformed_typename in (
        "sensor_msgs::msg::dds_::Image_", "sensor_msgs.msg.dds_.Image_")  # fmt: skip
    for name in ("cmd_vel", "/", "/a//b", "/a/", "/a b", "/9a", "~/a", 3, None):
        with pytest.raises(ValueError, match="`topic` must be a full name"):
            dds.topic_name(name)


def test_the_domain_is_that_of_ros(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    assert (dds.domain_of(None), dds.domain_of(7)) == (42, 7)
    monkeypatch.setenv("ROS_DOMAIN_ID", "")
    assert dds.domain_of(None) == 0
    monkeypatch.setenv("ROS_DOMAIN_ID", "x")
    with pytest.raises(ValueError, match="`ROS_DOMAIN_ID` must be a number from 0 to 232, got 'x'"):
        dds.domain_of(None)
