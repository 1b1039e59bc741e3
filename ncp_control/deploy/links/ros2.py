"""Link to a robot or simulator with ROS 2, by DDS, e.g. `--link ros2:/camera/image_raw`.

    ncp run drive-ncp --link ros2 --link-options speed_mps=0.5 wheelbase_m=0.26

It subscribes to images (sensor_msgs/Image in rgb8, bgr8 or mono8, or CompressedImage) and publishes
Twist, TwistStamped, AckermannDrive or AckermannDriveStamped, like a ROS node; ROS need not be
installed. See `ncp_control.ros` for the conversion of images, steering and stamps, and for the
network: the loopback interface, unless CYCLONEDDS_URI says otherwise.

`stop` publishes zeros. If no image has come for `silence_s`, zeros are published as well, whatever
the loop commands. If this whole computer dies, the robot's own command timeout must stop it.

With `takeover_topic`, a person can drive: while messages of the command type come there, the link
passes them on to the robot instead of the policy's commands, and a stop waits until the person lets
go. Recorded drives hold them, converted to actions of the policy that follow the same path.
"""

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from ncp_control.contract import Contract
from ncp_control.deploy.links.images import see
from ncp_control.framing import framer_for
from ncp_control.loop.clocks import Clock
from ncp_control.loop.link import LinkLost, Reading
from ncp_control.names import check_name
from ncp_control.ranges import check_above_zero
from ncp_control.ros.commands import STOP, TOPICS, Motion, MotionRule
from ncp_control.ros.images import check_encoding, rgb_of_compressed, rgb_of_image
from ncp_control.ros.stamps import StampClock

IMAGE_TOPIC = "/camera/image_raw"
IMAGE_TYPES = ("Image", "CompressedImage")
_FAREWELLS = 3
"""Number of times that zeros are published at the end."""
_FAREWELL_S = 0.02
_POLL_S = 0.1


