"""ROS 2 bags with known content, written by `rosbags`."""

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

NS = 10**9
START_NS = 1_700_000_000 * NS
STORE = get_typestore(Stores.ROS2_HUMBLE)
STORE.register(
    get_types_from_msg(
        "float32 steering_angle\nfloat32 steering_angle_velocity\nfloat32 speed\n"
        "float32 acceleration\nfloat32 jerk\n",
        "ackermann_msgs/msg/AckermannDrive",
    )
)
STORE.register(
    get_types_from_msg(
        "std_msgs/Header header\nackermann_msgs/AckermannDrive drive\n",
        "ackermann_msgs/msg/AckermannDriveStamped",
    )
)
TYPES = STORE.types


def picture(number, size=(30, 40)):
    """Return an RGB picture."""
    rng = np.random.default_rng(number)
    return cv2.GaussianBlur(rng.integers(0, 255, (*size, 3), dtype=np.uint8), (5, 5), 0)


def header(time_ns):
    stamp = TYPES["builtin_interfaces/msg/Time"](sec=time_ns // NS, nanosec=time_ns % NS)
    return TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")


def image(rgb, time_ns, encoding="rgb8"):
    pixels = {"rgb8": rgb, "bgr8": rgb[:, :, ::-1], "mono8": rgb[:, :, 0]}.get(encoding, rgb)
    return TYPES["sensor_msgs/msg/Image"](
        header=header(time_ns), height=rgb.shape[0], width=rgb.shape[1], encoding=encoding,
        is_bigendian=0, step=pixels.size // len(rgb), data=np.ascontiguousarray(pixels).ravel(),
    )  # fmt: skip


def compressed(rgb, time_ns, suffix=".png"):
    data = cv2.imencode(suffix, rgb[:, :, ::-1])[1].ravel()
    return TYPES["sensor_msgs/msg/CompressedImage"](
        header=header(time_ns), format=suffix[1:], data=data
    )


def twist(speed_mps, yaw_rate_radps):
    vector = TYPES["geometry_msgs/msg/Vector3"]
    return TYPES["geometry_msgs/msg/Twist"](
        linear=vector(x=speed_mps, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=yaw_rate_radps)
    )


def ackermann(speed_mps, steer_rad):
    return TYPES["ackermann_msgs/msg/AckermannDrive"](
        steering_angle=steer_rad, steering_angle_velocity=0.0, speed=speed_mps, acceleration=0.0,
        jerk=0.0,
    )  # fmt: skip


def stamped(message, time_ns):
    name = "TwistStamped" if hasattr(message, "linear") else "AckermannDriveStamped"
    package = message.__msgtype__.partition("/")[0]
    body = "twist" if hasattr(message, "linear") else "drive"
    return TYPES[f"{package}/msg/{name}"](**{"header": header(time_ns), body: message})


def joint_state(names, position=(), velocity=(), effort=(), time_ns=0):
    numbers = [np.array(one, np.float64) for one in (position, velocity, effort)]
    kinds = dict(zip(("position", "velocity", "effort"), numbers, strict=True))
    return TYPES["sensor_msgs/msg/JointState"](header=header(time_ns), name=list(names), **kinds)


def joint_trajectory(names, *points):
    """Return a trajectory through positions, 1 s apart."""
    made = [
        TYPES["trajectory_msgs/msg/JointTrajectoryPoint"](
            positions=np.array(point, np.float64), velocities=np.zeros(0),
            accelerations=np.zeros(0), effort=np.zeros(0),
            time_from_start=TYPES["builtin_interfaces/msg/Duration"](sec=i, nanosec=0),
        ) for i, point in enumerate(points)
    ]  # fmt: skip
    return TYPES["trajectory_msgs/msg/JointTrajectory"](
        header=header(0), joint_names=list(names), points=made
    )


def float_array(names, numbers):
    """Return the numbers as a command of ros2_control, which has no names."""
    layout = TYPES["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    data = np.array(numbers, np.float64)
    return TYPES["std_msgs/msg/Float64MultiArray"](layout=layout, data=data)


def arm(num_frames=40, *, frame_ns=NS // 20, has_camera=False, command=joint_state):
    """Return the messages of an arm of two joints, and what it was told, shape (frames, 2).

    Each state is received 2 ms after it was stamped, 1 ms after the command.
    """
    messages = []
    told = np.stack([np.sin(np.arange(num_frames) / 5), np.cos(np.arange(num_frames) / 9)], axis=1)
    for i in range(num_frames):
        at_ns = START_NS + i * frame_ns
        names, now, rate = ["elbow", "wrist"], told[max(i - 1, 0)], [0.1 * i, -0.1 * i]
        messages.append(("/leader", at_ns + 1_000_000, command(names, told[i])))
        state = joint_state(names[::-1], now[::-1], rate, time_ns=at_ns)
        messages.append(("/joint_states", at_ns + 2_000_000, state))
        if has_camera:
            messages.append(("/camera", at_ns + 3_000_000, image(picture(i), at_ns)))
    return messages, told


def write_bag(folder, messages, storage="mcap", compression=None):
    """Write a bag of (topic, time [ns], message or its bytes with a type).

    Returns its folder.
    """
    plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
    writer = Writer(folder, version=9, storage_plugin=plugin)
    if compression is not None:
        mode = CompressionMode[compression.upper()]
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics = {}
        for topic, time_ns, message in messages:
            kind = message[0] if isinstance(message, tuple) else message.__msgtype__
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=STORE)
            data = message[1] if isinstance(message, tuple) else STORE.serialize_cdr(message, kind)
            writer.write(topics[topic], time_ns, bytes(data))
    return folder


def drive(
    num_frames=12, *, frame_ns=NS // 20, size=(30, 40), command=ackermann, make=image, **settings
):
    """Return the messages of a drive, and its frames, times [s] and turns.

    The bag receives each image 3 ms after it was stamped, and a command 1 ms before the image.
    """
    messages, frames, times_s, turns = [], [], [], []
    for i in range(num_frames):
        at_ns = START_NS + i * frame_ns + (i % 3) * 1000
        turn = 0.3 * np.sin(i / 3)
        frames.append(picture(i, size))
        times_s.append(at_ns / NS)
        turns.append(turn)
        messages.append(("/cmd", at_ns + 2_000_000, command(1.0, turn)))
        messages.append(("/camera", at_ns + 3_000_000, make(frames[-1], at_ns, **settings)))
    return messages, np.stack(frames), np.array(times_s), np.array(turns)
