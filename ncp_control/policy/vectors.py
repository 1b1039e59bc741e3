"""Policies for observations of numbers, e.g. joint angles and velocities to joint torques.

The inputs of the circuit are the normalised observation, or features of it from a small encoder.
Each output is one entry of the action, or the score of a choice.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells import Cell, cell_from_config, cell_to_config
from ncp_control.cells.base import reference_tensor
from ncp_control.circuit import Circuit
from ncp_control.layers import dense
from ncp_control.names import check_name
from ncp_control.policy.base import Policy
from ncp_control.policy.scaling import (
    OBSERVATION_LIMIT,
    check_limit,
    fit_scale_,
    limit_from_json,
    limit_to_json,
    scale,
)
from ncp_control.ranges import check_count

SQUASHES = {"clip": nn.Identity, "tanh": nn.Tanh}
"""Functions that map an output of the circuit to an action; `act` clips to [-1, 1] in any case."""


class VectorPolicy(Policy):
    """Policy for observation vectors: maps numbers to actions in [-1, 1] or choices.

    Args:
        cell: The recurrent part; one output per entry of the action, or per choice.
        observation_size: Number of entries of an observation.
        encoder: Widths of dense tanh layers between the observation and the cell; none by default.
        squash: Name in `SQUASHES`: "clip" or "tanh".
        observation_limit: Limit at which normalised observations are clipped, > 0; infinity for no
            clipping.
        choices: Number of choices of each entry of the action; see `Policy`.

    Raises:
        ValueError: If a size is not a positive whole number, the cell has another number of inputs
            than the observation or encoder, or not one output for each choice, `squash` is unknown
            or not "clip" although there are choices, or `observation_limit` is not positive.
    """

    positive_tensors: ClassVar[tuple[str, ...]] = ("observation_std",)

    observation_mean: Tensor
    observation_std: Tensor

    def __init__(
        self,
        cell: Cell,
        *,
        observation_size: int,
        encoder: Sequence[int] = (),
        squash: str = "clip",
        observation_limit: float = OBSERVATION_LIMIT,
        choices: Sequence[int] = (),
    ) -> None:
        super().__init__(Circuit(cell), choices)
        check_name("squash", squash, SQUASHES)
        if self.choices and squash != "clip":
            raise ValueError(
                f"`squash` must be 'clip' for choices, got {squash!r}. Scores of choices have no"
                " limits."
            )
        observation_limit = check_limit(observation_limit)
        observation_size = check_count("observation_size", observation_size)
        widths = [check_count("encoder", width) for width in encoder]
        sizes = [observation_size, *widths]
        if cell.input_size != sizes[-1]:
            raise ValueError(
                f"`cell` must take {sizes[-1]} inputs, got {cell.input_size}."
                " Build its wiring with that many sensory neurons."
            )
        self.observation_size = observation_size
        self.observation_limit = observation_limit
        self.encoder_widths = tuple(widths)
        self.encoder = dense(sizes, nn.Tanh)
        self.squash_name = squash
        self.squash = SQUASHES[squash]()
        self.register_buffer("observation_mean", torch.zeros(observation_size))
        self.register_buffer("observation_std", torch.ones(observation_size))

    @property
    def observed_shape(self) -> tuple[int, ...]:
        """Number of entries of an observation."""
        return (self.observation_size,)

    def normalize(self, observation: Float[Tensor, "*any observation"]) -> Tensor:
        """Normalise observations (…, observation) to about zero mean and unit variance.

        Raises:
            ValueError: If an observation has another number of entries.
        """
        if observation.ndim == 0 or observation.shape[-1] != self.observation_size:
            raise ValueError(
                f"`observation` must hold {self.observation_size} numbers, got shape"
                f" {tuple(observation.shape)}. Choose the policy of this world."
            )
        mean, std = self.observation_mean, self.observation_std
        return scale(observation, mean, std, self.observation_limit)

    def fit_scale(self, observations: Float[Tensor, "*any observation"]) -> None:
        """Set the normalisation to the mean and standard deviation of observations.

        Raises:
            ValueError: If they have another number of entries, or one of them is not finite in the
                policy's dtype; the old values are kept then.
        """
        fit_scale_(self.observation_mean, self.observation_std, observations)

    def perceive(self, observation: Float[Tensor, "frames observation"]) -> Tensor:
        """Normalise and encode observations, in the circuit's dtype.

        Raises:
            ValueError: If they are not vectors, or have another number of entries.
        """
        if observation.ndim != 2:
            raise ValueError(
                f"`observation` must hold {self.observation_size} numbers, got shape"
                f" {tuple(observation.shape[1:])}. Give one vector for each frame."
            )
        features = self.encoder(self.normalize(observation))
        return features.to(reference_tensor(self.circuit).dtype)

    def respond(self, outputs: Tensor) -> Tensor:
        """Map outputs of the circuit to actions, or scores of choices."""
        return self.squash(outputs)

    def to_config(self) -> dict[str, Any]:
        """Return the settings as JSON values: sizes, squash, limit, choices and cell."""
        return {
            "observation_size": self.observation_size,
            "encoder": list(self.encoder_widths),
            "squash": self.squash_name,
            "observation_limit": limit_to_json(self.observation_limit),
            "choices": list(self.choices),
            "cell": cell_to_config(self.circuit.cell),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "VectorPolicy":
        """Build an untrained policy from the values of `to_config`; old files lack the limit."""
        limit = config.get("observation_limit", OBSERVATION_LIMIT)
        return cls(
            cell_from_config(config["cell"]),
            observation_size=config["observation_size"],
            encoder=config["encoder"],
            squash=config["squash"],
            observation_limit=limit_from_json(limit),
            choices=config.get("choices", ()),
        )
