"""A circuit as the actor of sb3's SAC and sb3-contrib's TQC.

The circuit's outputs are the means of the actions before the squashing function, so the exported
policy acts by tanh(output). The standard deviations come from a linear layer on the circuit's input
features; this layer is used only during training. The critics are sb3's dense networks.

    action = tanh(m + exp(s) ε),   m = circuit(encoder(x)),   s = W encoder(x) + b,   ε ~ N(0, 1)

Sources: SAC: Haarnoja et al. 2018 (arXiv 1812.05905); TQC: Kuznetsov et al. 2020 (arXiv
2005.04269).
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.tqc.policies import Critic as QuantileCritic
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, Actor, SACPolicy
from torch import Tensor, nn

from ncp_control.cells import Cell
from ncp_control.learning.reinforcement.actor_critic import SequenceCore, check_action_space
from ncp_control.learning.reinforcement.perception import observation_size
from ncp_control.learning.reinforcement.replay import ReplaySteps
from ncp_control.learning.schedule import check_learning_rate


class SequenceActor(Actor):
    """sb3's actor with a circuit in place of the dense layers.

    Args:
        cell: The neuron model, with one output per action entry.
        **kwargs: Arguments of sb3's actor; `net_arch` are the widths of the encoder's tanh layers.
    """

    def __init__(self, *, cell: Cell, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.core = SequenceCore(
            cell,
            encoder=self.net_arch,
            observation_size=self.features_dim,
            has_elapsed=False,
            hidden_size=cell.state_size,
        )
        self.latent_pi = self.mu = nn.Identity()  # type: ignore[assignment]

    def get_action_dist_params(self, obs: Any) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return means and log standard deviations at `ReplaySteps`, each (steps, action)."""
        steps: ReplaySteps = obs
        windows = steps.windows
        # sb3 evaluates the steps and the next steps with the same weights: run only once.
        version = sum(parameter._version for parameter in self.parameters())
        answers = windows.answers.get(version)
        if answers is None:
            start, states = windows.burn_in, windows.states
            if start:
                with torch.no_grad():
                    *_, states = self.run(
                        windows.frames[:, :start], states, windows.reset[:, :start]
                    )
            answers = self.run(windows.frames[:, start:], states, windows.reset[:, start:])[:2]
            if torch.is_grad_enabled():
                windows.answers[version] = answers
        means, log_std = (values[steps.window, steps.time] for values in answers)
        return means, log_std, {}

    def run(self, frames: Tensor, states: Tensor, reset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the actor over windows of frames.

        Args:
            frames: Observations, shape (windows, time, observation).
            states: Hidden states before the first frames, shape (windows, state).
            reset: True for first frames of episodes, shape (windows, time).

        Returns:
            Means and log standard deviations at every frame, and the states after the last frame.
        """
        features = self.core.encoder(frames)
        means, states = self.core.circuit(features, states, reset=reset)
        log_std: Any = self.log_std
        return means, log_std(features).clamp(LOG_STD_MIN, LOG_STD_MAX), states


class _SeesSteps(nn.Module):
    """Mixin of critics that take `ReplaySteps` as observations."""

    def forward(self, obs: ReplaySteps, actions: Tensor) -> Any:
        """Return values of actions; when the actor learns, the critic's weights get no gradient."""
        if not actions.requires_grad:
            return super().forward(obs, actions)
        # sb3 would compute the gradient of every weight here and discard it.
        self.requires_grad_(False)
        try:
            return super().forward(obs, actions)
        finally:
            self.requires_grad_(True)

    def extract_features(self, obs: ReplaySteps, features_extractor: Any) -> Tensor:
        """Return the critic's input, shape (steps, feature)."""
        return obs.for_critic


class _SequenceCritic(_SeesSteps, ContinuousCritic):
    pass


class _SequenceQuantileCritic(_SeesSteps, QuantileCritic):
    pass


class _CircuitPolicy(BasePolicy):
    """Policy with a circuit as actor, the common base for SAC and TQC.

    Args:
        observation_space: Box of one axis.
        action_space: Box(-1, 1, (n,)).
        lr_schedule: Learning rate as a function of the remaining share of the training steps.
        cell: Neuron model of the actor, with one output per action entry. The policy trains a copy.
        encoder: Widths of dense tanh layers between the observation and the cell.
        critic_widths: Widths of the dense layers of each critic.
        critic_frames: Number of successive observations that a critic sees, with the actions
            between them.
        actor_lr_scale: Ratio of the learning rate of encoder and circuit to that of the rest.
        **kwargs: Further arguments of sb3's policy.

    Raises:
        ValueError: If a space is not supported, the cell does not fit it, or a learning rate is
            invalid.
    """

    critic_class: Any
    actor: Any
    actor_kwargs: Any
    critic_kwargs: Any
    optimizer_class: Any

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *,
        cell: Cell,
        encoder: Sequence[int] = (),
        critic_widths: Sequence[int] = (256, 256),
        critic_frames: int = 1,
        actor_lr_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_spaces(observation_space, action_space)
        check_learning_rate("learning_rate", lr_schedule(1.0))
        check_learning_rate("actor_lr_scale", actor_lr_scale)
        num_actions = action_space.shape[0]
        if cell.output_size != num_actions:
            raise ValueError(
                f"`cell` must have {num_actions} outputs, one an action, got {cell.output_size}."
                " Build its wiring with that many motor neurons."
            )
        size = observation_size(observation_space)
        kwargs.setdefault("optimizer_kwargs", {"fused": True})  # half the time of a loop in Python
        # In a dictionary, since submodules cannot be assigned before the base constructor has run.
        self.settings = {
            "cell": cell,
            "critic_features": critic_frames * size + (critic_frames - 1) * num_actions,
            "actor_lr_scale": actor_lr_scale,
        }
        super().__init__(
            observation_space,  # type: ignore[call-arg]
            action_space,
            lr_schedule,
            net_arch={"pi": list(encoder), "qf": list(critic_widths)},
            **kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        core = list(self.actor.core.parameters())
        groups = [
            {"params": core, "lr_scale": self.settings["actor_lr_scale"]},
            {"params": list(self.actor.log_std.parameters()), "lr_scale": 1.0},
        ]
        options = self.optimizer_kwargs
        self.actor.optimizer = self.optimizer_class(groups, lr=lr_schedule(1), **options)

    def make_actor(self, features_extractor: Any = None) -> SequenceActor:
        """Build encoder, circuit and deviations."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        cell = copy.deepcopy(self.settings["cell"])  # arguments may be used several times
        return SequenceActor(cell=cell, **kwargs).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> Any:
        """Build the critics."""
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        kwargs["features_dim"] = self.settings["critic_features"]
        return self.critic_class(**kwargs).to(self.device)

    @torch.no_grad()
    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Return actions for one frame, as sb3-contrib's recurrent policies do.

        Args:
            observation: Observation of one environment, or of several (environments, observation).
            state: State returned by the last call; if None: the circuit's initial state.
            episode_start: Whether each environment has just started an episode; if None: True if
                `state` is None.
            deterministic: Whether to use tanh of the means instead of sampled actions.

        Returns:
            The actions, and the circuit's states after the frame.
        """
        self.set_training_mode(False)
        observations: Any
        observations, is_many = self.obs_to_tensor(observation)
        cell = self.actor.core.circuit.cell
        states = (
            cell.initial_state(len(observations)) if state is None else torch.from_numpy(state[0])
        )
        if episode_start is None:
            episode_start = np.full(len(observations), state is None)
        begins = torch.from_numpy(np.asarray(episode_start, dtype=bool))
        means, log_std, states = self.actor.run(
            observations.float()[:, None], states.to(self.device), begins[:, None].to(self.device)
        )
        actions = self.actor.action_dist.actions_from_params(
            means[:, 0], log_std[:, 0], deterministic=deterministic
        )
        chosen = actions.cpu().numpy()
        return chosen if is_many else chosen[0], (states.cpu().numpy(),)


class CircuitSAC(_CircuitPolicy, SACPolicy):
    """Policy class for `SequenceSAC`."""

    __doc__ = f"{__doc__}\n{_CircuitPolicy.__doc__}"
    critic_class = _SequenceCritic


class CircuitTQC(_CircuitPolicy, TQCPolicy):
    """Policy class for `SequenceTQC`."""

    __doc__ = f"{__doc__}\n{_CircuitPolicy.__doc__}"
    critic_class = _SequenceQuantileCritic


def check_spaces(observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Check that SAC and TQC over sequences support the spaces.

    Raises:
        ValueError: If observations are not a vector, or actions are not numbers in [-1, 1].
    """
    if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
        raise ValueError(
            f"`observation_space` must be Box(n), got {observation_space}. Learn from frames or"
            " with elapsed times by SequencePPO."
        )
    if not isinstance(action_space, spaces.Box):
        raise ValueError(
            f"`action_space` must be Box(-1, 1, (n,)), got {action_space}. Learn choices by"
            " SequencePPO."
        )
    check_action_space(action_space)
