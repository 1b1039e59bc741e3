"""HalfCheetah-v5, Walker2d-v5 and Hopper-v5 in mujoco-warp: many worlds at once, on any device.

Model, reward weights, healthy ranges, initial noise and frame skip are read from Gymnasium's own
environment, so the task is the same. There are three differences:

- The simulation uses float32. One frame from the same state differs from MuJoCo's C code by less
  than 1e-3, mostly less than 1e-5. Feet that hit the ground amplify each difference, in C as well:
  with random actions of up to 0.3, positions and velocities differ by less than 1e-3 from those of
  C after 20 frames, which is closer than two runs in C whose initial states differ by 1e-5. With
  full actions, HalfCheetah takes another path after 50 frames.
- All worlds draw from one generator, so the seed of a single Gymnasium environment does not give
  the same initial state here. The distribution is the same.
- A world whose state is not finite is terminated with reward 0 and reset.

Source: github.com/google-deepmind/mujoco_warp.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from envs.warp_simulation import WarpSimulation
from ncp_control.gymnasium_contracts import silent_deprecations
from ncp_control.names import check_name
from ncp_control.ranges import check_count
from ncp_control.tensor_worlds import TensorStep, TensorWorlds

if TYPE_CHECKING:
    from gymnasium.envs.mujoco import MujocoEnv


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Properties of Gymnasium's class of a body that are not among its settings."""

    velocity_limit: float = 10.0
    """Limit to which observed velocities are clipped [m/s, rad/s]."""
    starts_normal: bool = False
    """Whether initial velocities are drawn from a normal instead of a uniform distribution."""


KINDS = {
    "HalfCheetah-v5": Kind(velocity_limit=np.inf, starts_normal=True),
    "Walker2d-v5": Kind(),
    "Hopper-v5": Kind(),
}
"""Bodies that can be simulated here, by Gymnasium id."""


