"""Read seven datasets of the UCI repository as the LTC paper's code does.

Each dataset consists of pieces, which are stretches of consecutive rows: e.g. the files of a
dataset, or all of it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from scripts.reproduction.data_files import find_files, read_columns, read_matrix, to_numbers

GESTURE_FILES = ("a3_va3", "b1_va3", "b3_va3", "c1_va3", "c3_va3", "a2_va3", "a1_va3")
"""Files of the gesture set, in the order of the published code."""
PHASES = "DPSHR"
OCCUPANCY_FILES = ("datatraining.txt", "datatest.txt", "datatest2.txt")
OCCUPANCY_INPUTS = ("Temperature", "Humidity", "Light", "CO2", "HumidityRatio")
TRAFFIC_FILE = "Metro_Interstate_Traffic_Volume.csv"
OZONE_FILE, OZONE_WIDTH = "eighthr.data", 72
HAR_WIDTH, HAR_CLASSES = 561, 6
PERSON_FILE = "ConfLongDemo_JSI.txt"
PERSON_COLUMNS = ("sequence", "tag", "timestamp", "date", "x", "y", "z", "activity")
TAGS = ("010-000-024-033", "010-000-030-096", "020-000-033-111", "020-000-032-221")
"""Tags at the left and right ankle, the chest and the belt."""
ACTIVITIES = {
    "lying down": 0,
    "lying": 0,
    "sitting down": 1,
    "sitting": 1,
    "standing up from lying": 2,
    "standing up from sitting": 2,
    "standing up from sitting on the ground": 2,
    "walking": 3,
    "falling": 4,
    "on all fours": 5,
    "sitting on the ground": 6,
}
"""Class of each activity: eleven become seven."""
POWER_FILE = "household_power_consumption.txt"
POWER_COLUMNS = (
    "Date", "Time", "Global_active_power", "Global_reactive_power", "Voltage", "Global_intensity",
    "Sub_metering_1", "Sub_metering_2", "Sub_metering_3",
)  # fmt: skip
CURRENT = 2
"""Column of the current in the inputs of the power set."""


@dataclass(frozen=True, kw_only=True)
class DataTable:
    """Rows of a dataset."""

    inputs: np.ndarray
    """Inputs as in the file, NaN where missing, shape (rows, width)."""
    targets: np.ndarray
    """Class or number to predict for each row, shape (rows,)."""
    pieces: tuple[slice, ...]
    """Rows of each piece."""
    aside: np.ndarray
    """Quantity that a simple rule uses, shape (rows,)."""
    groups: tuple[str, ...] = ()
    """Person of each piece, if the dataset distinguishes people."""
    num_to_test: int = 0
    """Number of last pieces that the dataset reserves for testing."""


def _join(pieces: Sequence[tuple[np.ndarray, np.ndarray]], aside: int | None = None) -> DataTable:
    """Concatenate pieces; `aside` is the input that a simple rule uses, if any."""
    ends = np.cumsum([len(inputs) for inputs, _ in pieces])
    starts = [0, *ends[:-1]]
    inputs = np.concatenate([inputs for inputs, _ in pieces])
    return DataTable(
        inputs=inputs,
        targets=np.concatenate([targets for _, targets in pieces]),
        pieces=tuple(slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True)),
        aside=np.zeros(len(inputs)) if aside is None else inputs[:, aside],
    )


def _find(data: Path | None, names: Sequence[str], what: str) -> list[tuple[str, bytes]]:
    """Return name and content of the files, in the order of `names`."""
    found: dict[str, bytes] = {}
    for name, content in find_files(data, lambda name: name.rsplit("/", 1)[-1] in names, what):
        found.setdefault(name.rsplit("/", 1)[-1], content)
    lacking = [name for name in names if name not in found]
    if lacking:
        raise FileNotFoundError(f"`data` must hold {what}, got none of {', '.join(lacking)}.")
    return [(name, found[name]) for name in names]


def read_gesture(data: Path | None) -> DataTable:
    """Read the gesture set: 32 numbers per row and the phase of the gesture.

    Classes 0 to 4 are rest, preparation, stroke, hold and retraction.
    """
    what = "UCI Gesture Phase Segmentation (archive.ics.uci.edu/dataset/302)"
    pieces = []
    for name, content in _find(data, [f"{name}.csv" for name in GESTURE_FILES], what):
        header = content.split(b"\n", 1)[0].split(b"\r", 1)[0].decode(errors="replace").split(",")
        phase = header[-1].strip('"')
        columns = [cell.strip('"') for cell in header[:-1]]
        if len(columns) != 32 or not phase.lower().startswith("phase"):
            raise ValueError(f"{name} must have 32 columns and Phase, got {header}.")
        cells = read_columns(name, content, [*columns, phase])
        classes = cells.pop(phase)
        unknown = set(classes) - set(PHASES)
        if unknown:
            raise ValueError(f"{name} must have phases of {PHASES}, got {sorted(unknown)}.")
        pieces.append((_stack(name, cells), np.array([PHASES.index(phase) for phase in classes])))
    return _join(pieces)


def read_occupancy(data: Path | None) -> DataTable:
    """Read the occupancy of a room: five sensors per row; the simple rule uses the light."""
    what = "UCI Occupancy Detection (archive.ics.uci.edu/dataset/357)"
    pieces = []
    for name, content in _find(data, OCCUPANCY_FILES, what):
        cells = read_columns(name, content, [*OCCUPANCY_INPUTS, "Occupancy"])
        classes = _classes(name, cells.pop("Occupancy"))
        pieces.append((_stack(name, cells), classes))
    return _join(pieces, aside=OCCUPANCY_INPUTS.index("Light"))


def read_traffic(data: Path | None) -> DataTable:
    """Read the hourly traffic of a motorway; the target is the traffic volume.

    Inputs are holiday, temperature [K], rain, snow, clouds, weekday and sin(π hour / 24). The
    simple rule uses the hour of the week.
    """
    what = "UCI Metro Interstate Traffic Volume (archive.ics.uci.edu/dataset/492)"
    ((name, content),) = _find(data, [TRAFFIC_FILE], what)
    numbers = ("temp", "rain_1h", "snow_1h", "clouds_all")
    cells = read_columns(name, content, ["holiday", *numbers, "date_time", "traffic_volume"])
    try:
        times = [datetime.fromisoformat(cell) for cell in cells["date_time"]]
    except ValueError as error:
        raise ValueError(f"{name} must have dates such as 2012-10-02 13:00:00: {error}.") from error
    weekday = np.array([time.weekday() for time in times], dtype=float)
    hour = np.array([time.hour for time in times], dtype=float)
    inputs = np.stack(
        [
            np.array([cell not in ("None", "") for cell in cells["holiday"]], dtype=float),
            *(to_numbers(f"{name}, {column}", cells[column]) for column in numbers),
            weekday,
            np.sin(hour * np.pi / 24.0),
        ],
        axis=1,
    )
    volume = to_numbers(f"{name}, traffic_volume", cells["traffic_volume"])
    table = _join([(inputs, volume)])
    return DataTable(
        inputs=inputs, targets=volume, pieces=table.pieces, aside=24.0 * weekday + hour
    )


def read_ozone(data: Path | None) -> DataTable:
    """Read the ozone set: 72 measurements per day, NaN where missing; class 1 is an ozone day."""
    what = "UCI Ozone Level Detection, eighthr.data (archive.ics.uci.edu/dataset/172)"
    ((name, content),) = _find(data, [OZONE_FILE], what)
    columns = [str(i) for i in range(OZONE_WIDTH)]
    cells = read_columns(name, content, [*columns, "class"], header=["date", *columns, "class"])
    classes = _classes(name, cells.pop("class"))
    return _join([(_stack(name, cells, missing="?"), classes)])


def read_har(data: Path | None) -> DataTable:
    """Read people's activities, from a phone at the waist: 561 features for every 2.56 s.

    Each piece belongs to one person. Classes 0 to 5 are walking, walking upstairs and downstairs,
    sitting, standing and lying.
    """
    what = "UCI Human Activity Recognition Using Smartphones (archive.ics.uci.edu/dataset/240)"
    names = [f"{kind}_{part}.txt" for part in ("train", "test") for kind in ("X", "y", "subject")]
    found = dict(_find(data, names, what))
    pieces, groups, num_to_test = [], [], 0
    for part in ("train", "test"):
        inputs, classes, people = (
            read_matrix(name, found[name]) for name in names if name.endswith(f"_{part}.txt")
        )
        if inputs.shape[1] != HAR_WIDTH or not len(inputs) == classes.size == people.size:
            raise ValueError(
                f"X_{part}.txt must have {HAR_WIDTH} numbers a row, and a class and a person each,"
                f" got shapes {inputs.shape}, {classes.shape} and {people.shape}."
            )
        if not np.isin(classes, np.arange(1, HAR_CLASSES + 1)).all():
            raise ValueError(
                f"y_{part}.txt must have the classes 1 to {HAR_CLASSES}, got"
                f" {np.unique(classes)[:8]}."
            )
        starts = np.flatnonzero(np.diff(people[:, 0])) + 1
        rows = np.split(np.arange(len(inputs)), starts)
        pieces += [(inputs[one], classes[one, 0].astype(int) - 1) for one in rows]
        groups += [f"{people[one[0], 0]:g}" for one in rows]
        num_to_test = len(rows)
    return replace(_join(pieces), groups=tuple(groups), num_to_test=num_to_test)


def read_person(data: Path | None) -> DataTable:
    """Read people's activities, from four tags on the body: which tag, and its position [m].

    Each piece is one of five recordings of a person.
    """
    what = "UCI Localization Data for Person Activity (archive.ics.uci.edu/dataset/196)"
    ((name, content),) = _find(data, [PERSON_FILE], what)
    cells = read_columns(name, content, PERSON_COLUMNS, header=PERSON_COLUMNS)
    for column, known in (("tag", TAGS), ("activity", ACTIVITIES)):
        unknown = sorted(set(cells[column]) - set(known))
        if unknown:
            raise ValueError(f"{name} must have known cells as {column}, got {unknown[:3]}.")
    tags = np.array([TAGS.index(tag) for tag in cells["tag"]])
    places = _stack(name, {column: cells[column] for column in "xyz"})
    inputs = np.concatenate([np.eye(len(TAGS))[tags], places], axis=1)
    classes = np.array([ACTIVITIES[activity] for activity in cells["activity"]])
    sequences = np.array(cells["sequence"])
    rows = np.split(np.arange(len(inputs)), np.flatnonzero(sequences[1:] != sequences[:-1]) + 1)
    table = _join([(inputs[one], classes[one]) for one in rows])
    return replace(table, groups=tuple(str(sequences[one[0]])[:1] for one in rows))


def read_power(data: Path | None) -> DataTable:
    """Read a household's electricity use per minute; the target is the active power [kW].

    Inputs are reactive power, voltage, current and three meters. A minute without measurements is
    NaN. The simple rule uses the hour of the week.
    """
    what = "UCI Individual Household Electric Power Consumption (archive.ics.uci.edu/dataset/235)"
    ((name, content),) = _find(data, [POWER_FILE], what)
    header, _, rows = content.partition(b"\n")
    columns = header.decode(errors="replace").strip().split(";")
    if columns != list(POWER_COLUMNS):
        raise ValueError(f"{name} must have the columns {POWER_COLUMNS}, got {columns[:12]}.")
    # A missing number is written as ?; at the end of a row it is empty.
    known = re.sub(rb";(?=\r?\n|$)", b";nan", rows.replace(b"?", b"nan"))
    numbers = read_matrix(name, known, delimiter=";", columns=range(2, len(POWER_COLUMNS)))
    table = _join([(numbers[:, 1:], numbers[:, 0])])
    return replace(table, aside=_hours_of_the_week(name, rows))


def _hours_of_the_week(name: str, rows: bytes) -> np.ndarray:
    """Return the hour of the week of each line; lines begin like 16/12/2006;17:24:00."""
    weekdays: dict[bytes, int] = {}
    hours = []
    for line in rows.splitlines():
        if not line.strip():
            continue
        date, _, rest = line.partition(b";")
        try:
            if date not in weekdays:
                weekdays[date] = datetime.strptime(date.decode(), "%d/%m/%Y").weekday()
            hour = int(rest[:2])
        except ValueError as error:
            raise ValueError(f"{name} must have dates such as 16/12/2006;17:24:00: {error}.") from (
                error
            )
        hours.append(24 * weekdays[date] + min(max(hour, 0), 23))
    return np.array(hours)


def _stack(name: str, cells: dict[str, list[str]], missing: str | None = None) -> np.ndarray:
    """Return columns of numbers as an array of shape (rows, columns)."""
    columns = [
        to_numbers(f"{name}, column {column}", values, missing=missing)
        for column, values in cells.items()
    ]
    return np.stack(columns, axis=1)


def _classes(name: str, cells: Sequence[str]) -> np.ndarray:
    """Return the classes 0 and 1 as integers."""
    numbers = to_numbers(f"{name}, class", cells)
    if not np.isin(numbers, (0, 1)).all():
        raise ValueError(f"{name} must have the classes 0 and 1, got {np.unique(numbers)[:5]}.")
    return numbers.astype(int)


READERS: dict[str, Callable[[Path | None], DataTable]] = {
    "gesture": read_gesture,
    "occupancy": read_occupancy,
    "traffic": read_traffic,
    "ozone": read_ozone,
    "har": read_har,
    "person": read_person,
    "power": read_power,
}
"""Function that reads each dataset."""
