"""A circuit as the actor of sb3-contrib's RecurrentPPO.

| action space               | the circuit's outputs                             | drawn from |
|----------------------------|---------------------------------------------------|------------|
| Box(-1, 1, (n,))           | means of n actions; `log_std` is their deviation  | a Gaussian |
| Discrete(n)                | scores of n choices, the logarithms of their odds | a softmax  |
| MultiDiscrete([n, m, ...]) | scores of n + m + ... choices, entry by entry     | one each   |

Actor and critic get the features that `perception` computes from an observation: numbers, or the
output of a conv head, which learns with the circuit unless it is frozen. The critic consists of
dense layers over these features, optionally behind its own circuit. Episode starts become the
circuit's reset mask, so a batch is run in one call whether or not episodes start inside it.

| sb3 name                  | here                                                          |
|---------------------------|---------------------------------------------------------------|
| `lstm_actor`, `lstm_critic` | a `SequenceCore`: encoder and circuit                       |
| hidden state h            | the circuit's state, zeros behind it up to the wider circuit  |
| cell state c              | zeros, handed through: a circuit's state is one tensor        |

Elapsed time: with an observation space `Dict(observation=..., dt_s=Box(1))`, the circuit uses the
elapsed time `dt_s` (normalize "observation" alone); with a plain Box, it uses its frame interval.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from ncp_control.cells import Cell
from ncp_control.circuit import Circuit
from ncp_control.layers import dense
from ncp_control.learning.reinforcement.perception import Perception, build_head
from ncp_control.learning.schedule import check_learning_rate

States = tuple[Tensor, Tensor]
"""sb3's (h, c), each of shape (1, sequences, hidden)."""


