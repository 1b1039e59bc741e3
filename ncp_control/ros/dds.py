# pyright: reportMissingImports=false, reportCallIssue=false, reportGeneralTypeIssues=false
"""ROS 2 over DDS with the package `cyclonedds`: message types, topics, quality of service, network.

In DDS, a topic `/cmd_vel` is named `rt/cmd_vel`, and geometry_msgs/Twist is named
`geometry_msgs::msg::dds_::Twist_`. Camera drivers publish with the "sensor data" profile (best
effort, keep the newest few). So images are read as best effort, which also matches reliable
publishers; commands are sent reliably, which matches any subscriber.

By default, messages are sent only over the loopback interface, without multicast. The environment
variable CYCLONEDDS_URI replaces this configuration.

Images are unpacked here and not by `cyclonedds`, which converts them to a list of Python numbers
(16 ms for 640 x 480 pixels).

Sources: https://design.ros2.org/articles/topic_and_service_names.html, the .msg files of ROS 2, and
DDS-XTypes 1.3, chapter 7.4 (CDR version 1).
"""

import os
import re
import struct
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from cyclonedds.core import (
    DDSException,
    InstanceState,
    Policy,
    Qos,
    ReadCondition,
    SampleState,
    ViewState,
    WaitSet,
)
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.annotations import final
from cyclonedds.idl.types import float32, float64, int32, sequence, uint8, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

__all__ = ["MESSAGES", "URI", "DDSException", "Node", "domain_of", "topic_name"]

LOOPBACK = """<CycloneDDS><Domain>
<General>
  <Interfaces><NetworkInterface name="{interface}"/></Interfaces>
  <AllowMulticast>false</AllowMulticast>
</General>
<Discovery>
  <ParticipantIndex>auto</ParticipantIndex>
  <Peers><Peer address="127.0.0.1"/></Peers>
</Discovery>
</Domain></CycloneDDS>"""
"""Configuration of Cyclone DDS for communication on this computer only."""
URI, DOMAIN = "CYCLONEDDS_URI", "ROS_DOMAIN_ID"
"""Environment variables: configuration of Cyclone DDS, and domain of ROS 2."""
LARGEST_DOMAIN = 232
_NAME = re.compile(r"(/[A-Za-z_]\w*)+", re.ASCII)


# --- messages -------------------------------------------------------------------------------------


@dataclass
@final
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    """builtin_interfaces/Time."""

    sec: int32 = 0
    nanosec: uint32 = 0

    @property
    def time_s(self) -> float:
        """Time [s]."""
        return self.sec + 1e-9 * self.nanosec


@dataclass
@final
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    """std_msgs/Header."""

    stamp: Time
    frame_id: str


@dataclass
@final
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    """sensor_msgs/Image."""

    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]

    @classmethod
    def deserialize(
        cls, data: bytes, has_header: bool = True, use_version_2: bool | None = None
    ) -> Self:
        """Unpack a message.

        Raises:
            ValueError: If it is damaged.
        """
        cdr = _Cdr(data)
        return cls(
            header=cdr.header(),
            height=cdr.number("I"),
            width=cdr.number("I"),
            encoding=cdr.text(),
            is_bigendian=cdr.number("B"),
            step=cdr.number("I"),
            data=cdr.octets(),
        )


@dataclass
@final
class CompressedImage(IdlStruct, typename="sensor_msgs::msg::dds_::CompressedImage_"):
    """sensor_msgs/CompressedImage."""

    header: Header
    format: str
    data: sequence[uint8]

    @classmethod
    def deserialize(
        cls, data: bytes, has_header: bool = True, use_version_2: bool | None = None
    ) -> Self:
        """Unpack a message.

        Raises:
            ValueError: If it is damaged.
        """
        cdr = _Cdr(data)
        return cls(header=cdr.header(), format=cdr.text(), data=cdr.octets())


@dataclass
@final
class Vector3(IdlStruct, typename="geometry_msgs::msg::dds_::Vector3_"):
    """geometry_msgs/Vector3."""

    x: float64 = 0.0
    y: float64 = 0.0
    z: float64 = 0.0


@dataclass
@final
class Twist(IdlStruct, typename="geometry_msgs::msg::dds_::Twist_"):
    """geometry_msgs/Twist."""

    linear: Vector3
    angular: Vector3


@dataclass
@final
class TwistStamped(IdlStruct, typename="geometry_msgs::msg::dds_::TwistStamped_"):
    """geometry_msgs/TwistStamped."""

    header: Header
    twist: Twist


@dataclass
@final
class AckermannDrive(IdlStruct, typename="ackermann_msgs::msg::dds_::AckermannDrive_"):
    """ackermann_msgs/AckermannDrive."""

    steering_angle: float32 = 0.0
    steering_angle_velocity: float32 = 0.0
    speed: float32 = 0.0
    acceleration: float32 = 0.0
    jerk: float32 = 0.0


@dataclass
@final
class AckermannDriveStamped(
    IdlStruct, typename="ackermann_msgs::msg::dds_::AckermannDriveStamped_"
):
    """ackermann_msgs/AckermannDriveStamped."""

    header: Header
    drive: AckermannDrive


