"""What a policy senses and commands: kinds, names, units, ranges, signs, times and origin.

A policy carries its contract in `config.json`; a world states its own. Whatever joins the two
compares them first, so that a policy never drives a body that it was not made for:

    {"observation": {"kind": "frames", "shape": [78, 200, 3], "dtype": "uint8", "colour": "RGB",
                     "range": [0, 255],
                     "view": {"crop_top": 0.0, "crop_bottom": 0.0, "resize": "area", "stack": 1}},
     "action": [{"name": "steering", "unit": "fraction of max_steer_rad", "range": [-1, 1],
                 "positive": "left", "bounds": [-1.03, 0.87]}],
     "time": {"frame_s": 0.0333, "dt_s": [0.0, 0.5]},
     "world": {"id": "LaneKeeping-v0", "options": {}},
     "provenance": {"command": "...", "commit": "...", "data": "...", "weights_sha256": "..."}}

An observation of numbers has `"kind": "vector"` and a list of `entries`, each with name, unit and
range; one of several parts has `"kind": "dict"` and its `parts` by name. An infinite end of a range
is `null` in JSON.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from ncp_control.json_files import shorten
from ncp_control.ranges import check_positive

Range = tuple[float, float]
"""Lowest and highest value; an end is infinite where there is no limit."""

ANY: Range = (-math.inf, math.inf)
_T = TypeVar("_T")
_FRAME_TOLERANCE = 0.01
"""Share by which the frame interval of a world may differ from a policy's."""


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
        _check_range(self.name, self.range)


@dataclass(frozen=True, kw_only=True)
class ActionContract:
    """One entry of an action: a number in a range, or one of several choices.

    Raises:
        ValueError: If the range is empty or not a number.
    """

    name: str
    """What is commanded, e.g. "steering"."""
    unit: str = ""
    """Its unit, e.g. "N m" or "fraction of max_steer_rad"; empty if unknown."""
    range: Range = (-1.0, 1.0)
    """Lowest and highest command."""
    positive: str = ""
    """Where a positive command leads, e.g. "left"; empty if that needs no word."""
    bounds: Range | None = None
    """Certified lowest and highest output of the circuit, before it is clipped to the range."""
    choices: tuple[str, ...] = ()
    """What can be chosen, in order; empty for a number."""

    def __post_init__(self) -> None:
        _check_range(self.name, self.range)


@dataclass(frozen=True, kw_only=True)
class View:
    """How a camera's image becomes the frame that a policy sees."""

    crop_top: float = 0.0
    """Share of the height cut off at the top."""
    crop_bottom: float = 0.0
    """Share of the height cut off at the bottom."""
    resize: str = "area"
    """How the rest is scaled to the frame: "area" or "linear"."""
    stack: int = 1
    """Latest frames seen together, as further channels, oldest first."""


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
        return _first_misfit(self.entries, offered.entries, ("name", "unit"))


@dataclass(frozen=True, kw_only=True)
class DictContract:
    """Several observations by name, e.g. frames and the own speed."""

    kind: ClassVar[str] = "dict"
    parts: dict[str, "FramesContract | VectorContract"]
    """The parts by name."""

    def misfit(self, offered: "ObservationContract") -> str | None:
        """Say which part is missing or differs, or None if all fit."""
        assert isinstance(offered, DictContract)
        for name, part in self.parts.items():
            if name not in offered.parts:
                return f"a part {name!r}, got only {sorted(offered.parts)}"
            found = _observation_misfit(part, offered.parts[name])
            if found is not None:
                return f"{found} in part {name!r}"
        return None


ObservationContract = FramesContract | VectorContract | DictContract
_KINDS: dict[str, type[Any]] = {
    cls.kind: cls for cls in (FramesContract, VectorContract, DictContract)
}


