"""Load ROS 2 bags: observations, each with the command in force at that time.

| observations                             | commands                                             |
|------------------------------------------|------------------------------------------------------|
| sensor_msgs/Image: rgb8, bgr8, mono8     | geometry_msgs/Twist, TwistStamped                    |
| sensor_msgs/CompressedImage: JPEG, PNG   | ackermann_msgs/AckermannDrive, AckermannDriveStamped |
| sensor_msgs/JointState                   | sensor_msgs/JointState                               |
|                                          | trajectory_msgs/JointTrajectory: its first point     |
|                                          | std_msgs/Float64MultiArray, Float32MultiArray        |

If there is one topic of each kind, topics are found automatically; else options name them. A
JointState counts as an observation unless an option names it as the command, and an array is read
only if an option names it. `ros2_driving`
describes the messages of cars, `ros2_joints` those of robot arms.

A frame is an image; in a bag without images, a state of the joints; without both, a command.
Observations and commands are matched by the times at which the bag received them, since only these
are from one clock. The intervals between frames are those of the stamps of images or states, if all
have one.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.recorded.assembly import Listing, LoggedFrame, assemble_recording
from envs.recorded.bag import Bag, BagImage, Message
from envs.recorded.images import Framing
from envs.recorded.quantities import STEERING
from envs.recorded.recording import Recording
from envs.recorded.ros2_driving import ACKERMANNS, TWISTS, DrivingCommands, read_driving
from envs.recorded.ros2_joints import (
    ACTION,
    ARRAYS,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    STATE,
    Joints,
    read_joints,
)
from ncp_control.ranges import check_above_zero
from ncp_control.tally import Tally

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
COMMANDS = (*TWISTS, *ACKERMANNS, JOINT_TRAJECTORY)
"""Types of messages that are always commands."""
STATES = "/joint_states"
_MOST_TOLD = 12


@dataclass(frozen=True, kw_only=True)
class _Topics:
    """Topics that are read."""

    images: str | None
    states: str | None
    commands: str
    has_joint_commands: bool


@dataclass(frozen=True, kw_only=True)
class _Tick:
    """Message from which a frame is made."""

    received_s: float
    """Time at which the bag received the message [s]."""
    stamp_s: float = 0.0
    """Stamp of the message [s]; 0 if it has none."""
    place: str
    image: BagImage | None = None


def load_bag(
    path: str | Path,
    *,
    image_topic: str | None = None,
    state_topic: str | None = None,
    command_topic: str | None = None,
    command_joints: str | Sequence[str] = (),
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
        path: Folder of the bag, or one of its files.
        image_topic: Topic of the images, if there are several.
        state_topic: Topic of the measured joints, if there are several.
        command_topic: Topic of the commands, if there are several, or if joints are commanded by a
            JointState or an array.
        command_joints: Names of the entries of an array, e.g. "shoulder,elbow"; if none are given:
            their numbers from 0.
        max_steer_rad: Steering angle that corresponds to the steering 1 [rad].
        max_yaw_rate_radps: Yaw rate that corresponds to the steering 1 [rad/s], for a Twist.
        wheelbase_m: Distance of the axles [m], to convert the yaw rate of a Twist to an angle.
        command_age_s: Longest time for which a command or the state of a joint is valid [s].
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.

    Raises:
        ValueError: If it is not a bag, a topic or a scale must be given, or no frame can be used.
    """
    check_above_zero("command_age_s", command_age_s)
    framing, skipped = Framing(image_size=image_size, crop=crop), Tally()
    bag = Bag(Path(path))
    topics = _find_topics(bag, image_topic, state_topic, command_topic)
    states = None
    if topics.states is not None:
        states = read_joints(bag, topics.states, STATE, skipped, age_s=command_age_s)
    scale = {
        "max_steer_rad": max_steer_rad,
        "max_yaw_rate_radps": max_yaw_rate_radps,
        "wheelbase_m": wheelbase_m,
    }
    names = _entry_names(command_joints, topics, bag)
    if topics.has_joint_commands:
        _check_no_scale(scale, topics.commands)
        commands = read_joints(
            bag, topics.commands, ACTION, skipped, age_s=command_age_s, names=names
        )
    else:
        commands = read_driving(bag, topics.commands, skipped, age_s=command_age_s,
                                needs_scale=topics.images is not None, **scale)  # fmt: skip
    if topics.images is not None:
        ticks = [_tick(one, one.stored) for one in bag.messages(topics.images, IMAGES, skipped)]
    elif states is not None:
        ticks = [_tick(one) for one in states.messages]
    else:
        warnings.warn(
            f"'{bag.path}' has no images: the numbers of {topics.commands} are read alone.",
            stacklevel=2,
        )
        times_s = enumerate(commands.times_s)
        ticks = [_Tick(received_s=time_s, place=f"command {i}") for i, time_s in times_s]
    sensed = [] if states is None else states.quantities
    learned = [one.name for one in commands.quantities]
    return assemble_recording(
        Listing(
            folder=bag.path,
            format="ros2",
            frames=[*_frames(ticks, states, commands, skipped)],
            skipped=skipped,
            advice="Record what is sensed and commanded at the same time.",
            quantities=[*sensed, *commands.quantities],
            actions=learned if topics.has_joint_commands else (STEERING,),
        ),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )


