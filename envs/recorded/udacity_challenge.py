"""Reader of recordings of a real car: Udacity's challenge 2, with the angle of the steering wheel.

    recording/steering.csv             frame_id, steering_angle [rad], and further columns
    recording/*.tar or folders         the images, named <time in ns>.jpg or .png

The id of a frame ends in its time in nanoseconds, e.g. `Ch2_001/center/1479425441182877835`, and
its image has the same name. The angle is that of the **steering wheel**, left positive, about 15
times that of the road wheels; steering is the angle divided by `largest_angle_rad`.

Source: Udacity self-driving car challenge 2, data set Ch2_001 (MIT licence).
"""

import csv
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from envs.recorded.assembly import (
    Listing,
    LoggedFrame,
    assemble_recording,
    check_folder,
    left_positive_steering,
)
from envs.recorded.images import MAX_BYTES, Framing, ImageFile
from envs.recorded.quantities import STEERING, Quantity
from envs.recorded.recording import Recording
from envs.recorded.text import read_lines
from ncp_control.tally import Tally

LOG_FILE = "steering.csv"
COLUMNS = ("frame_id", "steering_angle")
CROP = (0.3, 0.1)
"""Default crop: the sky above the trees, and the road just before the bonnet."""
_TIME_NS = re.compile(r"(?:.*[/\\])?(\d{10,19})(?:\.\w+)?", re.ASCII)
_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, kw_only=True)
class TarImage:
    """An image in an uncompressed tar file."""

    path: Path
    """The tar file."""
    name: str
    """Name of the image in the tar file."""
    offset: int
    """Position of its first byte."""
    num_bytes: int

    def read_bytes(self) -> bytes:
        """Return the bytes of the image file."""
        if self.num_bytes > MAX_BYTES:
            raise ValueError(f"an image has {self.num_bytes} bytes")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.num_bytes)


def is_challenge(path: Path) -> bool:
    """True for a folder with a steering.csv that has the columns of the challenge."""
    log = path / LOG_FILE
    if not log.is_file():
        return False
    with log.open("rb") as file:
        head = file.readline(1000).decode("utf-8", "replace")
    return set(COLUMNS) <= {cell.strip() for cell in head.split(",")}


def load_challenge(
    folder: str | Path,
    *,
    largest_angle_rad: float = 1.0,
    image_size: tuple[int, int] = (78, 200),
    crop: tuple[float, float] = CROP,
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a recording of the challenge.

    Args:
        folder: Folder with `steering.csv`, and the images in tar files or folders beside it.
        largest_angle_rad: Angle of the steering wheel that corresponds to the steering 1 [rad].
        image_size: Height and width of an observation [pixels].
        crop: Share of the height cut off at the top and at the bottom.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.

    Raises:
        FileNotFoundError: If the folder is missing.
        NotADirectoryError: If it is a file.
        ValueError: If no frame can be used, or angles are larger than `largest_angle_rad`.
    """
    folder = Path(folder)
    check_folder(folder)
    if not 0.0 < largest_angle_rad < 100.0:
        raise ValueError(
            f"`largest_angle_rad` must be above 0 and below 100, got {largest_angle_rad!r}."
            " Steering wheels turn to about 8 rad."
        )
    angle = "rad" if largest_angle_rad == 1.0 else f"fraction of {largest_angle_rad:g} rad"
    skipped = Tally()
    listing = Listing(
        folder=folder,
        format="udacity_challenge",
        frames=list(_frames(folder, largest_angle_rad, skipped)),
        skipped=skipped,
        advice=f"Give each image the time in {LOG_FILE} as its name.",
        quantities=[
            Quantity(
                name=STEERING,
                unit=f"{angle} of the steering wheel",
                range=(-1.0, 1.0),
                positive="left",
            )
        ],
    )
    return assemble_recording(
        listing,
        framing=Framing(image_size=image_size, crop=crop),
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )


def _frames(folder: Path, largest_angle_rad: float, skipped: Tally) -> Iterator[LoggedFrame]:
    """Yield the frames of the log in order of time."""
    images = _find_images(folder)
    frames: list[tuple[int, float, tuple[str, ...], str]] = []
    head, *lines = read_lines(folder / LOG_FILE)
    names = [cell.strip() for cell in head.split(",")]  # as `is_challenge` reads them
    rows = csv.DictReader(lines, names, restval="")
    for row in rows:
        place = f"line {rows.line_num + 1}"  # it leaves out empty lines; the head is line 1
        match = _TIME_NS.fullmatch(row["frame_id"].strip())
        if match is None:
            skipped.add("frame without a time", place)
            continue
        angle = _number(row["steering_angle"])
        logged = angle if isinstance(angle, str) else angle / largest_angle_rad
        steering = left_positive_steering(logged, skipped, place, is_left_positive=True)
        if steering is not None:
            frames.append((int(match[1]), *steering, place))
    for row, (time_ns, steering, changes, place) in enumerate(sorted(frames)):
        yield LoggedFrame(
            row=row,
            path=images.get(str(time_ns), folder / f"{time_ns}.jpg"),
            numbers={STEERING: steering},
            time_s=time_ns * 1e-9,
            place=place,
            changes=changes,
        )


def _find_images(folder: Path) -> dict[str, ImageFile]:
    """Return the images in folders and tar files, by name without suffix."""
    found: dict[str, ImageFile] = {
        path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES
    }
    for archive in sorted(folder.glob("*.tar")):
        try:
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    name = Path(member.name)
                    if member.isreg() and name.suffix.lower() in _SUFFIXES:
                        found[name.stem] = TarImage(
                            path=archive,
                            name=member.name,
                            offset=member.offset_data,
                            num_bytes=member.size,
                        )
        except tarfile.TarError:  # damaged from here on: the remaining images are missing
            continue
    return found


def _number(text: str | None) -> float | str:
    """Return the number in a cell; the text itself if it is not a number."""
    try:
        return float(text or "")
    except ValueError:
        return text or ""
