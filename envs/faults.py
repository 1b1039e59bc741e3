"""Disturbances that can be put between a policy and its world, and the choice for a world.

| name      | what it does                             | strength                       |
|-----------|------------------------------------------|--------------------------------|
| overwrite | replaces the action by a random one      | share of the frames            |
| delay     | actions take effect late                 | frames                         |
| drop      | loses frames and holds the action        | share of the frames            |
| noise     | `PixelNoise` on frames                   | variance on images in [0, 1]   |
| noise     | Gaussian noise on numbers                | deviation in the entry's unit  |
| others    | see `envs.conditions`                    | severity from 1 to 5           |

Pixel noise is that of Lechner et al. 2020 (figure 5): on an image scaled to [0, 1],

    o' = clip(o + n, 0, 1),      n ~ N(0, variance), independent in every pixel and channel
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.conditions import PICTURES
from envs.conditions.wrappers import Gain, Pictured, Wind
from envs.seeding import FrameWrapper
from ncp_control.audit.faults import add_pixel_noise
from ncp_control.contract import Contract, VectorContract
from ncp_control.ranges import check_not_negative
from ncp_control.records import frames_part, record_frame
from ncp_control.worlds import Disturbance

_MOST_UNITS = 4
"""Most units of numbers that the label of a plot can list."""


class PixelNoise(FrameWrapper):
    """Add Gaussian noise to image observations.

    The noise has its own generator, seeded by `reset(seed=...)`, so the environment itself behaves
    the same with and without noise.

    Args:
        env: Environment whose observations are uint8 images.
        variance: Variance of the noise on images scaled to [0, 1], >= 0. The paper uses 0.1 to 0.3;
            clipping makes the variance of the result smaller.
        in_record: Shape of the frame in each observation, if the observations are records of a
            frame and numbers, see `ncp_control.records`.
        stack: Number of frames stacked in each observation, see `View`. Each frame is changed once.

    Raises:
        TypeError: If the observations are not uint8 images.
        ValueError: If the variance is negative or not finite.
    """

    stream, num_axes = (1,), (2, 3)

    def __init__(
        self,
        env: gymnasium.Env,
        variance: float,
        *,
        in_record: tuple[int, int, int] | None = None,
        stack: int = 1,
    ) -> None:
        super().__init__(env, variance=variance, in_record=in_record, stack=stack)
        check_not_negative("variance", variance)
        self.variance = float(variance)

    def _draw_effect(self) -> Callable[[np.ndarray], np.ndarray]:
        return lambda frame: add_pixel_noise(frame, self.variance, self.random)

    def observation(self, observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image with noise added, rounded and clipped to [0, 255]."""
        return super().observation(observation) if self.variance else observation


def disturbances_of(contract: Contract) -> tuple[Disturbance, ...]:
    """Return the disturbances that suit a world with this contract, the innermost wrapper first.

    Actions that are choices are neither overwritten nor delayed. If observations hold frames and
    numbers, only the frames are disturbed. The world's `info` must contain `dt_s`, as worlds of
    `ncp_control.worlds` do.
    """
    # Imported here because they import MuJoCo, which takes a while.
    from envs.locomotion import DelayedActions, DroppedFrames, OverwrittenActions, SensorNoise

    drop = Disturbance(name="drop", meaning="share of dropped frames", put=DroppedFrames)
    found = []
    if not any(entry.choices for entry in contract.action):
        random, late = "share of random actions", "frames until an action takes effect"
        found = [
            Disturbance(name="overwrite", meaning=random, put=OverwrittenActions),
            Disturbance(name="delay", meaning=late, put=DelayedActions, is_of_body=True),
        ]
    frames = frames_part(contract.observation)
    if frames is not None:
        layout = {"in_record": record_frame(contract.observation), "stack": frames.view.stack}
        found += _conditions_of(contract, layout)
        meaning, put = "variance of the pixel noise", partial(PixelNoise, **layout)
        found.append(Disturbance(name="noise", meaning=meaning, put=put))
    found.append(drop)  # outside the disturbances of frames: a stack is disturbed frame by frame
    if isinstance(contract.observation, VectorContract):
        units = dict.fromkeys(entry.unit for entry in contract.observation.entries if entry.unit)
        suffix = f" [{', '.join(units)}]" if 0 < len(units) <= _MOST_UNITS else ""
        meaning = f"sensor noise, standard deviation{suffix}"
        found.append(Disturbance(name="noise", meaning=meaning, put=SensorNoise))
    return tuple(found)


def _conditions_of(contract: Contract, layout: Mapping[str, Any]) -> list[Disturbance]:
    """Return the conditions that a world of frames can have; `noise` and `delay` are left out.

    Args:
        contract: The world's contract.
        layout: Where the frames are in an observation: `in_record` and `stack` of `Pictured`.
    """
    found, frame_s = [], contract.frame_s
    if not any(entry.choices for entry in contract.action):
        wind = partial(Wind, frame_s=frame_s)
        found = [
            Disturbance(name="gain", meaning="severity", put=Gain, is_of_body=True),
            Disturbance(name="wind", meaning="severity", put=wind, is_of_body=True),
        ]
    for name in PICTURES:
        if name != "noise":
            put = partial(Pictured, condition=name, frame_s=frame_s, **layout)
            found.append(Disturbance(name=name, meaning="severity", put=put))
    return found
