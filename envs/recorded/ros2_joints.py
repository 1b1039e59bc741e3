"""Joints in a ROS 2 bag: measurements and commands of a robot arm, by the names of its joints.

| message                        | numbers                                                  |
|--------------------------------|----------------------------------------------------------|
| sensor_msgs/JointState         | position [rad], velocity [rad/s], effort [N m], by joint |
| trajectory_msgs/JointTrajectory| the same of its first point                              |
| std_msgs/Float64MultiArray     | its entries, as for the controllers of ros2_control      |

The name of a number has its part, its joint and its kind, as in a LeRobotDataset:
`observation.state.elbow.position` is measured, `action.elbow.position` is commanded. Messages do
not tell which joints are prismatic: the true units of these are m, m/s and N. An array tells
neither joints nor units: its entries are `action.0`, `action.1` and so on, unless names are given.

A message may have only some joints, in any order, and only some of the three kinds of numbers. Each
number is valid until the next message that has it, but not longer than an age. NaN is a missing
number.
"""

import bisect
import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from envs.recorded.bag import Bag, Message
from envs.recorded.quantities import Quantity
from envs.recorded.ros2_driving import NO_COMMAND, Commanded
from ncp_control.tally import Tally

JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
ARRAYS = ("std_msgs/msg/Float64MultiArray", "std_msgs/msg/Float32MultiArray")
STATE, ACTION = "observation.state", "action"
"""First part of the names of measured numbers and of commanded numbers."""
NO_POINT = "trajectory without a point"
BAD_NAMES = "joints without names of their own"
BAD_LENGTH = "joints and their numbers differ in number"
UNITS = {"position": "rad", "velocity": "rad/s", "effort": "N m"}
"""Kinds of numbers, each with the unit for a revolute joint."""
_MOST_JOINTS = 512
"""A message with more joints counts as damaged."""


@dataclass(frozen=True)
class _Series:
    """One number over time."""

    times_s: array = field(default_factory=lambda: array("d"))
    values: array = field(default_factory=lambda: array("d"))


@dataclass(frozen=True, kw_only=True)
class Joints:
    """Numbers of a topic of joints."""

    messages: list[Message]
    """The usable messages, in the order in which the bag received them."""
    series: dict[str, _Series]
    """Each number over time, by name; only numbers with at least one finite value."""
    age_s: float
    """Longest time for which a number is valid [s]."""
    is_array: bool = False
    """Whether the messages are arrays, which tell neither names nor units."""

    @property
    def times_s(self) -> list[float]:
        """Time at which the bag received each message [s]."""
        return [one.time_s for one in self.messages]

    @property
    def quantities(self) -> list[Quantity]:
        """Names and units of the numbers; entries of an array have no unit."""
        units = {name: UNITS.get(name.rpartition(".")[2], "") for name in self.series}
        if self.is_array:
            units = dict.fromkeys(units, "")
        return [Quantity(name=name, unit=unit) for name, unit in units.items()]

    def numbers_at(self, time_s: float) -> dict[str, float]:
        """Return the numbers valid at a time [s], without missing ones."""
        numbers = {}
        for name, one in self.series.items():
            i = bisect.bisect_right(one.times_s, time_s) - 1
            if i >= 0 and time_s - one.times_s[i] <= self.age_s and math.isfinite(one.values[i]):
                numbers[name] = one.values[i]
        return numbers

    def in_force(self, time_s: float, place: str, skipped: Tally) -> Commanded | None:
        """Return the numbers valid at a time, and no changes; None, and count it, without any."""
        numbers = self.numbers_at(time_s)
        if not numbers:
            skipped.add(NO_COMMAND, place)
            return None
        return numbers, ()


def read_joints(
    bag: Bag,
    topic: str,
    part: str,
    skipped: Tally,
    *,
    age_s: float,
    names: Sequence[str] = (),
) -> Joints:
    """Read a topic of joints.

    Args:
        bag: The bag.
        topic: Topic of JointState, JointTrajectory or an array.
        part: First part of the names of the numbers, `STATE` or `ACTION`.
        skipped: Counts unusable messages.
        age_s: Longest time for which a number is valid [s].
        names: Names of the entries of an array; their numbers from 0 if none are given.
    """
    messages, series = [], {}
    found = bag.messages(topic, (JOINT_STATE, JOINT_TRAJECTORY, *ARRAYS), skipped)
    for message in sorted(found, key=lambda one: one.time_s):
        values = _numbers(message.value, names)
        if isinstance(values, str):
            skipped.add(f"{values} on {topic}", message.place)
            continue
        messages.append(message)
        for name, value in values.items():
            one = series.setdefault(f"{part}.{name}", _Series())
            one.times_s.append(message.time_s)
            one.values.append(value)
    known = {name: one for name, one in series.items() if any(map(math.isfinite, one.values))}
    is_array = bag.topics()[topic][0] in ARRAYS
    return Joints(messages=messages, series=known, age_s=age_s, is_array=is_array)


def _numbers(value: Any, entries: Sequence[str]) -> dict[str, float] | str:
    """Return the numbers of a message by name, or the reason why it is unusable.

    Args:
        value: The message.
        entries: Names of the entries of an array; their numbers from 0 if none are given.
    """
    if hasattr(value, "layout"):
        count = len(value.data)
        if count > _MOST_JOINTS or len(entries) not in (0, count):
            return BAD_LENGTH
        return dict(zip(entries or map(str, range(count)), map(float, value.data), strict=True))
    if hasattr(value, "points"):
        if not value.points:
            return NO_POINT
        names, first = value.joint_names, value.points[0]
        listed = {
            "position": first.positions,
            "velocity": first.velocities,
            "effort": first.effort,
        }
    else:
        names = value.name
        listed = {kind: getattr(value, kind) for kind in UNITS}
    if not all(map(_is_name, names)) or len(set(names)) < len(names) or len(names) > _MOST_JOINTS:
        return BAD_NAMES
    if any(len(numbers) not in (0, len(names)) for numbers in listed.values()):
        return BAD_LENGTH
    return {
        f"{name}.{kind}": float(number)
        for kind, numbers in listed.items()
        for name, number in zip(names, numbers, strict=False)
    }


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[^\0\n]{1,200}", name) is not None