class WarpWorlds(TensorWorlds):
    """Walking robots, simulated side by side.

    Args:
        env_id: Name in `KINDS`.
        num_worlds: Number of worlds, >= 1.
        device: Device to simulate on: cpu or a CUDA device.
        observe: "full", or "positions" for observations without velocities.
        max_steps: Number of frames after which an episode is truncated, >= 1.

    Raises:
        ValueError: If a name is unknown, a number is too small, or mujoco-warp is not installed.
    """

    def __init__(
        self,
        env_id: str,
        num_worlds: int,
        device: torch.device | str = "cpu",
        *,
        observe: str = "full",
        max_steps: int = 1000,
    ) -> None:
        check_name("env_id", env_id, KINDS)
        check_name("observe", observe, ("full", "positions"))
        self.num_worlds = check_count("num_worlds", num_worlds)
        self.max_steps = check_count("max_steps", max_steps)
        with silent_deprecations():
            env: Any = gymnasium.make(env_id, disable_env_checker=True).unwrapped
        self._simulation = WarpSimulation(
            env.model, self.num_worlds, device, steps=int(env.frame_skip)
        )
        self.device = self._simulation.device
        self._task = _Task.of(env, KINDS[env_id], self.device)
        observation_size = int(env.model.nq) - 1 + (int(env.model.nv) if observe == "full" else 0)
        self.observation_space = spaces.Box(-np.inf, np.inf, (observation_size,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (int(env.model.nu),), np.float32)
        self._sees_velocities = observe == "full"
        env.close()
        self._num_steps = torch.zeros(self.num_worlds, dtype=torch.int32, device=self.device)
        self._generator = torch.Generator(self.device)
        self.reset()

    @property
    def positions(self) -> Tensor:
        """Positions of all joints, shape (worlds, positions); a view that may be written to."""
        return self._simulation.positions

    @property
    def velocities(self) -> Tensor:
        """Velocities of all joints, shape (worlds, velocities); a view that may be written to."""
        return self._simulation.velocities

    @property
    def num_bytes(self) -> int:
        """Device memory taken by the state of all worlds [bytes]."""
        return self._simulation.num_bytes

    def seed(self, seed: int) -> None:
        """Seed all initial states drawn from now on."""
        self._generator.manual_seed(seed)

    def reset(self) -> Tensor:
        """Start an episode in every world and return the observations (worlds, observation)."""
        self._begin(torch.ones(self.num_worlds, dtype=torch.bool, device=self.device))
        return self._observe()

    @torch.no_grad()
    def step(self, actions: Tensor) -> TensorStep:
        """Apply torques for one frame and reset the worlds whose episodes ended.

        Args:
            actions: Share of each joint's full torque, float32, shape (worlds, joints), in [-1, 1].
        """
        before_m = self.positions[:, 0].clone()
        self._simulation.controls.copy_(actions)
        self._simulation.advance()
        is_finite = self._simulation.is_finite()
        is_healthy = self._task.is_healthy(self.positions, self.velocities)
        reward = self._task.reward(self.positions[:, 0] - before_m, actions, is_healthy)
        self._num_steps += 1
        terminated = ~(is_healthy & is_finite)
        truncated = self._num_steps >= self.max_steps
        self._leave(~is_finite)
        last = self._observe()
        self._begin(terminated | truncated)
        return TensorStep(
            self._observe(),
            torch.where(is_finite, reward, torch.zeros_like(reward)),
            terminated,
            truncated,
            last,
        )

    def _observe(self) -> Tensor:
        parts = [self.positions[:, 1:]]
        if self._sees_velocities:
            limit = self._task.kind.velocity_limit
            parts.append(self.velocities.clamp(-limit, limit))
        return torch.cat(parts, dim=1)

    def _leave(self, which: Tensor) -> None:
        """Reset worlds whose state is not finite to the model's initial state."""
        self._simulation.put(which, *self._task.stand)

    def _begin(self, which: Tensor) -> None:
        """Draw initial states in some worlds; numbers are drawn for all, to avoid a device sync."""
        self._simulation.put(which, *self._task.draw(self.num_worlds, self._generator))
        self._num_steps *= ~which


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Initial states, reward and end of an episode, as in Gymnasium's environment."""

    stand: tuple[Tensor, Tensor]
    noise: float
    kind: Kind
    frame_s: float
    forward_weight: float
    action_weight: float
    healthy_reward: float
    ranges: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] | None
    """Healthy heights [m], pitches [rad], and other values; None if all states are healthy."""

    @classmethod
    def of(cls, env: "MujocoEnv", kind: Kind, device: torch.device) -> "_Task":
        known: Any = vars(env)
        unlimited = (-np.inf, np.inf)
        ranges = None
        if "_healthy_z_range" in known:
            names = ("_healthy_z_range", "_healthy_angle_range", "_healthy_state_range")
            ranges = tuple(known.get(name, unlimited) for name in names)
        first = (env.init_qpos, env.init_qvel)
        return cls(
            stand=tuple(torch.tensor(x, dtype=torch.float32, device=device) for x in first),  # type: ignore[arg-type]
            noise=known["_reset_noise_scale"],
            kind=kind,
            frame_s=float(env.dt),
            forward_weight=known["_forward_reward_weight"],
            action_weight=known["_ctrl_cost_weight"],
            healthy_reward=known.get("_healthy_reward", 0.0),
            ranges=ranges,  # type: ignore[arg-type]
        )

    def draw(self, num_worlds: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw initial positions and velocities."""
        shape = (num_worlds, len(self.stand[0]))
        drawn: dict[str, Any] = {"generator": generator, "device": generator.device}
        positions = self.stand[0] + self.noise * (2.0 * torch.rand(shape, **drawn) - 1.0)
        shape = (num_worlds, len(self.stand[1]))
        noise = (
            torch.randn(shape, **drawn)
            if self.kind.starts_normal
            else 2.0 * torch.rand(shape, **drawn) - 1.0
        )
        return positions, self.stand[1] + self.noise * noise

    def is_healthy(self, positions: Tensor, velocities: Tensor) -> Tensor:
        """Return which worlds are in a healthy state, bool, shape (worlds,)."""
        if self.ranges is None:
            return torch.ones_like(positions[:, 0], dtype=torch.bool)
        height, pitch, rest = self.ranges
        state = torch.cat([positions[:, 2:], velocities], dim=1)
        is_upright = _inside(positions[:, 1], height) & _inside(positions[:, 2], pitch)
        return is_upright & _inside(state, rest).all(1)

    def reward(self, moved_m: Tensor, actions: Tensor, is_healthy: Tensor) -> Tensor:
        """Return the reward of a frame, shape (worlds,)."""
        forward = self.forward_weight / self.frame_s * moved_m
        cost = self.action_weight * actions.square().sum(1)
        return forward + self.healthy_reward * is_healthy - cost


def _inside(values: Tensor, limits: tuple[float, float]) -> Tensor:
    return (values > limits[0]) & (values < limits[1])