def _find_topics(
    bag: Bag, image_topic: str | None, state_topic: str | None, command_topic: str | None
) -> _Topics:
    """Return the topics that are given or are the only ones of their kind.

    Raises:
        ValueError: If a topic must be given, or does not exist.
    """

    def listed(*types: str) -> list[str]:
        return [topic for topic, (_, count) in bag.topics(types).items() if count]

    images = states = None
    if image_topic is not None or listed(*IMAGES):
        images = _choose(bag, "image_topic", image_topic, IMAGES)
    is_plain = bool(listed(*COMMANDS))
    types = COMMANDS if is_plain and command_topic is None else (*COMMANDS, JOINT_STATE, *ARRAYS)
    commands = _choose(bag, "command_topic", command_topic, types, needs_name=not is_plain)
    has_joint_commands = bag.topics()[commands][0] in (JOINT_STATE, JOINT_TRAJECTORY, *ARRAYS)
    others = [topic for topic in listed(JOINT_STATE) if topic != commands]
    if state_topic is not None or len(others) == 1 or (others and has_joint_commands):
        states = _choose(bag, "state_topic", state_topic, (JOINT_STATE,), without=commands)
    return _Topics(
        images=images, states=states, commands=commands, has_joint_commands=has_joint_commands
    )


def _choose(
    bag: Bag,
    option: str,
    name: str | None,
    types: tuple[str, ...],
    *,
    needs_name: bool = False,
    without: str | None = None,
) -> str:
    """Return the given topic, or the only one of some types.

    Args:
        bag: The bag.
        option: Name of the option for the topic.
        name: Topic given by the user, if any.
        types: Allowed types of the messages.
        needs_name: Whether the topic must be given even if there is only one.
        without: A topic that is not allowed.

    Raises:
        ValueError: If there is no such topic, or it must be given; the message lists the topics.
    """
    found = {
        topic: kind_and_count
        for topic, kind_and_count in bag.topics(types).items()
        if (kind_and_count[1] or topic == name) and topic != without
    }
    if name is None and len(found) == 1 and not needs_name:
        return next(iter(found))
    if name in found:
        return str(name)
    kinds = " or ".join(kind.rpartition("/")[2] for kind in types)
    kinds += "" if without is None else f" other than {without}"
    if found:
        # /joint_states is ROS's name of measured joints, so it is the last guess for a command.
        likely = min(found, key=lambda one: ((one == STATES) == (option == "command_topic"), one))
        advice = f"Write --log-options {option}={likely}."
    else:
        found, advice = bag.topics(), "Record one."
    topics = [f"{topic} ({kind}, {count})" for topic, (kind, count) in sorted(found.items())]
    listed = ", ".join(topics[:_MOST_TOLD]) + (", …" if len(topics) > _MOST_TOLD else "")
    raise ValueError(
        f"`{option}` must be a topic of {kinds}, got {name!r} for '{bag.path}' with"
        f" {listed or 'no topics'}. {advice}"
    )


def _check_no_scale(options: dict[str, float | None], topic: str) -> None:
    """Refuse options of cars if joints are commanded."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"`{name}` must be left out where joints are commanded, got {value!r} for"
                f" {topic}. It is of use to a Twist or an AckermannDrive."
            )


def _entry_names(joints: str | Sequence[str], topics: _Topics, bag: Bag) -> list[str]:
    """Return the names of the entries of an array of commands.

    Raises:
        ValueError: If one is given twice or empty, or the commands are no array.
    """
    listed = joints if isinstance(joints, list | tuple) else str(joints).split(",")
    names = [str(name).strip() for name in listed]
    kind = bag.topics()[topics.commands][0]
    if names and kind not in ARRAYS:
        raise ValueError(
            f"`command_joints` must be left out for {topics.commands}, got {', '.join(names)}: only"
            " the entries of an array have no names of their own."
        )
    if len(set(names)) < len(names) or not all(names):
        raise ValueError(f"`command_joints` must name each entry once, got {', '.join(names)}.")
    return names


def _tick(message: Message, image: BagImage | None = None) -> _Tick:
    stamp: Any = message.value.header.stamp
    return _Tick(
        received_s=message.time_s,
        stamp_s=stamp.sec + 1e-9 * stamp.nanosec,
        place=message.place,
        image=image,
    )


def _frames(
    ticks: list[_Tick], states: Joints | None, commands: Joints | DrivingCommands, skipped: Tally
) -> Iterator[LoggedFrame]:
    """Yield the frames with the states and commands valid at their times."""
    has_stamps = all(tick.stamp_s > 0.0 for tick in ticks)
    ticks = sorted(ticks, key=lambda one: one.stamp_s if has_stamps else one.received_s)
    for row, tick in enumerate(ticks):
        command = commands.in_force(tick.received_s, tick.place, skipped)
        if command is None:
            continue
        sensed = {} if states is None else states.numbers_at(tick.received_s)
        yield LoggedFrame(
            row=row,
            path=tick.image,
            numbers={**sensed, **command[0]},
            time_s=tick.stamp_s if has_stamps else tick.received_s,
            place=tick.place,
            changes=command[1],
        )
