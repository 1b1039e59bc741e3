"""ROS 2 bags as demonstrations: images with the command that was in force when they came.

| images                                   | steering                                             |
|------------------------------------------|------------------------------------------------------|
| sensor_msgs/Image: rgb8, bgr8, mono8     | geometry_msgs/Twist, TwistStamped                    |
| sensor_msgs/CompressedImage: JPEG, PNG   | ackermann_msgs/AckermannDrive, AckermannDriveStamped |

The topics are found if there is one of each kind; else they are named by options. Steering is a
fraction of the largest angle or yaw rate, which an option says:

| commands          | option                          | steering 1 is                          |
|-------------------|---------------------------------|----------------------------------------|
| AckermannDrive    | `max_steer_rad`                 | this `steering_angle`                  |
| Twist             | `max_yaw_rate_radps`            | this `angular.z`                       |
| Twist             | `max_steer_rad`, `wheelbase_m`  | this angle: atan(L angular.z / linear.x)|

Image and command are brought together by the times at which the bag received them, since only these
are of one clock. The intervals between frames are those of the images' stamps, if all have one.
"""

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.recorded.assembly import (
    Listing,
    LoggedImage,
    assemble_recording,
    finite_number,
    left_positive_steering,
)
from envs.recorded.bag import Bag, Message
from envs.recorded.images import Framing
from envs.recorded.recording import Recording
from envs.recorded.tally import Tally
from ncp_control.ranges import check_above_zero

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
TWISTS = ("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped")
ACKERMANNS = ("ackermann_msgs/msg/AckermannDrive", "ackermann_msgs/msg/AckermannDriveStamped")
NO_COMMAND = "image without a recent command"
BACKWARDS = "driven backwards"
STANDING = "standing, so that a yaw rate says no angle"
STANDING_MPS = 0.01
"""Below this speed a yaw rate says no steering angle [m/s]."""
_MOST_TOLD = 12


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the steering 1 is."""

    largest: float
    """The angle [rad] or the yaw rate [rad/s]."""
    wheelbase_m: float | None
    """Distance of the axles, where yaw rates become angles [m]."""
    unit: str
    """Unit of the steering, for the contract."""


def load_bag(
    path: str | Path,
    *,
    image_topic: str | None = None,
    command_topic: str | None = None,
    max_steer_rad: float | None = None,
    max_yaw_rate_radps: float | None = None,
    wheelbase_m: float | None = None,
    command_age_s: float = 1.0,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] = (0.0, 0.0),
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a ROS 2 bag.

    Args:
        path: Its folder, or one file of it.
        image_topic: Topic of the images, where there are several.
        command_topic: Topic of the commands, where there are several.
        max_steer_rad: Steering angle of the steering 1 [rad].
        max_yaw_rate_radps: Yaw rate of the steering 1 [rad/s], for a Twist.
        wheelbase_m: Distance of the axles [m], to turn the yaw rate of a Twist into an angle.
        command_age_s: Longest time for which a command is in force [s].
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom.
        max_gap_s: A longer time between two frames begins a new episode [s].
        max_missing_frames: More missing frames in a row begin a new episode.

    Raises:
        ValueError: If it is no bag, a topic or a scale must be named, or nothing can be used.
    """
    check_above_zero("command_age_s", command_age_s)
    framing, skipped = Framing(image_size=image_size, crop=crop), Tally()
    bag = Bag(Path(path))
    images = _choose(bag, "image_topic", image_topic, IMAGES)
    commands = _choose(bag, "command_topic", command_topic, TWISTS + ACKERMANNS)
    said = [*_commands(bag, commands, skipped)]
    is_twist = bag.topics(TWISTS + ACKERMANNS)[commands][0] in TWISTS
    scale = _scale(is_twist, said, max_steer_rad, max_yaw_rate_radps, wheelbase_m)
    recording = assemble_recording(
        Listing(
            folder=bag.path,
            format="ros2",
            images=[*_pair(bag, images, said, scale, command_age_s, skipped)],
            skipped=skipped,
            advice="Record images and commands at the same time.",
        ),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )
    return replace(recording, steering_unit=scale.unit)


def _choose(bag: Bag, option: str, name: str | None, types: tuple[str, ...]) -> str:
    """Return the topic that is named, or the only one of some types.

    Raises:
        ValueError: If there is none, or there are several; it lists them.
    """
    found = {topic: told for topic, told in bag.topics(types).items() if told[1] or topic == name}
    if name is None and len(found) == 1:
        return next(iter(found))
    if name in found:
        return str(name)
    kinds = " or ".join(kind.rpartition("/")[2] for kind in types)
    if found:
        advice = f"Write --log-options {option}={min(found)}."
    else:
        found, advice = bag.topics(), "Record one."
    told = [f"{topic} ({kind}, {count})" for topic, (kind, count) in sorted(found.items())]
    listed = ", ".join(told[:_MOST_TOLD]) + (", …" if len(told) > _MOST_TOLD else "")
    raise ValueError(
        f"`{option}` must be a topic of {kinds}, got {name!r} for '{bag.path}' with"
        f" {listed or 'no topics'}. {advice}"
    )


