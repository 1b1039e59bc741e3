# pyright: reportMissingImports=false
"""Read a ROS 2 bag: topics, messages, and images, which are loaded only when needed.

A bag is a folder with `metadata.yaml` and files in sqlite3 or MCAP, or one such file. It is read by
the package `rosbags`, without ROS. Damaged messages are left out, and so are time spans in which
the file is damaged.
"""

import re
import struct
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2

from ncp_control.ros.images import rgb_of_image
from ncp_control.tally import Tally

METADATA_FILE = "metadata.yaml"
STORAGES = (".mcap", ".db3")
DAMAGED_PART, DAMAGED_MESSAGE = "damaged part of the bag", "damaged message"
_TITLE = b"rosbag2_bagfile_information"
_HEAD_BYTES = 4096
_NS = 1e-9
_MAGIC = b"\x89MCAP0\r\n\x01"
_SKIP_NS = 10**8
"""Initial time span that is skipped at a damaged part; doubled until reading succeeds [ns]."""
_MOST_DAMAGES = 200
"""Number of damaged parts after which the rest of a bag is left out."""
_ACKERMANN = {
    "ackermann_msgs/msg/AckermannDrive": "float32 steering_angle\nfloat32 steering_angle_velocity\n"
    "float32 speed\nfloat32 acceleration\nfloat32 jerk\n",
    "ackermann_msgs/msg/AckermannDriveStamped": "std_msgs/Header header\n"
    "ackermann_msgs/AckermannDrive drive\n",
}
"""Definitions of messages that `rosbags` does not know."""


def is_bag(path: Path) -> bool:
    """True for the path of a ROS 2 bag: its folder, its `metadata.yaml`, or one of its files."""
    if path.is_dir():
        return _is_metadata(path / METADATA_FILE) or any(map(_is_storage, _files_in(path)))
    return _is_metadata(path) or _is_storage(path)


def _is_metadata(path: Path) -> bool:
    if path.name != METADATA_FILE or not path.is_file():
        return False
    with path.open("rb") as file:
        return _TITLE in file.read(_HEAD_BYTES)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in STORAGES)


