"""Records of a Donkeycar tub, the same in both versions: one JSON object per frame.

`user/angle`, in some tubs `user/steering`, is the fraction of the largest steering angle. It is
negative to the left in Donkeycar (`PWMSteering.LEFT_ANGLE = -1`) and therefore negated here.

All other numbers of a record are kept under their names: `user/throttle` as `throttle`.

Records deleted by the driver or driven by an autopilot (a `user/mode` other than `user`) are left
out and counted before anything else is checked.
"""

import json
import ntpath
from collections.abc import Collection
from pathlib import Path
from typing import Any

from envs.recorded.assembly import (
    Listing,
    LoggedFrame,
    finite_number,
    left_positive_steering,
)
from envs.recorded.quantities import STEERING
from ncp_control.tally import Tally

ANGLE_FIELDS = ("user/angle", "user/steering")
"""Names of the steering; the first one in a record is used."""
DELETED = "deleted by the driver"
AUTOPILOT = "driven by an autopilot"
_NO_QUANTITIES = ("milliseconds", "timestamp")
"""Fields of version 1 with the time."""
IMAGE_FIELD = "cam/image_array"
"""Default name of the image."""


def read_json(text: str) -> Any:
    """Return a JSON value.

    Raises:
        ValueError: If the text is not a complete JSON value.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists in lists too deep to read") from error


def whole_number(value: Any) -> int | None:
    """Return a whole number as an int, None for anything else."""
    number = finite_number(value)
    is_whole = number is not None and number.is_integer() and abs(number) < 2**53
    return int(value) if is_whole else None


class TubRecords:
    """Selects and checks the records of one tub, one after the other.

    Args:
        folder: The tub.
        images: Folder of its images.
        image_field: Name of the image in a record.
        deleted: Numbers of the records that the driver deleted.
    """

    def __init__(
        self, folder: Path, images: Path, image_field: str, deleted: Collection[int]
    ) -> None:
        self.skipped = Tally()
        self._folder = folder
        self._images_folder = images
        self._image_field = image_field
        self._deleted = deleted
        self._frames: list[LoggedFrame] = []

    def parse(self, text: str, place: str) -> dict[str, Any] | None:
        """Return a record driven by the user; None, and count it, for any other text."""
        try:
            record = read_json(text)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            self.skipped.add("no whole JSON record", place)
            return None
        if record.get("user/mode", "user") != "user":
            self.skipped.add(AUTOPILOT, place)
            return None
        return record

    def add(
        self,
        record: dict[str, Any],
        place: str,
        *,
        row: int,
        time_s: float | None,
        declared: str = "",
        changes: tuple[str, ...] = (),
    ) -> None:
        """Keep a record, or count the reason why it is left out.

        Args:
            record: Record from `parse`.
            place: Place of the record, for messages.
            row: Number of the record.
            time_s: Time of the record [s]; None if it has none.
            declared: Recording session.
            changes: Changes made to the time.
        """
        if row in self._deleted:
            self.skipped.add(DELETED, place)
            return
        name = record.get(self._image_field)
        name = ntpath.basename(name) if isinstance(name, str) else ""
        if not name:
            self.skipped.add("record without an image", place)
            return
        if time_s is None:
            self.skipped.add("record without a time", place)
            return
        angle = next((record[field] for field in ANGLE_FIELDS if field in record), None)
        steering = left_positive_steering(angle, self.skipped, place)
        if steering is None:
            return
        self._frames.append(
            LoggedFrame(
                row=row,
                path=self._images_folder / name,
                numbers={**_numbers(record), STEERING: steering[0]},
                time_s=time_s,
                declared=declared,
                place=place,
                changes=changes + steering[1],
            )
        )

    def listing(self) -> Listing:
        """Return the kept records.

        Raises:
            ValueError: If no record was driven by the user, or all of these were deleted.
        """
        if not self._frames and self.skipped.counts.keys() <= {DELETED, AUTOPILOT}:
            found = f" ({self.skipped})" if self.skipped.total else ""
            raise ValueError(
                "`folder` must be a tub with at least one record driven by the user, got none in"
                f" '{self._folder}'{found}. Record a drive first."
            )
        return Listing(
            folder=self._folder,
            format="donkeycar",
            frames=self._frames,
            skipped=self.skipped,
            advice="Copy the tub from the car again.",
        )


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a record, without steering, record number and time."""
    found = {}
    for name, value in record.items():
        number = finite_number(value)
        if number is not None and name not in (*ANGLE_FIELDS, *_NO_QUANTITIES):
            found[name.removeprefix("user/")] = number
    return {name: value for name, value in found.items() if not name.startswith("_")}
