"""Contracts: names, units, ranges, signs and rates of a policy's observations and actions.

A policy stores its contract in `config.json`; a world states its own. A job compares the two before
anything moves, so that a policy never drives a body that it was not trained for:

    {"observation": {"kind": "frames", "shape": [78, 200, 3], "dtype": "uint8", "colour": "RGB",
                     "range": [0, 255],
                     "view": {"crop_top": 0.0, "crop_bottom": 0.0, "resize": "area", "stack": 1}},
     "action": [{"name": "steering", "unit": "fraction of max_steer_rad", "range": [-1, 1],
                 "positive": "left", "bounds": [-1.03, 0.87]}],
     "time": {"frame_s": 0.0333, "dt_s": [0.0, 0.5]},
     "world": {"id": "LaneKeeping-v0", "options": {}},
     "provenance": {"command": "...", "commit": "...", "data": "...", "weights_sha256": "..."}}

An observation of numbers has `"kind": "vector"` and a list of `entries`, each with name, unit and
range. An observation of several parts has `"kind": "dict"` and its `parts` by name. An infinite end
of a range is `null` in JSON.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ncp_control.contract_parts import (
    ActionContract,
    DictContract,
    Entry,
    FramesContract,
    ObservationContract,
    Range,
    VectorContract,
    View,
    action_from_json,
    check_range,
    describe_action,
    describe_observation,
    first_misfit,
    observation_from_json,
    observation_misfit,
    part_to_json,
    range_from_json,
    range_to_json,
    read_number,
)
from ncp_control.keyword_options import write_options
from ncp_control.ranges import check_positive

__all__ = [
    "ActionContract",
    "Contract",
    "DictContract",
    "Entry",
    "FramesContract",
    "ObservationContract",
    "VectorContract",
    "View",
    "check_contract",
    "differ_in_rate",
]

FRAME_TOLERANCE = 0.01
"""Largest relative difference between the frame intervals of a world and of a policy."""
LARGEST_RATIO_OF_RATES = 1.15
"""Ratio of two frame rates above which jobs warn of the difference; 25 and 30 Hz are above it."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Interface between a policy and a world, a recording or a robot.

    Raises:
        ValueError: If `action` is empty, `frame_s` is not positive, or `dt_s` does not go from low
            to high.
    """

    observation: ObservationContract
    """Contract of the observation."""
    action: tuple[ActionContract, ...]
    """Contract of each entry of the action, in order."""
    frame_s: float
    """Nominal interval between frames [s]."""
    dt_s: Range = (0.0, math.inf)
    """Shortest and longest time between frames [s] that the policy is meant for."""
    world: str = ""
    """Name of the world that the policy was made for; empty if unknown."""
    world_options: dict[str, Any] = field(default_factory=dict)
    """Options of that world."""
    provenance: dict[str, str] = field(default_factory=dict)
    """Origin of the policy: command, commit, data, weights_sha256, continues."""

    def __post_init__(self) -> None:
        if not self.action:
            raise ValueError("`action` must have at least one entry, got none. Name each command.")
        check_positive(self, "frame_s")
        check_range("dt_s", self.dt_s)

    def check_offer(self, offered: "Contract", where: str, name: str = "policy") -> None:
        """Check that a policy with this contract can act in a world.

        Args:
            offered: Contract of the world.
            where: Name of the world in the error message.
            name: Setting that names the policy, e.g. "teacher".

        Raises:
            ValueError: If the contracts do not fit; the message names the first entry that differs.
        """
        reason = self.misfit(offered)
        if reason is not None:
            raise ValueError(
                f"`{name}` does not fit {where}: it needs {reason}. Choose a policy or a world"
                " that fits, or its options."
            )

    def misfit(self, offered: "Contract") -> str | None:
        """Describe the first difference that keeps the policy from using a world; None if it fits.

        Args:
            offered: Contract of the world.
        """
        found = observation_misfit(self.observation, offered.observation)
        if found is not None:
            return f"an observation of {found}"
        if len(self.action) != len(offered.action):
            return f"{len(self.action)} actions, got {len(offered.action)}"
        compared = ("name", "unit", "range", "positive", "choices", "scale")
        found = first_misfit(self.action, offered.action, compared)
        if found is not None:
            return f"actions of {found}"
        if not math.isclose(self.frame_s, offered.frame_s, rel_tol=FRAME_TOLERANCE):
            return f"a frame every {self.frame_s:g} s, got one every {offered.frame_s:g} s"
        return None

    def other_rate(self, frame_s: float) -> str | None:
        """Describe how a frame interval [s] differs noticeably from the policy's; None if not.

        The text begins with "every" and ends with a sentence on what the difference means.
        """
        if not differ_in_rate((self.frame_s, frame_s)):
            return None
        return (
            f"every {_duration(frame_s)}, but the policy was made for one every"
            f" {_duration(self.frame_s)}. Only circuits that use the elapsed time, such as an LTC,"
            " take it into account."
        )

    @property
    def world_text(self) -> str:
        """Name of the world and its options, as typed on the command line."""
        return " ".join([self.world, *write_options(self.world_options)])

    @property
    def output_names(self) -> list[str]:
        """Name of each output of the policy's circuit: one per action entry, or per choice."""
        return [
            f"{entry.name}: {choice}" if choice else entry.name
            for entry in self.action
            for choice in entry.choices or ("",)
        ]

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of each entry of the action; empty if the entries are numbers."""
        return tuple(len(entry.choices) for entry in self.action if entry.choices)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` builds an equal contract."""
        return {
            "observation": part_to_json(self.observation),
            "action": [part_to_json(entry) for entry in self.action],
            "time": {"frame_s": float(self.frame_s), "dt_s": range_to_json(self.dt_s)},
            "world": {"id": self.world, "options": self.world_options},
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, values: Any) -> "Contract":
        """Build a contract from JSON values.

        Raises:
            ValueError: If `values` is not a valid contract.
        """
        try:
            time, world = values["time"], values.get("world", {})
            return cls(
                observation=observation_from_json(values["observation"]),
                action=tuple(action_from_json(entry) for entry in values["action"]),
                frame_s=read_number(time["frame_s"]),
                dt_s=range_from_json(time.get("dt_s", [0.0, None])),
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
        """Return the contract as text, one property per line."""
        senses = describe_observation(self.observation)
        commands = [describe_action(entry) for entry in self.action]
        lines = [f"senses    {senses[0]}", *(f"          {line}" for line in senses[1:])]
        lines += [f"commands  {commands[0]}", *(f"          {line}" for line in commands[1:])]
        lines += [f"rate      a frame every {_duration(self.frame_s)}"]
        if self.world:
            lines += [f"world     {self.world_text}"]
        return "\n".join(lines)


def differ_in_rate(frames_s: Iterable[float]) -> bool:
    """True if the longest and the shortest of some frame intervals [s] differ noticeably."""
    frames_s = list(frames_s)
    return max(frames_s) > LARGEST_RATIO_OF_RATES * min(frames_s)


def _duration(seconds: float) -> str:
    return f"{1e3 * seconds:.4g} ms" if seconds < 1.0 else f"{seconds:.4g} s"


def check_contract(contract: object) -> Contract:
    """Return `contract` unchanged if it is a Contract.

    Raises:
        TypeError: If it is not a Contract.
    """
    if not isinstance(contract, Contract):
        raise TypeError(
            f"`contract` must be a Contract, got {type(contract).__name__!r}. Build one with"
            " ncp_control.Contract, or take that of a world."
        )
    return contract