MESSAGES = {
    cls.__name__: cls
    for cls in (Image, CompressedImage, Twist, TwistStamped, AckermannDrive, AckermannDriveStamped)
}
"""Message classes by their ROS names."""


class _Cdr:
    """Reads consecutive values of a message in CDR encoding."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 4 or data[0] != 0 or data[1] not in (0, 1, 6, 7):
            raise ValueError(f"`data` must be a message in plain CDR, got {data[:4]!r}.")
        self._data, self._at = memoryview(data)[4:], 0
        self._order = "<" if data[1] & 1 else ">"

    def number(self, kind: str) -> Any:
        size = struct.calcsize(kind)
        self._at += -self._at % size
        try:
            (value,) = struct.unpack_from(self._order + kind, self._data, self._at)
        except struct.error as error:
            raise ValueError("`data` must be a whole message, got one that is cut off.") from error
        self._at += size
        return value

    def octets(self) -> Any:
        """Return the bytes of a sequence as an array, without a copy; faster than a list."""
        size = self.number("I")
        begin, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise ValueError("`data` must be a whole message, got one that is cut off.")
        return np.frombuffer(self._data[begin : self._at], np.uint8)

    def text(self) -> str:
        return self.octets().tobytes().rstrip(b"\0").decode("utf-8", errors="replace")

    def header(self) -> Header:
        stamp = Time(self.number("i"), self.number("I"))
        return Header(stamp, self.text())


# --- topics ---------------------------------------------------------------------------------------


def topic_name(name: str) -> str:
    """Return the DDS name of a ROS topic.

    Raises:
        ValueError: If `name` is not a full topic name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"`topic` must be a full name such as /camera/image_raw, got {name!r}. See what there"
            " is with `ros2 topic list`."
        )
    return "rt" + name


def domain_of(domain_id: int | None) -> int:
    """Return the DDS domain: `domain_id`; if None: that of ROS_DOMAIN_ID, or 0.

    Raises:
        ValueError: If it is not a number from 0 to `LARGEST_DOMAIN`.
    """
    value: Any = os.environ.get(DOMAIN, "").strip() or 0 if domain_id is None else domain_id
    name = DOMAIN if domain_id is None else "domain_id"
    is_number = not isinstance(value, bool) and str(value).isascii() and str(value).isdecimal()
    if not is_number or int(value) > LARGEST_DOMAIN:
        raise ValueError(f"`{name}` must be a number from 0 to {LARGEST_DOMAIN}, got {value!r}.")
    return int(value)


class Node:
    """Participant in a DDS domain that reads and writes ROS topics.

    Args:
        domain_id: Number of the domain.
    """

    def __init__(self, domain_id: int) -> None:
        self._domain = None
        if not os.environ.get(URI):
            self._domain = Domain(domain_id, LOOPBACK.format(interface=loopback_interface()))
        self.participant = DomainParticipant(domain_id)

    def writer(self, name: str, message: type[IdlStruct]) -> DataWriter:
        """Return a reliable publisher of messages of a type on a DDS topic."""
        quality = Qos(Policy.Reliability.Reliable(duration(milliseconds=100)), *_QUALITY)
        return DataWriter(self.participant, Topic(self.participant, name, message), qos=quality)

    def reader(self, name: str, message: type[IdlStruct]) -> "NewestReader":
        """Return a best-effort reader of the newest message on a DDS topic."""
        quality = Qos(Policy.Reliability.BestEffort, *_QUALITY)
        topic = Topic(self.participant, name, message)
        return NewestReader(self.participant, DataReader(self.participant, topic, qos=quality))


_QUALITY = (
    Policy.History.KeepLast(1),
    Policy.Durability.Volatile,
    Policy.DataRepresentation(use_cdrv0_representation=True),
)


class NewestReader:
    """Reads the newest message of a topic.

    Args:
        participant: Participant in the domain.
        reader: Reader of the topic, with a history of one message.
    """

    def __init__(self, participant: DomainParticipant, reader: DataReader) -> None:
        self._reader = reader
        any_state = SampleState.Any | ViewState.Any | InstanceState.Any
        self._condition = ReadCondition(reader, any_state)
        self._waiting = WaitSet(participant)
        self._waiting.attach(self._condition)

    def read(self, timeout_s: float) -> Any:
        """Return the newest message that was not returned yet; None if none arrives in time.

        Args:
            timeout_s: Longest time to wait [s].

        Raises:
            ValueError: If the message is damaged.
        """
        if not self._waiting.wait(duration(seconds=max(timeout_s, 0.0))):
            return None
        messages = [one for one in self._reader.take(1) if isinstance(one, IdlStruct)]
        return messages[-1] if messages else None  # None: only a notice that a publisher left

    @property
    def num_publishers(self) -> int:
        """Number of matching publishers of the topic that were found."""
        return int(self._reader.get_subscription_matched_status().current_count)


def loopback_interface() -> str:
    """Return the name of this computer's loopback interface."""
    return "lo" if os.path.isdir("/sys/class/net/lo") else "lo0"
