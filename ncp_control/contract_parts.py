"""The parts of a contract: what is sensed and what is commanded, entry by entry.

Each part says how it differs from another (`misfit`), and goes to JSON and back.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from ncp_control.json_files import shorten
from ncp_control.names import check_name
from ncp_control.ranges import check_count, is_number

Range = tuple[float, float]
"""Lowest and highest value; an end is infinite where there is no limit."""

ANY: Range = (-math.inf, math.inf)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One number of an observation.

    Raises:
        ValueError: If the range is empty or not a number.
    """

    name: str
    """What it is, e.g. "torso pitch"."""
    unit: str = ""
    """Its unit, e.g. "rad"; empty if unknown."""
    range: Range = ANY
    """Lowest and highest value."""

    def __post_init__(self) -> None:
        check_range(self.name, self.range)


@dataclass(frozen=True, kw_only=True)
class ActionContract:
    """One entry of an action: a number in a range, or one of several choices.

    Raises:
        ValueError: If the range is empty or not a number, or the scale has no factor.
    """

    name: str
    """What is commanded, e.g. "steering"."""
    unit: str = ""
    """Its unit, e.g. "N m" or "fraction of max_steer_rad"; empty if unknown. With a scale, the unit
    of what a command stands for."""
    range: Range = (-1.0, 1.0)
    """Lowest and highest command."""
    positive: str = ""
    """Where a positive command leads, e.g. "left"; empty if that needs no word."""
    bounds: Range | None = None
    """Certified lowest and highest output of the circuit, before it is clipped to the range."""
    choices: tuple[str, ...] = ()
    """What can be chosen, in order; empty for a number."""
    scale: tuple[float, float] | None = None
    """Offset and factor of a command x that stands for offset + factor * x, e.g. a force in N, or a
    forecast in the unit of its column; None if nothing was scaled."""

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
        return min(max(-offset / factor, low), high)

    def in_unit(self, command: float) -> float:
        """Return the value that a command stands for, in `unit`."""
        offset, factor = self.scale or (0.0, 1.0)
        return offset + factor * command


@dataclass(frozen=True, kw_only=True)
class View:
    """How a camera's image becomes the frame that a policy sees.

    Raises:
        ValueError: If nothing of the image is left, or a setting is none of those named.
    """

    crop_top: float = 0.0
    """Share of the height cut off at the top."""
    crop_bottom: float = 0.0
    """Share of the height cut off at the bottom."""
    resize: str = "area"
    """How the rest is scaled to the frame: "area" or "linear"."""
    stack: int = 1
    """Latest frames seen together, as further channels, oldest first."""

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
        """Return the rows that are left of an image of some height."""
        return slice(round(self.crop_top * height), height - round(self.crop_bottom * height))


@dataclass(frozen=True, kw_only=True)
class FramesContract:
    """Camera frames."""

    kind: ClassVar[str] = "frames"
    shape: tuple[int, int, int]
    """Height, width, channels."""
    dtype: str = "uint8"
    """Type of a pixel."""
    colour: str = "RGB"
    """Order of the channels: "RGB", "BGR" or "grey"."""
    range: Range = (0.0, 255.0)
    """Lowest and highest pixel."""
    view: View = field(default_factory=View)
    """How a camera's image becomes a frame."""

    def misfit(self, offered: "ObservationContract") -> str | None:
        """Say what of an offered observation these frames are not, or None if they fit."""
        assert isinstance(offered, FramesContract)
        for name in ("shape", "dtype", "colour", "range", "view"):
            wanted, found = getattr(self, name), getattr(offered, name)
            if wanted != found:
                return f"frames with {name} {_told(wanted)}, got {_told(found)}"
        return None


@dataclass(frozen=True, kw_only=True)
class VectorContract:
    """Numbers in a fixed order."""

    kind: ClassVar[str] = "vector"
    entries: tuple[Entry, ...]
    """What each number is."""

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return len(self.entries)

    def misfit(self, offered: "ObservationContract") -> str | None:
        """Say what of an offered observation these numbers are not, or None if they fit."""
        assert isinstance(offered, VectorContract)
        if self.size != offered.size:
            return f"{self.size} numbers, got {offered.size}"
        return first_misfit(self.entries, offered.entries, ("name", "unit"))


