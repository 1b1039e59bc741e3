"""`Episode`: observations, actions, times and neural activity of one rollout, frame by frame.

Evaluation, audit, films, the live page and replays of recordings all use this class.
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
    """Recorded episode of a policy, from the first observation to the last action.

    Every array has one row per frame.
    """

    time_s: np.ndarray
    """Time of each observation since the first [s], shape (time,)."""
    dt_s: np.ndarray
    """Time since the previous observation [s], shape (time,)."""
    actions: np.ndarray
    """Actions, shape (time, action)."""
    rewards: np.ndarray
    """Reward of each action, shape (time,)."""
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Values that the world reported in `info` after each action, by name, shape (time, …)."""
    observations: np.ndarray | None = None
    """Observations, shape (time, …); None if they were not kept."""
    record_frame: tuple[int, int, int] | None = None
    """Shape of the frame in each observation, if observations are records of a frame and numbers;
    else None."""
    is_terminated: bool = False
    """Whether the world ended the episode (and not the time limit)."""
    name: str = ""
    """Name of the policy that acted."""
    where: str = ""
    """Name of the world or recording, for headings."""
    action_names: Sequence[str] = ()
    """Name of each entry of the action."""
    sensor_names: Sequence[str] | None = None
    """Name and unit of each number of the observation; None if unknown. After `with_activity`: name
    of each input of the circuit."""
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Signals that neural activity is compared with, by name and unit, each of shape (time,)."""
    overlays: Mapping[str, str] = field(default_factory=dict)
    """Signals drawn into the plot of another signal: name of the signal to name of the other."""
    expert_actions: np.ndarray | None = None
    """Actions of the expert for the same observations, shape (time, action)."""
    expert_name: str = ""
    """Name of the expert."""
    features: np.ndarray | None = None
    """Inputs of the circuit, shape (time, input)."""
    activity: Activity | None = None
    """Recorded activity of every neuron; batch of one."""
    pictures: np.ndarray | None = None
    """RGB uint8 pictures of the episode, shape (time, height, width, 3)."""
    notes: Sequence[str] = ()
    """Remarks about data that could not be recorded."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def duration_s(self) -> float:
        """Time from the first observation to the end of the last action [s].

        Where the world does not tell the time, the last action counts as long as the one before.
        """
        end_times_s = self.infos.get("time_s")
        end_s = self.time_s[-1] + self.dt_s[-1] if end_times_s is None else end_times_s[-1]
        return float(end_s - self.time_s[0])

    @property
    def total_reward(self) -> float:
        """Sum of the rewards."""
        return float(self.rewards.sum())

    @property
    def has_failed(self) -> bool:
        """Whether the world reported a crash, or ended the episode itself."""
        return self.is_terminated or bool(np.any(self.infos.get("crashed", False)))

    @property
    def has_frames(self) -> bool:
        """Whether the kept observations include camera frames."""
        is_seen = self.observations is not None
        return is_seen and (self.record_frame is not None or self.recorded_observations.ndim == 4)

    @property
    def frames(self) -> np.ndarray:
        """Camera frames, shape (time, height, width, channels).

        Raises:
            ValueError: If the episode has no camera frames.
        """
        if not self.has_frames:
            raise ValueError("`episode` must have camera frames, got none.")
        return (
            self.recorded_observations
            if self.record_frame is None
            else frames_in(self.recorded_observations, self.record_frame)
        )

    @property
    def numbers(self) -> np.ndarray:
        """Numbers of the observations, shape (time, numbers); `sensor_names` ends with theirs."""
        return (
            self.recorded_observations
            if self.record_frame is None
            else numbers_in(self.recorded_observations, self.record_frame)
        )

    @property
    def recorded_observations(self) -> np.ndarray:
        """Observations of the episode, shape (time, …).

        Raises:
            ValueError: If they were not kept.
        """
        return _kept("observations", self.observations)

    @property
    def recorded_activity(self) -> Activity:
        """Neural activity of an episode that `with_activity` has inspected.

        Raises:
            ValueError: If it was not inspected.
        """
        return _kept("activity", self.activity)

    @property
    def recorded_features(self) -> np.ndarray:
        """Inputs of the circuit in an episode that `with_activity` has inspected.

        Raises:
            ValueError: If it was not inspected.
        """
        return _kept("features", self.features)

    @property
    def main_signal(self) -> str:
        """Name of the signal that figures show first: the road's curvature, if there is a road."""
        road = "curvature [1/m]"
        return road if road in self.signals else next(iter(self.signals))

    def label(self, name: str) -> str:
        """Return a neuron's or synapse's name with its sensor: "sensory_0 (height) → inter_3"."""
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