class SequenceCore(nn.Module):
    """Encoder and circuit with the interface that sb3-contrib expects of an `nn.LSTM`.

    Args:
        cell: The neuron model.
        encoder: Widths of dense tanh layers between the features and the cell.
        observation_size: Number of features without the elapsed time.
        has_elapsed: Whether the last feature is the elapsed time [s].
        hidden_size: Width of sb3's hidden state, at least the width of the cell's state.

    Raises:
        ValueError: If the cell's number of inputs is not the width of the features or of the
            encoder's last layer.
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
        """Run sequences; return the outputs and the states after them.

        Args:
            features: Features, shape (sequences, time, feature); the last one is the elapsed time
                if `has_elapsed`.
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
        observation_space: Numbers or frames, optionally with elapsed time; see `perception`.
        action_space: Box(-1, 1, (n,)), Discrete, or MultiDiscrete of one axis.
        lr_schedule: Learning rate as a function of the remaining share of the training steps.
        cell: Neuron model of the actor, with one output per action entry or choice. The policy
            trains a copy of it.
        head: Network that turns frames into features: a name in `ncp_control.policy.heads.HEADS`,
            or a head, of which the policy trains a copy. Needed only for frames.
        head_learns: Whether the head learns with the circuit. A frozen head runs once per step, and
            rollouts store its features instead of frames.
        encoder: Widths of dense tanh layers between numbers and the actor's cell; empty for frames.
        critic_cell: Neuron model in front of the critic's dense layers, also copied; if None: no
            circuit in the critic.
        critic_widths: Widths of the critic's dense layers.
        actor_lr_scale: Ratio of the actor's learning rate to that of the critic and the head.
        log_std_init: Logarithm of the initial standard deviation of continuous actions.
        use_sde: Must be False; part of the interface of `RecurrentPPO`.
        optimizer_class: Optimizer over the groups of actor, head, deviation and critic.
        optimizer_kwargs: Arguments of the optimizer except the learning rate.

    Raises:
        ValueError: If a space is not supported, the head or a cell does not fit it, a learning rate
            is invalid, or `use_sde` is True.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        cell: Cell,
        head: str | nn.Module | None = None,
        head_learns: bool = True,
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
        # Copies, since the same arguments may be used for several training runs.
        cell, critic_cell, head = copy.deepcopy((cell, critic_cell, head))
        built = build_head(head, observation_space)
        if built is not None and encoder:
            raise ValueError(
                f"`encoder` must be empty for frames, got {encoder!r}. The head encodes them."
            )
        _check_actions(action_space, cell)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch={"pi": [], "vf": []},
            ortho_init=built is None,  # it would re-initialize the head's weights
            log_std_init=log_std_init,
            features_extractor_class=Perception,
            features_extractor_kwargs={"head": built},
            normalize_images=False,  # heads take pixels from 0 to 255
            lstm_hidden_size=1,  # replaced below
            enable_critic_lstm=False,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        perception = self.perception
        self.keeps_features = built is not None and not head_learns
        self.kept_features: Tensor | None = None
        shared: dict[str, Any] = {
            "observation_size": perception.size,
            "has_elapsed": perception.is_timed,
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
        # sb3's own optimizer holds the parameters of the parts that were replaced above.
        make_optimizer: Any = self.optimizer_class
        groups = self._parameter_groups(actor_lr_scale)
        self.optimizer = make_optimizer(groups, lr=lr_schedule(1), **self.optimizer_kwargs)

    @property
    def actor(self) -> SequenceCore:
        """Encoder and circuit of the actor."""
        return self.lstm_actor

    @property
    def perception(self) -> Perception:
        """Network that turns observations into features."""
        extractor = self.features_extractor
        assert isinstance(extractor, Perception)
        return extractor

    def _parameter_groups(self, actor_lr_scale: float) -> list[dict[str, Any]]:
        """Return groups of actor, head, noise and critic; `SequencePPO` sets the rate of each."""
        parts = {
            "actor": list(self.lstm_actor.parameters()),
            "head": [] if self.keeps_features else list(self.perception.parameters()),
            "noise": [self.log_std] if isinstance(self.action_space, spaces.Box) else [],
        }
        frozen = self.perception.parameters()
        known = {id(p) for p in (*frozen, *(p for part in parts.values() for p in part))}
        parts["critic"] = [p for p in self.parameters() if id(p) not in known]
        return [
            {
                "params": parameters,
                "lr_scale": actor_lr_scale if name == "actor" else 1.0,
                "is_critic": name == "critic",
            }
            for name, parameters in parts.items()
            if parameters
        ]

    def forward(
        self, obs: Any, lstm_states: RNNStates, episode_starts: Tensor, deterministic: bool = False
    ) -> Any:
        """Return actions, values, log-probabilities and states; keep a frozen head's features."""
        if self.keeps_features:
            obs = self.kept_features = super().extract_features(obs)  # type: ignore[assignment]
        return super().forward(obs, lstm_states, episode_starts, deterministic)

    def extract_features(
        self, obs: Any, features_extractor: BaseFeaturesExtractor | None = None
    ) -> Any:
        """Return the features of observations; with a frozen head, `obs` are already features."""
        return obs if self.keeps_features else super().extract_features(obs, features_extractor)

    @staticmethod
    def _process_sequence(
        features: Tensor,
        lstm_states: States,
        episode_starts: Tensor,
        lstm: Any,
    ) -> tuple[Tensor, States]:
        """Run whole sequences in one call, with episode starts as the reset mask.

        Args:
            features: Shape (sequences · time, feature); the frames of a sequence are consecutive.
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


def check_action_space(space: spaces.Space) -> None:
    """Check that motor neurons can produce the actions of a space.

    Raises:
        ValueError: If the actions are neither a vector in [-1, 1] nor discrete choices.
    """
    if choices_of(space):
        return
    box = space if isinstance(space, spaces.Box) and len(space.shape) == 1 else None
    if box is None or (box.low != -1.0).any() or (box.high != 1.0).any():
        raise ValueError(
            "`action_space` must be Box(-1, 1, (n,)), or Discrete or MultiDiscrete with choices"
            f" from 0, got {space}. Rescale a Box with gymnasium.wrappers.RescaleAction(env, -1, 1)"
            ", or wrap the environment."
        )


def choices_of(space: spaces.Space) -> tuple[int, ...]:
    """Return the number of choices of each action entry; empty if actions are not choices."""
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and not space.start.any():
        return tuple(int(n) for n in space.nvec)
    return ()


def num_outputs(space: spaces.Space) -> int:
    """Return how many outputs a circuit needs for an action space: one per number or choice.

    Raises:
        ValueError: If the space is not supported, see `check_action_space`.
    """
    check_action_space(space)
    return sum(choices_of(space)) or int(space.shape[0])  # type: ignore[index]


def _check_actions(space: spaces.Space, cell: Cell) -> None:
    needed = num_outputs(space)
    if cell.output_size != needed:
        each = "a choice" if choices_of(space) else "an action"
        raise ValueError(
            f"`cell` must have {needed} outputs, one {each}, got {cell.output_size}."
            " Build its wiring with that many motor neurons."
        )