@dataclass(frozen=True, kw_only=True)
class Contract:
    """All that must be known to join a policy to a world, a recording or a robot.

    Raises:
        ValueError: If the frame interval is not positive, or the elapsed times are no range.
    """

    observation: ObservationContract
    """What is sensed."""
    action: tuple[ActionContract, ...]
    """What is commanded, in order."""
    frame_s: float
    """Nominal interval between frames [s]."""
    dt_s: Range = (0.0, math.inf)
    """Elapsed times [s] between frames for which the policy is meant."""
    world: str = ""
    """Name of the world that the policy was made for; empty if none is known."""
    world_options: dict[str, Any] = field(default_factory=dict)
    """Options with which that world is made."""
    provenance: dict[str, str] = field(default_factory=dict)
    """Where the policy comes from: command, commit, data, weights_sha256."""

    def __post_init__(self) -> None:
        check_positive(self, "frame_s")
        _check_range("dt_s", self.dt_s)

    def check_offer(self, offered: "Contract", where: str) -> None:
        """Compare what a world offers with what this policy was made for.

        Args:
            offered: The world's contract.
            where: What to call the world in the error.

        Raises:
            ValueError: If something does not fit; it names the first entry that does not.
        """
        reason = self.misfit(offered)
        if reason is not None:
            raise ValueError(
                f"`policy` does not fit {where}: it needs {reason}. Choose a policy or a world"
                " that fits, or its options."
            )

    def misfit(self, offered: "Contract") -> str | None:
        """Say what of an offered contract this policy cannot use, or None if it fits."""
        found = _observation_misfit(self.observation, offered.observation)
        if found is not None:
            return f"an observation of {found}"
        if len(self.action) != len(offered.action):
            return f"{len(self.action)} actions, got {len(offered.action)}"
        compared = ("name", "unit", "range", "positive", "choices")
        found = _first_misfit(self.action, offered.action, compared)
        if found is not None:
            return f"actions of {found}"
        if not math.isclose(self.frame_s, offered.frame_s, rel_tol=_FRAME_TOLERANCE):
            return f"a frame every {self.frame_s:g} s, got one every {offered.frame_s:g} s"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` builds an equal contract."""
        return {
            "observation": _to_json(self.observation),
            "action": [_to_json(entry) for entry in self.action],
            "time": {"frame_s": self.frame_s, "dt_s": _range_to_json(self.dt_s)},
            "world": {"id": self.world, "options": self.world_options},
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, values: Any) -> "Contract":
        """Build a contract from JSON values.

        Raises:
            ValueError: If they are not those of a contract.
        """
        try:
            time, world = values["time"], values.get("world", {})
            return cls(
                observation=_observation_from_json(values["observation"]),
                action=tuple(_action_from_json(entry) for entry in values["action"]),
                frame_s=_number(time["frame_s"]),
                dt_s=_range_from_json(time.get("dt_s", [0.0, None])),
                world=str(world.get("id", "")),
                world_options=dict(world.get("options", {})),
                provenance={str(k): str(v) for k, v in values.get("provenance", {}).items()},
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"`contract` must have observation, action and time, got {type(error).__name__}:"
                f" {str(error)[:200]}. Save the policy again."
            ) from error

    def describe(self) -> str:
        """Return the contract as lines that a person reads."""
        seen = _describe_observation(self.observation)
        done = [_describe_action(entry) for entry in self.action]
        lines = [f"senses    {seen[0]}", *(f"          {line}" for line in seen[1:])]
        lines += [f"commands  {done[0]}", *(f"          {line}" for line in done[1:])]
        lines += [f"rate      a frame every {1000 * self.frame_s:.4g} ms"]
        if self.world:
            options = "".join(f" {name}={value}" for name, value in self.world_options.items())
            lines += [f"world     {self.world}{options}"]
        return "\n".join(lines)


def check_contract(contract: object) -> Contract:
    """Return a contract as it is.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(contract, Contract):
        raise TypeError(
            f"`contract` must be a Contract, got {type(contract).__name__!r}. Build one with"
            " ncp_control.Contract, or take that of a world."
        )
    return contract


def _observation_misfit(wanted: ObservationContract, offered: ObservationContract) -> str | None:
    if wanted.kind != offered.kind:
        return f"kind {wanted.kind!r}, got {offered.kind!r}"
    return wanted.misfit(offered)


def _first_misfit(
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


def _check_range(name: str, values: Range) -> None:
    low, high = values
    if not low <= high:
        raise ValueError(
            f"`range` of {shorten(name)} must go from low to high, got {shorten(list(values))}."
            " Give the lowest value first."
        )


# --- JSON -----------------------------------------------------------------------------------------


def _to_json(part: Any) -> dict[str, Any]:
    """Return a contract's part as JSON values, by its fields."""
    if isinstance(part, DictContract):
        parts = {name: _to_json(one) for name, one in part.parts.items()}
        return {"kind": part.kind, "parts": parts}
    values: dict[str, Any] = {"kind": part.kind} if hasattr(part, "kind") else {}
    for name in part.__dataclass_fields__:
        value = getattr(part, name)
        if value in ("", (), None):
            continue  # not told
        if name in ("range", "bounds"):
            value = _range_to_json(value)
        elif isinstance(value, View):
            value = _to_json(value)
        elif isinstance(value, tuple):
            value = [_to_json(one) if isinstance(one, Entry) else one for one in value]
        values[name] = value
    return values


def _observation_from_json(values: Mapping[str, Any]) -> Any:
    kind = values["kind"]
    if kind not in _KINDS:
        raise ValueError(
            f"`kind` of an observation must be one of {sorted(_KINDS)}, got"
            f" {shorten(kind)}. Save the policy again."
        )
    if kind == "dict":
        parts = {str(k): _observation_from_json(part) for k, part in values["parts"].items()}
        return DictContract(parts=parts)
    if kind == "vector":
        return VectorContract(entries=tuple(_entry(Entry, one) for one in values["entries"]))
    height, width, channels = (int(size) for size in values["shape"])
    known = {name: values[name] for name in ("dtype", "colour") if name in values}
    if "range" in values:
        known["range"] = _range_from_json(values["range"])
    view = View(**values.get("view", {}))
    return FramesContract(shape=(height, width, channels), view=view, **known)


def _action_from_json(values: Mapping[str, Any]) -> ActionContract:
    choices = {"choices": tuple(map(str, values["choices"]))} if "choices" in values else {}
    return _entry(ActionContract, {**values, **choices})


def _entry(cls: type[_T], values: Mapping[str, Any]) -> _T:
    ranges = {
        name: _range_from_json(values[name]) for name in ("range", "bounds") if name in values
    }
    return cls(**{**values, **ranges})


def _range_to_json(values: Range) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _range_from_json(values: Sequence[float | None]) -> Range:
    low, high = values
    return (
        -math.inf if low is None else _number(low),
        math.inf if high is None else _number(high),
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number is needed, got {shorten(value)}")
    return float(value)


# --- for people -----------------------------------------------------------------------------------


def _describe_observation(observation: ObservationContract) -> list[str]:
    if isinstance(observation, FramesContract):
        height, width, channels = observation.shape
        view = observation.view
        lines = [f"frames of {height} x {width} x {channels}, {observation.colour}"]
        if view.crop_top or view.crop_bottom:
            cut = f"without the top {view.crop_top:.1%} and the lowest {view.crop_bottom:.1%}"
            lines += [f"{cut} of the image"]
        return lines
    if isinstance(observation, VectorContract):
        names = [f"{e.name} [{e.unit}]" if e.unit else e.name for e in observation.entries]
        return [f"{observation.size} numbers: {', '.join(names)}"]
    return [
        f"{name}: {line}"
        for name, part in observation.parts.items()
        for line in _describe_observation(part)
    ]


def _describe_action(entry: ActionContract) -> str:
    if entry.choices:
        return f"{entry.name}: one of {', '.join(entry.choices)}"
    words = [f"{entry.name} in [{entry.range[0]:g}, {entry.range[1]:g}]"]
    words += [entry.unit] if entry.unit else []
    words += [f"positive is {entry.positive}"] if entry.positive else []
    if entry.bounds is not None:
        words += [f"certified within [{entry.bounds[0]:.3g}, {entry.bounds[1]:.3g}]"]
    return ", ".join(words)
