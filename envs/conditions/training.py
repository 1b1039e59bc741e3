"""Random conditions in the windows that a policy learns from."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from envs.conditions import PICTURES
from envs.conditions.draws import Scene
from ncp_control.learning.demonstrations import Batch


@dataclasses.dataclass(frozen=True)
class RandomConditions:
    """Give a share of the windows one condition each.

    It lasts for the window; blackouts and frozen frames begin somewhere in it.

    The actions stay what they are: the expert saw the road.

    Args:
        conditions: Names and severities, each as likely as the others, of `PICTURES`.
        frame_s: Time from a frame to the next [s].
        share: Share of the windows that have one.
    """

    conditions: Sequence[tuple[str, int]]
    frame_s: float
    share: float = 0.75

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return a new batch.

        Args:
            batch: Windows of frames, observations (batch, time, height, width, channels) uint8.
            generator: Source of the randomness.

        Raises:
            ValueError: If the observations are not uint8 frames.
        """
        seen = batch.observations
        if seen.dtype != torch.uint8 or seen.ndim != 5:
            raise ValueError(
                "`observations` must be uint8 of shape (batch, time, height, width, channels), got"
                f" {seen.dtype} of shape {tuple(seen.shape)}. Only camera frames have conditions."
            )
        frames = seen.numpy().copy()
        draws = torch.rand(len(frames), 2, generator=generator).tolist()
        seeds = torch.randint(2**62, (len(frames),), generator=generator).tolist()
        for window, (whether, which), seed in zip(frames, draws, seeds, strict=True):
            if whether < self.share:
                name, severity = self.conditions[int(which * len(self.conditions))]
                height, width = window.shape[1:3]
                rng = np.random.default_rng(seed)
                scene = Scene(height, width, self.frame_s, rng, frames=len(window))
                effect = PICTURES[name](severity, scene)
                for i, frame in enumerate(window):
                    window[i] = effect(frame)
        return dataclasses.replace(batch, observations=torch.from_numpy(frames))
