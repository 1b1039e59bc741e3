"""Environments whose observations are the features of a trained policy.

This lets a circuit learn by reinforcement while the policy's perception stays fixed. A rollout then
stores a few features per step instead of frames. `SequencePPO` does the same with a frozen head:
`policy_kwargs={"head": driver.head, "head_learns": False, ...}`.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from ncp_control.policy import Policy


class PerceivedEnv(VecEnvWrapper):
    """Replace observations by the features `policy.perceive(observations)`, in one batch.

    Args:
        venv: Environments with the observations that the policy takes.
        policy: The policy; it is switched to evaluation mode.
    """

    def __init__(self, venv: VecEnv, policy: Policy) -> None:
        size = (policy.circuit.cell.input_size,)
        super().__init__(venv, spaces.Box(-np.inf, np.inf, size, np.float32))
        self.policy = policy.eval()

    def reset(self) -> np.ndarray:
        """Start an episode in every environment; return the features (environments, feature)."""
        return self._perceive(np.asarray(self.venv.reset()))

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Wait for the step; also convert the terminal observations in `infos` to features."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                last = np.asarray(info["terminal_observation"])[None]
                info["terminal_observation"] = self._perceive(last)[0]
        return self._perceive(np.asarray(observations)), rewards, dones, infos

    @torch.inference_mode()
    def _perceive(self, observations: np.ndarray) -> np.ndarray:
        inputs = self.policy.read_observations(observations)
        return self.policy.perceive(inputs).float().cpu().numpy()
