"""Parts of a contract: observations and actions, entry by entry.

An observation's contract describes how it differs from another one (`misfit`). All parts convert to
and from JSON.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np

from ncp_control.intervals import is_vacuous_range, outward
from ncp_control.json_files import shorten
from ncp_control.names import check_name
from ncp_control.ranges import check_count, is_number

Range = tuple[float, float]
"""Lowest and highest value; infinite where there is no limit."""

ANY: Range = (-math.inf, math.inf)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One number of an observation.

    Raises:
        ValueError: If the range is empty or not a number.
    """

    name: str
    """Name of the number, e.g. "torso pitch"."""
    unit: str = ""
    """Unit, e.g. "rad"; empty if unknown."""
    range: Range = ANY
    """Lowest and highest value."""

    def __post_init__(self) -> None:
        check_range(self.name, self.range)


@dataclass(frozen=True, kw_only=True)
class ActionContract:
    """One entry of an action: a number in a range, or one of several choices.

    Raises:
        ValueError: If the range is empty or not a number, or `scale` is not finite or its factor
            is 0.
    """

    name: str
    """Name of the command, e.g. "steering"."""
    unit: str = ""
    """Unit, e.g. "N m" or "fraction of max_steer_rad"; empty if unknown. If there is a `scale`:
    the unit of the scaled value."""
    range: Range = (-1.0, 1.0)
    """Lowest and highest command."""
    positive: str = ""
    """Direction of a positive command, e.g. "left"; empty if that is obvious."""
    bounds: Range | None = None
    """Certified lowest and highest output of the circuit, before clipping to the range."""
    choices: tuple[str, ...] = ()
    """Names of the choices, in order; empty for a number."""
    scale: tuple[float, float] | None = None
    """Offset and factor that turn a command x into a physical value, offset + factor * x, e.g. a
    force in N or a forecast in the unit of its column; None if commands are not scaled."""

    def __post_init__(self) -> None:
        check_range(self.name, self.range)
        if self.scale is not None:
            offset, factor = self.scale
            if not (math.isfinite(offset) and math.isfinite(factor) and factor != 0.0):
                raise ValueError(
                    f"`scale` of {shorten(self.name)} must be an offset and a factor that is not 0,"
                    f" got {shorten(list(self.scale))}."
                )

    @property
    def neutral(self) -> float:
        """The command in the range that stands for the value nearest to zero in its unit."""
        offset, factor = self.scale or (0.0, 1.0)
        low, high = self.range
        return min(max(-offset / factor, low), high) + 0.0  # no -0.0

    @property
    def certified(self) -> Range | None:
        """The bounds; None if unknown or vacuous, i.e. if they exclude hardly any of the range."""
        if self.bounds is None:
            return None
        low, high = map(np.asarray, self.bounds)
        return None if is_vacuous_range(low, high, *self.range) else self.bounds

    def in_unit(self, command: float) -> float:
        """Return the value that a command stands for, in `unit`."""
        offset, factor = self.scale or (0.0, 1.0)
        return offset + factor * command


@dataclass(frozen=True, kw_only=True)
class View:
    """Cropping, scaling and stacking that turn camera images into the frames of a policy.

    Raises:
        ValueError: If nothing of the image is left, `resize` is unknown, or `stack` is less than 1.
    """

    crop_top: float = 0.0
    """Share of the height cut off at the top."""
    crop_bottom: float = 0.0
    """Share of the height cut off at the bottom."""
    resize: str = "area"
    """Interpolation that scales the cropped image to the frame: "area" or "linear"."""
    stack: int = 1
    """Number of latest frames stacked along the channels, oldest first."""

    def __post_init__(self) -> None:
        crops = (self.crop_top, self.crop_bottom)
        if not (all(map(is_number, crops)) and min(crops) >= 0.0 and sum(crops) < 1.0):
            raise ValueError(
                "`crop_top` and `crop_bottom` must be shares from 0 that leave something of the"
                f" image, got {crops[0]!r} and {crops[1]!r}."
            )
        check_name("resize", self.resize, ("area", "linear"))
        check_count("stack", self.stack)

    def rows(self, height: int) -> slice:
        """Return the rows that are left after cropping an image of `height` rows."""
        return slice(round(self.crop_top * height), height - round(self.crop_bottom * height))


