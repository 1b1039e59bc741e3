"""A circuit as the actor of sb3-contrib's RecurrentPPO.

The circuit's outputs are the mean of a Gaussian over actions, one motor neuron a joint; a free
parameter `log_std` is its deviation. The critic is dense layers over the observation, optionally
behind a circuit of its own. Episode starts become the circuit's reset mask, so a batch is run in
one call whether or not episodes start inside it.

| sb3 name                  | here                                                          |
|---------------------------|---------------------------------------------------------------|
| `lstm_actor`, `lstm_critic` | a `SequenceCore`: encoder and circuit                       |
| hidden state h            | the circuit's state, zeros behind it up to the wider circuit  |
| cell state c              | zeros, handed through: a circuit's state is one tensor        |

Elapsed time: an observation space `Dict(observation=Box(n), dt_s=Box(1))` brings it to the circuit
(normalise "observation" alone, see `OBSERVATION_KEYS`); a plain `Box(n)` leaves it at the circuit's
frame interval.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from ncp_control.cells import Cell
from ncp_control.circuit import Circuit
from ncp_control.layers import dense
from ncp_control.learning.schedule import check_learning_rate

OBSERVATION_KEYS = ("observation", "dt_s")
"""Keys of a dictionary observation: what is seen, and the time [s] since it was last seen."""

States = tuple[Tensor, Tensor]
"""sb3's (h, c), each of shape (1, sequences, hidden)."""


class ObservationAndTime(BaseFeaturesExtractor):
    """Put the elapsed time [s] behind the observation, as the last feature."""

    def __init__(self, observation_space: spaces.Dict) -> None:
        super().__init__(observation_space, observation_size(observation_space) + 1)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Return features of shape (batch, observation + 1)."""
        return torch.cat([observations[key] for key in OBSERVATION_KEYS], dim=1)


class SequenceCore(nn.Module):
    """An encoder and a circuit that look like an `nn.LSTM` to sb3-contrib.

    Args:
        cell: The neuron model.
        encoder: Widths of dense tanh layers between the observation and the cell.
        observation_size: Width of an observation.
        has_elapsed: Whether the last feature is the elapsed time [s].
        hidden_size: Width of sb3's hidden state, at least the cell's state.

    Raises:
        ValueError: If the cell does not take what reaches it.
    """

    num_layers = 1

    def __init__(
        self,
        cell: Cell,
        *,
        encoder: Sequence[int],
        observation_size: int,
        has_elapsed: bool,
        hidden_size: int,
    ) -> None:
        super().__init__()
        sizes = [observation_size, *encoder]
        if cell.input_size != sizes[-1]:
            raise ValueError(
                f"`cell` must take {sizes[-1]} inputs, got {cell.input_size}."
                " Build it for the width of the observation, or of the encoder's last layer."
            )
        self.circuit = Circuit(cell)
        self.encoder_widths = tuple(encoder)
        self.encoder = dense(sizes, nn.Tanh)
        self.observation_size = observation_size
        self.has_elapsed = has_elapsed
        self.input_size = observation_size + has_elapsed
        self.hidden_size = hidden_size

    def forward(self, features: Tensor, states: States, reset: Tensor) -> tuple[Tensor, States]:
        """Run sequences (sequences, time, feature); return the outputs and the states after them.

        Args:
            features: Observations, with the elapsed time last where there is one.
            states: sb3's (h, c) before the first frame.
            reset: First frames of episodes, bool of shape (sequences, time).
        """
        state_size = self.circuit.cell.state_size
        elapsed_s = None
        if self.has_elapsed:
            features, elapsed_s = features[..., :-1], features[..., -1]
        outputs, state = self.circuit(
            self.encoder(features), states[0][0, :, :state_size], dt_s=elapsed_s, reset=reset
        )
        return outputs, (F.pad(state, (0, self.hidden_size - state_size))[None], states[1])


class CircuitActorCritic(RecurrentActorCriticPolicy):
    """Policy class for `RecurrentPPO` with any cell as its recurrent actor.

    Args:
        observation_space: A Box of one axis, or Dict(observation=Box(n), dt_s=Box(1)).
        action_space: A Box of one axis within [-1, 1].
        lr_schedule: Learning rate over the remaining share of the training.
        cell: The actor's neuron model; one output an action. The policy trains a copy of it.
        encoder: Widths of dense tanh layers between the observation and the actor's cell.
        critic_cell: Neuron model in front of the critic's dense layers, copied as well; none by
            default.
        critic_widths: Widths of the critic's dense layers.
        actor_lr_scale: Learning rate of the actor over that of the critic.
        log_std_init: Logarithm of the initial deviation of the actions.
        use_sde: What `RecurrentPPO` hands to its policy; a circuit explores without it.
        optimizer_class: Optimizer over the groups of actor, deviation and critic.
        optimizer_kwargs: Its arguments but for the learning rate.

    Raises:
        ValueError: If a space is of another kind, a cell does not fit it, a learning rate is
            impossible, or `use_sde` is True.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        cell: Cell,
        encoder: Sequence[int] = (),
        critic_cell: Cell | None = None,
        critic_widths: Sequence[int] = (256, 256),
        actor_lr_scale: float = 1.0,
        log_std_init: float = -1.0,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if use_sde:
            raise ValueError(
                "`use_sde` must be False, got True. A circuit explores by `log_std_init`."
            )
        check_learning_rate("learning_rate", lr_schedule(1.0))
        check_learning_rate("actor_lr_scale", actor_lr_scale)
        # One set of arguments may serve many trainings.
        cell, critic_cell = copy.deepcopy((cell, critic_cell))
        size, has_elapsed = observation_size(observation_space), is_timed(observation_space)
        _check_actions(action_space, cell)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch={"pi": [], "vf": []},
            log_std_init=log_std_init,
            features_extractor_class=ObservationAndTime if has_elapsed else FlattenExtractor,
            lstm_hidden_size=1,  # replaced below
            enable_critic_lstm=False,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        shared: dict[str, Any] = {
            "observation_size": size,
            "has_elapsed": has_elapsed,
            "hidden_size": max(c.state_size for c in (cell, critic_cell) if c is not None),
        }
        self.lstm_actor: Any = SequenceCore(cell, encoder=encoder, **shared)
        self.lstm_hidden_state_shape = (1, 1, shared["hidden_size"])
        self.action_net = nn.Identity()  # type: ignore[assignment]
        self.critic: Any = nn.Identity()
        critic_input = self.features_dim
        if critic_cell is not None:
            self.lstm_critic: Any = SequenceCore(critic_cell, encoder=(), **shared)
            critic_input = critic_cell.output_size
        sizes = [critic_input, *critic_widths]
        self.mlp_extractor.value_net = dense(sizes, nn.ReLU)
        self.value_net = nn.Linear(sizes[-1], 1)
        # sb3 built its optimizer over the parts that were replaced.
        make_optimizer: Any = self.optimizer_class
        groups = self._parameter_groups(actor_lr_scale)
        self.optimizer = make_optimizer(groups, lr=lr_schedule(1), **self.optimizer_kwargs)

    @property
    def actor(self) -> SequenceCore:
        """Encoder and circuit of the actor."""
        return self.lstm_actor

    def _parameter_groups(self, actor_lr_scale: float) -> list[dict[str, Any]]:
        """Tell actor, noise and critic apart; `SequencePPO` gives each its learning rate."""
        actor = list(self.lstm_actor.parameters())
        names = {id(parameter) for parameter in (*actor, self.log_std)}
        critic = [parameter for parameter in self.parameters() if id(parameter) not in names]
        return [
            {"params": actor, "lr_scale": actor_lr_scale, "is_critic": False},
            {"params": [self.log_std], "lr_scale": 1.0, "is_critic": False},
            {"params": critic, "lr_scale": 1.0, "is_critic": True},
        ]

    @staticmethod
    def _process_sequence(
        features: Tensor,
        lstm_states: States,
        episode_starts: Tensor,
        lstm: Any,
    ) -> tuple[Tensor, States]:
        """Run whole sequences in one call: episode starts are the reset mask.

        Args:
            features: Shape (sequences · time, feature), a sequence's frames one after the other.
            lstm_states: States before the first frames.
            episode_starts: 1 on the first frame of an episode, shape (sequences · time,).
            lstm: The `SequenceCore` to run.
        """
        num_sequences = lstm_states[0].shape[1]
        outputs, states = lstm(
            features.reshape(num_sequences, -1, lstm.input_size),
            lstm_states,
            episode_starts.reshape(num_sequences, -1) > 0.5,
        )
        return outputs.flatten(0, 1), states