@dataclass(frozen=True, kw_only=True)
class DictContract:
    """Several observations by name, e.g. frames and the own speed."""

    kind: ClassVar[str] = "dict"
    parts: dict[str, "FramesContract | VectorContract"]
    """The parts by name."""

    def misfit(self, offered: "ObservationContract") -> str | None:
        """Say which part is missing, too many, elsewhere or different, or None if all fit."""
        assert isinstance(offered, DictContract)
        if list(self.parts) != list(offered.parts):  # by whose order a record is taken apart
            wanted, found = ", ".join(self.parts), ", ".join(offered.parts)
            return f"the parts {wanted} in this order, got {found}"
        for name, part in self.parts.items():
            found = observation_misfit(part, offered.parts[name])
            if found is not None:
                return f"{found} in part {name!r}"
        return None


ObservationContract = FramesContract | VectorContract | DictContract
"""What is sensed: frames, numbers, or several of them by name."""
_KINDS: dict[str, type[Any]] = {
    cls.kind: cls for cls in (FramesContract, VectorContract, DictContract)
}


def observation_misfit(wanted: ObservationContract, offered: ObservationContract) -> str | None:
    """Say what of an offered observation is not what is wanted, or None if it fits."""
    if wanted.kind != offered.kind:
        return f"kind {wanted.kind!r}, got {offered.kind!r}"
    return wanted.misfit(offered)


def first_misfit(
    wanted: Sequence[Entry] | Sequence[ActionContract],
    offered: Sequence[Entry] | Sequence[ActionContract],
    fields: Sequence[str],
) -> str | None:
    """Say in which entry and field two lists differ first; what one side does not tell, fits."""
    for i, (one, other) in enumerate(zip(wanted, offered, strict=True)):
        for name in fields:
            value, found = getattr(one, name), getattr(other, name)
            is_known = name == "range" or (value and found) or name == "choices"
            if value != found and is_known:
                entry = f"entry {i} ({one.name})" if one.name else f"entry {i}"
                return f"{name} {_told(value)} in {entry}, got {_told(found)}"
    return None


def _told(value: Any) -> str:
    """Return a value as an error tells it."""
    if isinstance(value, View):
        return str({name: getattr(value, name) for name in View.__dataclass_fields__})
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def check_range(name: str, values: Range) -> None:
    """Raise ValueError unless a range goes from low to high."""
    low, high = values
    if not low <= high:
        raise ValueError(
            f"`range` of {shorten(name)} must go from low to high, got {shorten(list(values))}."
            " Give the lowest value first."
        )


# --- JSON -----------------------------------------------------------------------------------------


def part_to_json(part: Any) -> dict[str, Any]:
    """Return a contract's part as JSON values, by its fields."""
    if isinstance(part, DictContract):
        parts = {name: part_to_json(one) for name, one in part.parts.items()}
        return {"kind": part.kind, "parts": parts}
    values: dict[str, Any] = {"kind": part.kind} if hasattr(part, "kind") else {}
    for name in part.__dataclass_fields__:
        value = getattr(part, name)
        if value in ("", (), None):
            continue  # not told
        if name in ("range", "bounds"):
            value = range_to_json(value)
        elif isinstance(value, View):
            value = part_to_json(value)
        elif isinstance(value, tuple):
            value = [part_to_json(one) if isinstance(one, Entry) else one for one in value]
        values[name] = value
    return values


def observation_from_json(values: Mapping[str, Any]) -> Any:
    """Build an observation's contract; KeyError, TypeError or ValueError if it is none."""
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
    """Return a range as JSON has it: an infinite end is None."""
    return [value if math.isfinite(value) else None for value in values]


def range_from_json(values: Sequence[float | None]) -> Range:
    """Read a range; an end that is None is infinite."""
    low, high = values
    return (
        -math.inf if low is None else read_number(low),
        math.inf if high is None else read_number(high),
    )


def read_number(value: Any) -> float:
    """Return a JSON number as a float; TypeError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number is needed, got {shorten(value)}")
    return float(value)


# --- for people -----------------------------------------------------------------------------------


def describe_observation(observation: ObservationContract) -> list[str]:
    """Return an observation's contract as lines that a person reads."""
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
        return [f"{observation.size} numbers: {', '.join(names)}"]
    return [
        f"{name}: {line}"
        for name, part in observation.parts.items()
        for line in describe_observation(part)
    ]


def describe_action(entry: ActionContract) -> str:
    """Return one entry of an action as a line that a person reads."""
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
    if entry.bounds is not None:
        words += [f"certified within [{entry.bounds[0]:.3g}, {entry.bounds[1]:.3g}]"]
    return ", ".join(words)