@dataclass(frozen=True, kw_only=True)
class FramesContract:
    """Contract of an observation of camera frames."""

    kind: ClassVar[str] = "frames"
    shape: tuple[int, int, int]
    """Height, width, channels."""
    dtype: str = "uint8"
    """Type of a pixel."""
    colour: str = "RGB"
    """Order of the channels: "RGB", "BGR" or "grey"."""
    range: Range = (0.0, 255.0)
    """Lowest and highest pixel value."""
    view: View = field(default_factory=View)
    """Cropping, scaling and stacking that turn camera images into frames."""

    def misfit(self, offered: "ObservationContract") -> str | None:
        """Describe the first difference from offered frames; None if they fit."""
        assert isinstance(offered, FramesContract)
        for name in ("shape", "dtype", "colour", "range", "view"):
            wanted, found = getattr(self, name), getattr(offered, name)
            if wanted != found:
                return f"frames with {name} {_formatted(wanted)}, got {_formatted(found)}"
        return None


@dataclass(frozen=True, kw_only=True)
class VectorContract:
    """Contract of an observation of numbers in a fixed order."""

    kind: ClassVar[str] = "vector"
    entries: tuple[Entry, ...]
    """Name, unit and range of each number."""

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.entries)

    def misfit(self, offered: "ObservationContract") -> str | None:
        """Describe the first difference from offered numbers; None if they fit."""
        assert isinstance(offered, VectorContract)
        if self.size != offered.size:
            return f"{self.size} numbers, got {offered.size}"
        return first_misfit(self.entries, offered.entries, ("name", "unit"))


@dataclass(frozen=True, kw_only=True)
class DictContract:
    """Contract of an observation of several parts, e.g. frames and the robot's speed."""

    kind: ClassVar[str] = "dict"
    parts: dict[str, "FramesContract | VectorContract"]
    """Contract of each part, by name."""

    def misfit(self, offered: "ObservationContract") -> str | None:
        """Describe the first difference from the offered parts or their order; None if they fit."""
        assert isinstance(offered, DictContract)
        if list(self.parts) != list(offered.parts):  # the order decides how a record is unpacked
            wanted, found = ", ".join(self.parts), ", ".join(offered.parts)
            return f"the parts {wanted} in this order, got {found}"
        for name, part in self.parts.items():
            found = observation_misfit(part, offered.parts[name])
            if found is not None:
                return f"{found} in part {name!r}"
        return None


ObservationContract = FramesContract | VectorContract | DictContract
"""Contract of an observation: frames, numbers, or several parts by name."""
_KINDS: dict[str, type[Any]] = {
    cls.kind: cls for cls in (FramesContract, VectorContract, DictContract)
}


def observation_misfit(wanted: ObservationContract, offered: ObservationContract) -> str | None:
    """Describe the first difference of an offered from a wanted observation; None if it fits."""
    if wanted.kind != offered.kind:
        return f"kind {wanted.kind!r}, got {offered.kind!r}"
    return wanted.misfit(offered)


def first_misfit(
    wanted: Sequence[Entry] | Sequence[ActionContract],
    offered: Sequence[Entry] | Sequence[ActionContract],
    fields: Sequence[str],
) -> str | None:
    """Describe the first entry and field in which two lists differ; None if they do not.

    An empty name, unit or other field fits anything, except that `range` and `choices` must be
    equal.
    """
    for i, (one, other) in enumerate(zip(wanted, offered, strict=True)):
        for name in fields:
            value, found = getattr(one, name), getattr(other, name)
            is_known = name == "range" or (value and found) or name == "choices"
            if value != found and is_known:
                entry = f"entry {i} ({one.name})" if one.name else f"entry {i}"
                return f"{name} {_formatted(value)} in {entry}, got {_formatted(found)}"
    return None


def _formatted(value: Any) -> str:
    """Format a value for an error message."""
    if isinstance(value, View):
        return str({name: getattr(value, name) for name in View.__dataclass_fields__})
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def check_range(name: str, values: Range) -> None:
    """Check that a range goes from low to high.

    Args:
        name: Name of the entry, for the error message.
        values: Lowest and highest value.

    Raises:
        ValueError: If it does not, or an end is NaN.
    """
    low, high = values
    if not low <= high:
        raise ValueError(
            f"`range` of {shorten(name)} must go from low to high, got {shorten(list(values))}."
            " Give the lowest value first."
        )


# --- JSON -----------------------------------------------------------------------------------------


def part_to_json(part: Any) -> dict[str, Any]:
    """Convert a part of a contract to JSON values; empty fields are left out."""
    if isinstance(part, DictContract):
        parts = {name: part_to_json(one) for name, one in part.parts.items()}
        return {"kind": part.kind, "parts": parts}
    values: dict[str, Any] = {"kind": part.kind} if hasattr(part, "kind") else {}
    for name in part.__dataclass_fields__:
        value = getattr(part, name)
        if value in ("", (), None):
            continue  # unknown
        if name in ("range", "bounds", "scale"):
            value = range_to_json(value)
        elif isinstance(value, View):
            value = part_to_json(value)
        elif isinstance(value, tuple):
            value = [part_to_json(one) if isinstance(one, Entry) else one for one in value]
        values[name] = value
    return values