def is_timed(space: spaces.Space) -> bool:
    """Whether observations carry the elapsed time."""
    return isinstance(space, spaces.Dict)


def observation_size(space: spaces.Space) -> int:
    """Return the width of an observation, its elapsed time not counted.

    Raises:
        ValueError: If the space is neither a Box of one axis nor a dictionary of one and `dt_s`.
    """
    box = space
    if isinstance(space, spaces.Dict) and set(space.spaces) == set(OBSERVATION_KEYS):
        box = space["observation"] if space["dt_s"].shape == (1,) else space
    if not (isinstance(box, spaces.Box) and len(box.shape) == 1):
        raise ValueError(
            "`observation_space` must be Box(n) or Dict(observation=Box(n), dt_s=Box(1)), got"
            f" {space}. Flatten it, e.g. with gymnasium.wrappers.FlattenObservation."
        )
    return box.shape[0]


def check_action_space(space: spaces.Space) -> None:
    """Refuse what a motor neuron cannot command.

    Raises:
        ValueError: If the actions are not one vector within [-1, 1].
    """
    box = space if isinstance(space, spaces.Box) and len(space.shape) == 1 else None
    if box is None or (box.low != -1.0).any() or (box.high != 1.0).any():
        raise ValueError(
            f"`action_space` must be Box(-1, 1, (n,)), got {space}. Discrete actions are not"
            " supported; rescale a Box with gymnasium.wrappers.RescaleAction(env, -1, 1)."
        )


def _check_actions(space: spaces.Space, cell: Cell) -> None:
    check_action_space(space)
    assert space.shape is not None
    if cell.output_size != space.shape[0]:
        raise ValueError(
            f"`cell` must have {space.shape[0]} outputs, one an action, got {cell.output_size}."
            " Build its wiring with that many motor neurons."
        )
