"""Episodes: what was seen, done, elapsed and thought, frame by frame.

Evaluation, audit, film, live page and the replay of a recording all look at an `Episode`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ncp_control.circuit import Activity
from ncp_control.records import frames_in, numbers_in

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One episode of one policy, from the first observation to the last action.

    Every array has one row a frame.
    """

    time_s: np.ndarray
    """Time of each observation since the first [s], shape (time,)."""
    dt_s: np.ndarray
    """Time since the previous observation [s], shape (time,)."""
    actions: np.ndarray
    """What was done, shape (time, action)."""
    rewards: np.ndarray
    """Reward of each action, shape (time,)."""
    told: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the world told after each action, by name, shape (time, …)."""
    observations: np.ndarray | None = None
    """What was seen, shape (time, …); None if it was not kept."""
    record_frame: tuple[int, int, int] | None = None
    """Shape of the frame in each observation, if these are records of a frame and numbers."""
    is_terminated: bool = False
    """Whether the world ended the episode, and not the clock."""
    name: str = ""
    """Who acted."""
    where: str = ""
    """In which world, for headings."""
    action_names: Sequence[str] = ()
    """What each entry of the action is."""
    sensor_names: Sequence[str] | None = None
    """What each number of the observation measures, with its unit; None if it has no name. Once
    looked into, what each input of the circuit is."""
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What activity is compared with, by name and unit, each of shape (time,)."""
    overlays: Mapping[str, str] = field(default_factory=dict)
    """Signals drawn in the plot of another, on one scale: the signal's name to the other's."""
    expert_actions: np.ndarray | None = None
    """What the expert would have done at the same places, shape (time, action)."""
    expert_name: str = ""
    """Who the expert is."""
    features: np.ndarray | None = None
    """What the circuit was given, shape (time, input)."""
    activity: Activity | None = None
    """What every neuron did; batch of one."""
    pictures: np.ndarray | None = None
    """RGB uint8 pictures of what happened, shape (time, height, width, 3)."""
    notes: Sequence[str] = ()
    """What could not be had."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def total_reward(self) -> float:
        """Sum of the rewards."""
        return float(self.rewards.sum())

    @property
    def has_failed(self) -> bool:
        """Whether the world told of a crash, or ended the episode itself."""
        return self.is_terminated or bool(np.any(self.told.get("crashed", False)))

    @property
    def has_frames(self) -> bool:
        """Whether camera frames were seen, and kept."""
        is_seen = self.observations is not None
        return is_seen and (self.record_frame is not None or self.seen.ndim == 4)

    @property
    def frames(self) -> np.ndarray:
        """The camera frames that were seen, shape (time, height, width, channels).

        Raises:
            ValueError: If there are none.
        """
        if not self.has_frames:
            raise ValueError("`episode` must have camera frames, got none.")
        return self.seen if self.record_frame is None else frames_in(self.seen, self.record_frame)

    @property
    def numbers(self) -> np.ndarray:
        """The numbers that were seen, shape (time, numbers): `sensor_names` ends with theirs."""
        return self.seen if self.record_frame is None else numbers_in(self.seen, self.record_frame)

    @property
    def seen(self) -> np.ndarray:
        """The observations of an episode that has kept them.

        Raises:
            ValueError: If it has not.
        """
        return _kept("observations", self.observations)

    @property
    def thought(self) -> Activity:
        """The activity of an episode that was looked into.

        Raises:
            ValueError: If it was not.
        """
        return _kept("activity", self.activity)

    @property
    def given(self) -> np.ndarray:
        """The features of an episode that was looked into.

        Raises:
            ValueError: If it was not.
        """
        return _kept("features", self.features)

    @property
    def main_signal(self) -> str:
        """The signal that figures show first: the road's curvature, if there is a road."""
        road = "curvature [1/m]"
        return road if road in self.signals else next(iter(self.signals))

    def label(self, name: str) -> str:
        """Return a neuron or synapse with its sensor: "sensory_0 (height) → inter_3"."""
        source, arrow, target = name.partition(" → ")
        layer, _, number = source.partition("_")
        if self.sensor_names is None or layer != "sensory":
            return name
        sensor = self.sensor_names[int(number)].partition(" [")[0]
        return f"{source} ({sensor}){arrow}{target}"


def _kept(name: str, values: _T | None) -> _T:
    if values is None:
        raise ValueError(f"`episode` must have kept its {name}, got none. Record it with them.")
    return values