def observation_from_json(values: Mapping[str, Any]) -> Any:
    """Build the contract of an observation.

    Raises:
        KeyError: If a value is missing.
        TypeError: If a value has another type.
        ValueError: If the kind is unknown, or a value is out of range.
    """
    kind = values["kind"]
    if kind not in _KINDS:
        raise ValueError(
            f"`kind` of an observation must be one of {sorted(_KINDS)}, got"
            f" {shorten(kind)}. Save the policy again."
        )
    if kind == "dict":
        parts = {str(k): observation_from_json(part) for k, part in values["parts"].items()}
        return DictContract(parts=parts)
    if kind == "vector":
        return VectorContract(entries=tuple(_entry(Entry, one) for one in values["entries"]))
    height, width, channels = (int(size) for size in values["shape"])
    known = {name: values[name] for name in ("dtype", "colour") if name in values}
    if "range" in values:
        known["range"] = range_from_json(values["range"])
    view = View(**values.get("view", {}))
    return FramesContract(shape=(height, width, channels), view=view, **known)


def action_from_json(values: Mapping[str, Any]) -> ActionContract:
    """Build the contract of one entry of an action."""
    known: dict[str, Any] = {}
    if "choices" in values:
        known["choices"] = tuple(map(str, values["choices"]))
    if "scale" in values:
        offset, factor = map(read_number, values["scale"])
        known["scale"] = offset, factor
    return _entry(ActionContract, {**values, **known})


def _entry(cls: type[_T], values: Mapping[str, Any]) -> _T:
    ranges = {name: range_from_json(values[name]) for name in ("range", "bounds") if name in values}
    return cls(**{**values, **ranges})


def range_to_json(values: Range) -> list[float | None]:
    """Convert a range, perhaps of NumPy numbers, to JSON values: an infinite end becomes None."""
    return [float(value) if math.isfinite(value) else None for value in values]


def range_from_json(values: Sequence[float | None]) -> Range:
    """Read a range from JSON values: None becomes an infinite end."""
    low, high = values
    return (
        -math.inf if low is None else read_number(low),
        math.inf if high is None else read_number(high),
    )


def read_number(value: Any) -> float:
    """Return a JSON number as a float.

    Raises:
        TypeError: If it is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number is needed, got {shorten(value)}")
    return float(value)


# --- for people -----------------------------------------------------------------------------------


def describe_observation(observation: ObservationContract) -> list[str]:
    """Describe the contract of an observation in text lines."""
    if isinstance(observation, FramesContract):
        height, width, channels = observation.shape
        view = observation.view
        lines = [f"frames of {height} x {width} x {channels}, {observation.colour}"]
        if view.crop_top or view.crop_bottom:
            cut = f"without the top {view.crop_top:.1%} and the lowest {view.crop_bottom:.1%}"
            lines += [f"{cut} of the image"]
        if view.stack > 1:
            lines += [f"the latest {view.stack} frames together"]
        return lines
    if isinstance(observation, VectorContract):
        names = [f"{e.name} [{e.unit}]" if e.unit else e.name for e in observation.entries]
        count = "1 number" if observation.size == 1 else f"{observation.size} numbers"
        return [f"{count}: {', '.join(names)}"]
    return [
        f"{name}: {line}"
        for name, part in observation.parts.items()
        for line in describe_observation(part)
    ]


def describe_action(entry: ActionContract) -> str:
    """Describe one entry of an action in a text line."""
    if entry.choices:
        return f"{entry.name}: one of {', '.join(entry.choices)}"
    words = [f"{entry.name} in [{entry.range[0]:g}, {entry.range[1]:g}]"]
    if entry.scale is not None:
        offset, factor = entry.scale
        low, high = (f"{offset + factor * end:.4g}" for end in entry.range)
        words[0] += f" for {low} to {high} {entry.unit}".rstrip()
    elif entry.unit:
        words += [entry.unit]
    words += [f"positive is {entry.positive}"] if entry.positive else []
    if entry.certified is not None:
        words += [f"certified within [{', '.join(outward(*entry.certified))}]"]
    elif entry.bounds is not None:
        words += ["nothing certified: its bounds are vacuous"]
    return ", ".join(words)