@dataclass(frozen=True, kw_only=True)
class _Command:
    time_s: float
    speed_mps: float | None
    turn: float | None


def _commands(bag: Bag, topic: str, skipped: Tally) -> Iterator[_Command]:
    """Yield the commands in the order of their times."""
    for message in sorted(bag.messages(topic, TWISTS + ACKERMANNS, skipped), key=_time_s):
        value: Any = message.value
        body = getattr(value, "twist", getattr(value, "drive", value))
        if hasattr(body, "linear"):
            speed, turn = body.linear.x, body.angular.z
        else:
            speed, turn = body.speed, body.steering_angle
        yield _Command(time_s=message.time_s, speed_mps=finite_number(speed),
                       turn=finite_number(turn))  # fmt: skip


def _time_s(message: Message) -> float:
    return message.time_s


def _scale(
    is_twist: bool,
    said: list[_Command],
    max_steer_rad: float | None,
    max_yaw_rate_radps: float | None,
    wheelbase_m: float | None,
) -> Scale:
    """Return what the steering 1 is.

    Raises:
        ValueError: If the options do not say it, or say it twice.
    """
    given = {"max_steer_rad": max_steer_rad, "max_yaw_rate_radps": max_yaw_rate_radps,
             "wheelbase_m": wheelbase_m}  # fmt: skip
    for name, value in given.items():
        if value is not None:
            check_above_zero(name, value)
    names = {name for name, value in given.items() if value is not None}
    if not is_twist and names == {"max_steer_rad"}:
        return Scale(largest=given["max_steer_rad"] or 0.0, wheelbase_m=None,
                     unit=f"fraction of {max_steer_rad:g} rad")  # fmt: skip
    if is_twist and names == {"max_yaw_rate_radps"}:
        return Scale(largest=max_yaw_rate_radps or 0.0, wheelbase_m=None,
                     unit=f"fraction of {max_yaw_rate_radps:g} rad/s")  # fmt: skip
    if is_twist and names == {"max_steer_rad", "wheelbase_m"}:
        return Scale(largest=max_steer_rad or 0.0, wheelbase_m=wheelbase_m,
                     unit=f"fraction of {max_steer_rad:g} rad")  # fmt: skip
    largest = max((abs(one.turn) for one in said if one.turn is not None), default=0.0)
    if is_twist:
        wanted = "max_yaw_rate_radps, or max_steer_rad and wheelbase_m, for a Twist"
        advice = f"its largest yaw rate is {largest:.3g} rad/s. Write --log-options"
        advice += " max_yaw_rate_radps=NUMBER."
    else:
        wanted = "max_steer_rad for an AckermannDrive"
        advice = (
            f"its largest angle is {largest:.3g} rad. Write --log-options max_steer_rad=NUMBER."
        )
    raise ValueError(
        f"`log_options` must say what the steering 1 is by {wanted}, got"
        f" {', '.join(sorted(names)) or 'none of them'}; {advice}"
    )


def _pair(
    bag: Bag,
    topic: str,
    said: list[_Command],
    scale: Scale,
    command_age_s: float,
    skipped: Tally,
) -> Iterator[LoggedImage]:
    """Yield the images with the steering that was in force."""
    times_s = [one.time_s for one in said]
    found = [(m.time_s, _stamp_s(m.value), m.stored) for m in bag.messages(topic, IMAGES, skipped)]
    has_stamps = all(stamp_s > 0.0 for _, stamp_s, _ in found)
    found.sort(key=lambda one: one[1] if has_stamps else one[0])
    for row, (received_s, stamp_s, stored) in enumerate(found):
        at = bisect.bisect_right(times_s, received_s) - 1
        if at < 0 or received_s - times_s[at] > command_age_s:
            skipped.add(NO_COMMAND, stored.name)
            continue
        steering = _steering(said[at], scale, skipped, stored.name)
        if steering is not None:
            yield LoggedImage(
                row=row,
                path=stored,
                steering=steering[0],
                time_s=stamp_s if has_stamps else received_s,
                place=stored.name,
                changes=steering[1],
            )


def _stamp_s(message: Any) -> float:
    stamp = message.header.stamp
    return stamp.sec + 1e-9 * stamp.nanosec


def _steering(
    command: _Command, scale: Scale, skipped: Tally, place: str
) -> tuple[float, tuple[str, ...]] | None:
    """Return the steering of a command and how it was changed; None if it cannot be used."""
    speed_mps, turn = command.speed_mps, command.turn
    if speed_mps is not None and speed_mps < 0.0:
        skipped.add(BACKWARDS, place)
        return None
    if scale.wheelbase_m is not None and turn is not None:
        if speed_mps is None or speed_mps < STANDING_MPS:
            skipped.add(STANDING, place)
            return None
        turn = math.atan(scale.wheelbase_m * turn / speed_mps)
    # What logs say is right positive there; ROS is left positive.
    logged = None if turn is None else -turn / scale.largest
    return left_positive_steering(logged, skipped, place)