def _is_storage(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix == ".db3":
        return True
    with path.open("rb") as file:  # the first record of an MCAP file names its writer
        head = file.read(len(_MAGIC) + 8 + 4 + 4)
    return head.startswith(_MAGIC) and head.endswith(struct.pack("<I", 4) + b"ros2")


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message of a bag."""

    time_s: float
    """Time at which the bag received the message [s]."""
    place: str
    """Location of the message, for people."""
    value: Any
    """The deserialized message."""
    stored: "BagImage"
    """Reference by which the message can be read again."""


@dataclass(frozen=True)
class BagImage:
    """An image in a bag."""

    path: Path
    """Path of the bag."""
    topic: str
    """Topic of the image."""
    number: int
    """Number of the message on the topic."""
    time_ns: int = field(repr=False, compare=False)
    """Time at which the bag received the message [ns]."""
    nth: int = field(repr=False, compare=False)
    """Number of earlier messages with the same time on the topic."""
    bag: "Bag" = field(repr=False, compare=False)
    """The bag that reads the image."""
    source: tuple[Any, Any] = field(repr=False, compare=False)
    """The open file, and the connection of the topic in it."""

    @property
    def name(self) -> str:
        """Its location, for messages."""
        return f"message {self.number} of {self.topic}"

    def __str__(self) -> str:
        return f"{self.name} in {self.path.name}"

    def read_bytes(self) -> bytes:
        """Return the bytes of an image file: as stored if compressed, else BMP, without loss.

        Raises:
            ValueError: If it is damaged.
        """
        message = self.bag.read_again(self)
        if not hasattr(message, "encoding"):
            return bytes(message.data)
        image = rgb_of_image(message)
        return cv2.imencode(".bmp", image[:, :, ::-1])[1].tobytes()


class Bag:
    """An open bag; it is closed when it is garbage collected.

    Args:
        path: Folder of the bag, or one of its files.

    Raises:
        ValueError: If it cannot be read, or rosbags is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.parent if path.name == METADATA_FILE else path
        rosbag2, self._store = _import_rosbags(), _types()
        self._readers: list[Any] = []
        weakref.finalize(self, _close, self._readers)
        try:
            self._open([self.path], rosbag2)
        except ValueError:
            files = _files_in(self.path) if self.path.is_dir() else []
            if not files:
                raise
            self._open(files, rosbag2)  # metadata.yaml is written last, and missing after a crash
        self._stream: tuple[Any, int, Iterator[Any]] | None = None

    def _open(self, paths: Sequence[Path], rosbag2: Any) -> None:
        """Open the folder or the files of a bag.

        Raises:
            ValueError: If one of the paths cannot be read.
        """
        for path in paths:
            try:
                reader = rosbag2.Reader(path)
                reader.open()
                self._readers.append(reader)
                self.topics()  # fails now if the topics are damaged
            except Exception as error:  # rosbags raises nearly any error on damaged files
                _close(self._readers)
                raise ValueError(
                    f"`folder` must hold a ROS 2 bag that can be read, got '{path}':"
                    f" {_reason(error, path)}. Repair it with `ros2 bag reindex`, `mcap recover` or"
                    " `sqlite3 .recover`."
                ) from error

    @property
    def connections(self) -> list[tuple[Any, Any]]:
        """Open file and connection of each topic in each file."""
        found = [(reader, one) for reader in self._readers for one in reader.connections]
        return [(reader, one) for reader, one in found if isinstance(one.topic, str)]

    def topics(self, types: Sequence[str] = ()) -> dict[str, tuple[str, int]]:
        """Return type and number of messages of each topic, optionally only of some types."""
        found: dict[str, tuple[str, int]] = {}
        for _, one in self.connections:
            if not types or one.msgtype in types:
                before = found.get(one.topic, ("", 0))[1]
                found[one.topic] = str(one.msgtype), before + int(one.msgcount)
        return found

    def messages(self, topic: str, types: Sequence[str], skipped: Tally) -> Iterator[Message]:
        """Yield the messages of a topic, in the order of their times within each file.

        Args:
            topic: The topic.
            types: Allowed types of its messages.
            skipped: Counts damaged messages and parts.
        """
        number = nth = 0
        before_ns = -1
        for reader, one in self.connections:
            if one.topic != topic or one.msgtype not in types:
                continue
            for time_ns, data in _read_on(reader, one, skipped):
                nth = nth + 1 if time_ns == before_ns else 0
                stored = BagImage(self.path, topic, number, time_ns, nth, self, (reader, one))
                number, before_ns = number + 1, time_ns
                try:
                    value = self._unpack(data, one)
                except ValueError as error:
                    skipped.add(f"{DAMAGED_MESSAGE} of {topic}", f"{stored.name}: {error}")
                    continue
                yield Message(time_s=time_ns * _NS, place=stored.name, value=value, stored=stored)

    def read_again(self, image: BagImage) -> Any:
        """Return the message of an image.

        Raises:
            ValueError: If it is damaged or no longer exists.
        """
        reader, one = image.source
        stream, self._stream = self._stream, None
        try:
            if stream is None or stream[0] is not one or stream[1] != image.number:
                stream = one, image.number, reader.messages([one], start=image.time_ns)
                for _ in range(image.nth):
                    next(stream[2])
            _, time_ns, data = next(stream[2])
        except Exception as error:
            raise ValueError(f"{image.name} cannot be read: {_reason(error)}") from error
        if time_ns != image.time_ns:
            raise ValueError(f"{image.name} is no longer in the bag")
        self._stream = one, image.number + 1, stream[2]
        return self._unpack(data, one)

    def _unpack(self, data: Any, connection: Any) -> Any:
        try:
            return self._store.deserialize_cdr(data, connection.msgtype)
        except Exception as error:  # rosbags raises nearly any error, as above
            raise ValueError(_reason(error)) from error


def _read_on(reader: Any, connection: Any, skipped: Tally) -> Iterator[tuple[int, bytes]]:
    """Yield time [ns] and data of each message, skipping damaged parts."""
    start_ns, skip_ns = None, _SKIP_NS
    for _ in range(_MOST_DAMAGES):
        try:
            for _, time_ns, data in reader.messages([connection], start=start_ns):
                start_ns, skip_ns = time_ns + 1, _SKIP_NS
                yield time_ns, data
            return
        except Exception as error:  # rosbags raises nearly any error, as above
            begin_ns = reader.start_time if start_ns is None else start_ns
            skipped.add(DAMAGED_PART, f"{connection.topic} from {begin_ns} ns: {_reason(error)}")
            start_ns, skip_ns = begin_ns + skip_ns, 2 * skip_ns
            if start_ns >= reader.end_time:
                return


def _close(readers: list[Any]) -> None:
    while readers:
        readers.pop().close()


def _reason(error: Exception, path: Path | None = None) -> str:
    """Return the message of an error on one line, without the path of the bag."""
    message = re.sub(r"\s+", " ", str(error) or type(error).__name__)
    if path is not None:
        message = message.replace(f"{path}/", "").replace(str(path), path.name)
    return message[:100].rstrip(". ")


def _import_rosbags() -> Any:
    """Return the module of `rosbags` for bags.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        from rosbags import rosbag2
    except ModuleNotFoundError as error:
        raise ValueError(
            "`log` of ROS 2 needs rosbags, which is not installed. Run"
            ' `pip install "ncp-control[ros]"`.'
        ) from error
    return rosbag2


@cache
def _types() -> Any:
    """Return the message types; those used here are the same in all versions of ROS 2."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in _ACKERMANN.items():
        store.register(get_types_from_msg(text, name))
    return store
