"""A robot with ROS 2, as far as a test needs one: publishes images, prints the commands it hears.

    python ros2_peer.py DOMAIN IMAGE_TYPE COMMAND_TYPE COMMAND_TOPIC

A line on the standard input pauses or resumes the images; its end ends the process. The message
types are written down here again, so that a mistake in ours cannot cancel out.
"""

import json
import select
import sys
import time
from dataclasses import dataclass

import cv2
import numpy as np
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.annotations import final
from cyclonedds.idl.types import float32, float64, int32, sequence, uint8, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

CONFIG = """<CycloneDDS><Domain><General><Interfaces><NetworkInterface address="127.0.0.1"/>
</Interfaces><AllowMulticast>false</AllowMulticast></General><Discovery>
<ParticipantIndex>auto</ParticipantIndex><Peers><Peer address="127.0.0.1"/></Peers></Discovery>
</Domain></CycloneDDS>"""
HEIGHT, WIDTH = 120, 160
RED, NUM_REDS = 40, 200


@dataclass
@final
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32


@dataclass
@final
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time
    frame_id: str


@dataclass
@final
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
@final
class CompressedImage(IdlStruct, typename="sensor_msgs::msg::dds_::CompressedImage_"):
    header: Header
    format: str
    data: sequence[uint8]


@dataclass
@final
class Vector3(IdlStruct, typename="geometry_msgs::msg::dds_::Vector3_"):
    x: float64
    y: float64
    z: float64


@dataclass
@final
class Twist(IdlStruct, typename="geometry_msgs::msg::dds_::Twist_"):
    linear: Vector3
    angular: Vector3


@dataclass
@final
class AckermannDrive(IdlStruct, typename="ackermann_msgs::msg::dds_::AckermannDrive_"):
    steering_angle: float32
    steering_angle_velocity: float32
    speed: float32
    acceleration: float32
    jerk: float32


@dataclass
@final
class AckermannDriveStamped(
    IdlStruct, typename="ackermann_msgs::msg::dds_::AckermannDriveStamped_"
):
    header: Header
    drive: AckermannDrive


def image(kind, number):
    """Return a picture whose red counts from `RED` on, `NUM_REDS` of them over and over."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    header = Header(Time(seconds, nanoseconds), "camera")
    bgr = np.random.default_rng(number).integers(60, 200, (HEIGHT, WIDTH, 3), np.uint8)
    bgr[..., 2] = RED + number % NUM_REDS
    if kind == "CompressedImage":
        return CompressedImage(header, "bgr8; jpeg", cv2.imencode(".jpg", bgr)[1].tobytes())
    padded = np.pad(bgr.reshape(HEIGHT, -1), ((0, 0), (0, 5)))  # rows longer than their pixels
    return Image(header, HEIGHT, WIDTH, "bgr8", 0, padded.shape[1], padded.tobytes())


def numbers(message):
    """Return a command's speed and turn."""
    if isinstance(message, Twist):
        others = (message.linear.y, message.linear.z, message.angular.x, message.angular.y)
        return message.linear.x, message.angular.z, *others
    drive = getattr(message, "drive", message)
    return drive.speed, drive.steering_angle, drive.acceleration, drive.jerk


def main():
    domain_id, image_kind, command_kind, command_topic = sys.argv[1:]
    domain = Domain(int(domain_id), CONFIG)
    member = DomainParticipant(int(domain_id))
    sensor = Qos(Policy.Reliability.BestEffort, Policy.History.KeepLast(5))
    reliable = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(10))
    types = {cls.__name__: cls for cls in (Image, CompressedImage, Twist, AckermannDriveStamped)}
    topic = Topic(member, "rt/camera", types[image_kind])
    writer = DataWriter(member, topic, qos=sensor)
    topic = Topic(member, "rt" + command_topic, types[command_kind])
    reader = DataReader(member, topic, qos=reliable)
    is_publishing, number = True, 0
    while True:
        if is_publishing:
            writer.write(image(image_kind, number))
            number += 1
        for message in reader.take(50):
            if isinstance(message, IdlStruct):
                said = {"time_s": time.monotonic(), "numbers": numbers(message)}
                print(json.dumps(said), flush=True)
        if select.select([sys.stdin], [], [], 0.03)[0]:
            if not sys.stdin.readline():
                break
            is_publishing = not is_publishing
    del domain


if __name__ == "__main__":
    main()
