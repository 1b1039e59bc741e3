"""The driving brain: a conv head sees, a circuit of a few neurons steers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ncp_control.cells import LTC, Cell, cell_from_config, cell_to_config
from ncp_control.circuit import Circuit
from ncp_control.names import check_name
from ncp_control.policy import Policy
from ncp_control.wiring_rules import NCP19
from policies.baselines import feedforward_cell, lstm_cell
from policies.perception import FRAME_HEIGHT, FRAME_WIDTH, HEADS, NUM_FEATURES


class DrivingPolicy(Policy):
    """Camera frames (78, 200, 3) uint8 in, steering in [-1, 1] out (left positive).

    Args:
        cell: The recurrent part; its input is the head's 32 features.
        head: A name in `policies.perception.HEADS`.

    Raises:
        ValueError: If the head is unknown or the cell does not take 32 features.
    """

    def __init__(self, cell: Cell, *, head: str = "paper") -> None:
        super().__init__(Circuit(cell))
        check_name("head", head, HEADS)
        if cell.input_size != NUM_FEATURES:
            raise ValueError(
                f"`cell` must take {NUM_FEATURES} inputs, got {cell.input_size}."
                " Build its wiring with that many sensory neurons."
            )
        self.head_name = head
        self.head = HEADS[head]()

    def read_observations(self, observations: np.ndarray) -> Tensor:
        """Check frames and turn them into a tensor, as `Policy.read_observations`.

        Raises:
            ValueError: If they are not uint8 frames of the head's size. Numbers of another type
                do not tell their range, e.g. whether 1 is white or nearly black.
        """
        size = (FRAME_HEIGHT, FRAME_WIDTH, 3)
        if observations.dtype != np.uint8 or observations.shape[1:] != size:
            raise ValueError(
                f"`observation` must be a uint8 frame of shape {size} with pixels from 0 to 255,"
                f" got {observations.dtype} of shape {observations.shape[1:]}. Convert the"
                " camera's frames."
            )
        return super().read_observations(observations)

    def perceive(self, observation: Tensor) -> Tensor:
        """Turn frames into the head's features, in the circuit's dtype."""
        return self.head(observation).to(next(self.circuit.parameters()).dtype)

    def to_config(self) -> dict[str, Any]:
        """Return the head's name and the cell's settings."""
        return {"head": self.head_name, "cell": cell_to_config(self.circuit.cell)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "DrivingPolicy":
        """Build the policy that `to_config` described."""
        return cls(cell_from_config(config["cell"]), head=config["head"])


def _ncp(frame_s: float) -> LTC:
    # Chosen by measurement over the paper's integrator (`scripts/reproduce.py integrators`): it
    # imitates and forecasts a little better, and costs less.
    return LTC(NCP19, frame_s=frame_s, integrator="layered_midpoint", unfolds=2)


MODELS: dict[str, Callable[[float], Cell]] = {
    "ncp": _ncp,
    "lstm": lstm_cell,
    "cnn": feedforward_cell,
}
"""Circuits by the name that jobs use: the 19-neuron circuit and what it is measured against."""


def make_driving_policy(
    model: str, *, head: str = "paper", frame_s: float = 1 / 30
) -> DrivingPolicy:
    """Build an untrained driving policy.

    Args:
        model: A name in `MODELS`.
        head: A name in `policies.perception.HEADS`.
        frame_s: Nominal frame interval [s].

    Raises:
        ValueError: If a name is unknown.
    """
    check_name("model", model, MODELS)
    return DrivingPolicy(MODELS[model](frame_s), head=head)