class Ros2Link:
    """Link to a robot with ROS 2.

    Args:
        contract: The policy's contract.
        target: Topic of the images; `/camera/image_raw` if empty.
        clock: The loop's clock.
        image_type: "Image" or "CompressedImage". If None: "CompressedImage" for a topic that ends
            with `/compressed`, otherwise "Image".
        command_type: "Twist", "TwistStamped", "AckermannDrive" or "AckermannDriveStamped".
        command_topic: Topic of the commands; if None, the usual one of the type: `/cmd_vel`,
            `/ackermann_cmd` or `/drive`.
        speed_mps: Commanded speed [m/s]; required.
        wheelbase_m: Distance between the axles [m]; required where an angle becomes a yaw rate, or
            a yaw rate an angle.
        max_steer_rad: Steering angle for the action 1 [rad], if the contract does not give it.
        crop_top: Share of the image cut off at the top; that of the policy's contract if None.
        crop_bottom: Share of the image cut off at the bottom; that of the contract if None.
        stamped: Whether the time of an image is its header's stamp instead of its arrival.
        silence_s: Time without an image after which zeros are published [s].
        takeover_topic: Topic of a person's commands, of `command_type`; None for no such topic.
        takeover_s: Time without such a command after which the policy drives again [s].
        frame_id: Frame id in the headers of stamped commands.
        domain_id: ROS domain; if None, ROS_DOMAIN_ID or 0.
        connect_s: Longest time to wait for the first image [s].

    Raises:
        ValueError: If the policy does not steer or observes no frames, an option is out of range,
            the first image has an unknown encoding, or cyclonedds is not installed. Nothing has
            been sent then.
        LinkLost: If no image comes.
    """

    def __init__(
        self,
        contract: Contract,
        target: str = "",
        *,
        clock: Clock,
        image_type: str | None = None,
        command_type: str = "Twist",
        command_topic: str | None = None,
        speed_mps: float | None = None,
        wheelbase_m: float | None = None,
        max_steer_rad: float | None = None,
        crop_top: float | None = None,
        crop_bottom: float | None = None,
        stamped: bool = True,
        silence_s: float = 0.5,
        takeover_topic: str | None = None,
        takeover_s: float = 0.5,
        frame_id: str = "base_link",
        domain_id: int | None = None,
        connect_s: float = 60.0,
    ) -> None:
        check_above_zero("silence_s", silence_s)
        check_above_zero("connect_s", connect_s)
        check_above_zero("takeover_s", takeover_s)
        self._rule = MotionRule(contract, command_type, speed_mps=speed_mps,
                                wheelbase_m=wheelbase_m, max_steer_rad=max_steer_rad)  # fmt: skip
        self._framer = framer_for(contract.observation, "ROS 2", crop_top, crop_bottom)
        self.contract = replace(contract, world="ros2", world_options={})
        topic = target or IMAGE_TOPIC
        if image_type is None:
            image_type = IMAGE_TYPES[topic.endswith("/compressed")]
        check_name("image_type", image_type, IMAGE_TYPES)
        self._clock, self._silence_s = clock, silence_s
        self._command_type, self._frame_id = command_type, frame_id
        self._stamps = StampClock() if stamped else None
        self._dds = _import_dds()
        chosen_topic = command_topic or TOPICS[command_type]
        names = self._dds.topic_name(topic), self._dds.topic_name(chosen_topic)
        self._node = node = self._dds.Node(self._dds.domain_of(domain_id))
        self._images: Any = node.reader(names[0], self._dds.MESSAGES[image_type])
        self._commands: Any = node.writer(names[1], self._dds.MESSAGES[command_type])
        self._person: Any = None
        if takeover_topic is not None:
            name = self._dds.topic_name(takeover_topic)
            if name == names[1]:
                raise ValueError(
                    f"`takeover_topic` must differ from the topic of the commands, got"
                    f" {takeover_topic!r} for both. Let the remote control publish on another."
                )
            self._person = node.reader(name, self._dds.MESSAGES[command_type])
        self._takeover_s, self._person_s = takeover_s, -math.inf
        self._person_command: np.ndarray | None = None
        self._is_manual = self._is_to_stop = False
        self._first: Reading | None = None
        self._image_s = clock.now_s()
        self._first = self._wait(topic, image_type, connect_s)

    def read(self, timeout_s: float) -> Reading | None:
        """Return the newest image as a reading, and who drives.

        Without an image, a reading comes only when the driver changes.
        """
        self._hear_person()
        was_manual = self._is_manual
        self._is_manual = self._is_person_driving()
        if was_manual and not self._is_manual and self._is_to_stop:
            self._publish(STOP)
        reading = self._read_image(timeout_s)
        if reading is None and self._is_manual != was_manual:
            reading = Reading(observation=None, time_s=self._clock.now_s())
        if reading is None or not self._is_manual:
            return reading
        return replace(reading, is_manual=True, command=self._person_command)

    def _is_person_driving(self) -> bool:
        return self._clock.now_s() - self._person_s <= self._takeover_s

    def _read_image(self, timeout_s: float, *, is_first: bool = False) -> Reading | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            message = self._images.read(timeout_s)
        except ValueError:  # a damaged message came
            return Reading(observation=None, time_s=self._clock.now_s())
        if is_first and isinstance(message, self._dds.Image):
            check_encoding(message)
        return None if message is None else self._reading(message)

    def _hear_person(self) -> None:
        """Pass the newest command of a person on to the robot, if one came."""
        if self._person is None:
            return
        try:
            message = self._person.read(0.0)
        except ValueError:  # a damaged message came
            return
        if message is None:
            return
        motion = self._motion_of(message)
        self._publish(motion)
        self._person_s = self._clock.now_s()
        low, high = self.contract.action[0].range
        self._person_command = np.clip([self._rule.action_of(motion)], low, high)

    def send(self, command: np.ndarray) -> None:
        """Steer at the commanded speed; stand still if no image has come for `silence_s`."""
        self._is_to_stop = False
        if self._is_person_driving():
            return
        is_blind = self._clock.now_s() - self._image_s > self._silence_s
        self._publish(STOP if is_blind else self._rule.motion(float(command[0])))

    def stop(self) -> None:
        """Command a standstill; while a person drives, as soon as the person lets go."""
        self._is_to_stop = True
        if not self._is_person_driving():
            self._publish(STOP)

    def close(self) -> None:
        """Command a standstill and leave the domain."""
        for _ in range(_FAREWELLS):
            self._publish(STOP)
            time.sleep(_FAREWELL_S)
        self._commands = self._images = self._person = self._node = None

    def _wait(self, topic: str, image_type: str, connect_s: float) -> Reading:
        """Return the first reading.

        Raises:
            LinkLost: If no image comes in time.
            ValueError: If its encoding is unknown.
        """
        print(f"waiting for an image on {topic}", flush=True)
        end_s = self._clock.now_s() + connect_s
        while self._clock.now_s() < end_s:
            reading = self._read_image(_POLL_S, is_first=True)
            if reading is not None:
                return reading
        found = self._images.num_publishers
        advice = (
            f"{found} publishers were found, and they are silent"
            if found
            else f"nobody publishes sensor_msgs/{image_type} there that this network reaches (see"
            f" docs/robots.md on {self._dds.URI})"
        )
        raise LinkLost(f"no image came on {topic} within {connect_s:g} s: {advice}")

    def _reading(self, message: Any) -> Reading:
        self._image_s = now_s = self._clock.now_s()
        time_s = now_s
        if self._stamps is not None:
            time_s = self._stamps.time_s(message.header.stamp.time_s, now_s)
        try:
            is_raw = isinstance(message, self._dds.Image)
            image = rgb_of_image(message) if is_raw else rgb_of_compressed(message.data)
        except ValueError:
            return Reading(observation=None, time_s=time_s)
        return Reading(observation=see(self._framer, image), time_s=time_s)

    def _publish(self, motion: Motion) -> None:
        dds = self._dds
        try:
            self._commands.write(self._message(motion))
        except dds.DDSException as error:
            raise LinkLost(f"DDS cannot publish: {error}") from error

    def _message(self, motion: Motion) -> Any:
        """Return the DDS message for a motion."""
        dds = self._dds
        if self._rule.is_twist:
            message = dds.Twist(
                linear=dds.Vector3(x=motion.speed_mps), angular=dds.Vector3(z=motion.turn)
            )
        else:
            message = dds.AckermannDrive(steering_angle=motion.turn, speed=motion.speed_mps)
        if not self._command_type.endswith("Stamped"):
            return message
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        header = dds.Header(stamp=dds.Time(seconds, nanoseconds), frame_id=self._frame_id)
        return dds.MESSAGES[self._command_type](header, message)

    def _motion_of(self, message: Any) -> Motion:
        """Return the motion that a DDS message commands."""
        if self._rule.is_twist:
            twist = getattr(message, "twist", message)
            return Motion(speed_mps=twist.linear.x, turn=twist.angular.z)
        drive = getattr(message, "drive", message)
        return Motion(speed_mps=drive.speed, turn=drive.steering_angle)


def _import_dds() -> Any:
    """Import the DDS module.

    Raises:
        ValueError: If cyclonedds is not installed.
    """
    try:
        from ncp_control.ros import dds
    except ModuleNotFoundError as error:
        raise ValueError(
            "`link` ros2 needs cyclonedds, which is not installed. Run"
            ' `pip install "ncp-control[ros]"`.'
        ) from error
    return dds
