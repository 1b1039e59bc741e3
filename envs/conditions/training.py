"""Random conditions in the windows that a policy learns from."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from envs.conditions import PICTURES
from envs.conditions.draws import Scene
from ncp_control.learning.demonstrations import Batch
from ncp_control.records import frames_in, with_frames


@dataclasses.dataclass(frozen=True)
class RandomConditions:
    """Give a share of the windows one condition each.

    It lasts for the window; blackouts and frozen frames begin somewhere in it.

    The actions stay what they are: the expert saw the road. So do numbers beside the frames.

    Args:
        conditions: Names and severities, each as likely as the others, of `PICTURES`.
        frame_s: Time from a frame to the next [s].
        share: Share of the windows that have one.
        record_frame: Shape of the frame in each record; None if the observations are frames.
    """

    conditions: Sequence[tuple[str, int]]
    frame_s: float
    share: float = 0.75
    record_frame: tuple[int, int, int] | None = None

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return a new batch.

        Args:
            batch: Windows of frames, observations (batch, time, height, width, channels) uint8, or
                of records (batch, time, bytes).
            generator: Source of the randomness.

        Raises:
            ValueError: If the observations are not uint8 frames.
        """
        seen = batch.observations
        if self.record_frame is not None:
            seen = frames_in(seen, self.record_frame)
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
        changed = torch.from_numpy(frames)
        if self.record_frame is not None:
            changed = with_frames(batch.observations, changed)
        return dataclasses.replace(batch, observations=changed)
