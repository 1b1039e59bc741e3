"""Environments seen through a trained policy's eyes: its features as observations.

So a circuit can go on learning by reinforcement while the perception before it stays as it is, and
a rollout keeps a few features a step instead of frames. `SequencePPO` does the same with a
frozen head: `policy_kwargs={"head": driver.head, "head_learns": False, ...}`.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from ncp_control.policy import Policy


class PerceivedEnv(VecEnvWrapper):
    """Replace observations by `policy.perceive` of them, all environments in one batch.

    Args:
        venv: Environments with the observations that the policy takes.
        policy: A policy in evaluation mode.
    """

    def __init__(self, venv: VecEnv, policy: Policy) -> None:
        size = (policy.circuit.cell.input_size,)
        super().__init__(venv, spaces.Box(-np.inf, np.inf, size, np.float32))
        self.policy = policy.eval()

    def reset(self) -> np.ndarray:
        """Begin all episodes."""
        return self._perceive(np.asarray(self.venv.reset()))

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Wait for the step; last observations of episodes are perceived as well."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                last = np.asarray(info["terminal_observation"])[None]
                info["terminal_observation"] = self._perceive(last)[0]
        return self._perceive(np.asarray(observations)), rewards, dones, infos

    @torch.inference_mode()
    def _perceive(self, observations: np.ndarray) -> np.ndarray:
        seen = self.policy.read_observations(observations)
        return self.policy.perceive(seen).float().cpu().numpy()
