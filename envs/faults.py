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

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ncp_control.audit.faults import add_pixel_noise
from ncp_control.contract import Contract, VectorContract
from ncp_control.framing import once_a_frame
from ncp_control.ranges import check_not_negative
from ncp_control.records import change_frame, frames_part, record_frame
from ncp_control.worlds import Disturbance

_MOST_UNITS = 4
"""Most units of numbers that the label of a plot can list."""


class PixelNoise(gymnasium.ObservationWrapper[NDArray[np.uint8], Any, NDArray[np.uint8]]):
    """Add Gaussian noise to image observations.

    The noise has its own generator, seeded by `reset(seed=...)`, so the environment itself behaves
    the same with and without noise.

    Args:
        env: Environment whose observations are uint8 images.
        variance: Variance of the noise on images scaled to [0, 1], >= 0. The paper uses 0.1 to 0.3;
            clipping makes the variance of the result smaller.
        in_record: Shape of the frame in each observation, if the observations are records of a
            frame and numbers, see `ncp_control.records`.
        stack: Number of frames stacked in each observation, see `View`. The noise of each frame is
            drawn once.

    Raises:
        TypeError: If the observations are not uint8 images.
        ValueError: If the variance is negative or not finite.
    """

    def __init__(
        self,
        env: gymnasium.Env[NDArray[np.uint8], Any],
        variance: float,
        *,
        in_record: tuple[int, int, int] | None = None,
        stack: int = 1,
    ) -> None:
        super().__init__(env)
        space = env.observation_space
        is_image = isinstance(space, spaces.Box) and space.dtype == np.uint8
        if not is_image or (len(space.shape or ()) < 2) != (in_record is not None):
            raise TypeError(
                f"`env` must have uint8 images as observations, got {space!r}. "
                "Wrap it before the images are scaled."
            )
        check_not_negative("variance", variance)
        self.variance, self._in_record, self._stack = float(variance), in_record, stack
        self._noise_rng = np.random.default_rng()
        self._noise = once_a_frame(self._add_noise, stack)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode; the seed also seeds the noise.

        Args:
            seed: Seed of the world and of the noise; None continues both generators.
            options: Passed to the world.

        Returns:
            The first, noisy, observation and its info.
        """
        if seed is not None:
            # A separate stream: the world uses the plain seed.
            self._noise_rng = np.random.default_rng([seed, 1])
        self._noise = once_a_frame(self._add_noise, self._stack)
        return super().reset(seed=seed, options=options)

    def observation(self, observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image with noise added, rounded and clipped to [0, 255]."""
        if self.variance == 0.0:
            return observation
        return change_frame(observation, self._noise, self._in_record)

    def _add_noise(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return add_pixel_noise(frame, self.variance, self._noise_rng)


def disturbances_of(contract: Contract) -> tuple[Disturbance, ...]:
    """Return the disturbances that suit a world with this contract, the innermost wrapper first.

    Actions that are choices are neither overwritten nor delayed. If observations hold frames and
    numbers, only the frames are disturbed. The world's `info` must contain `dt_s`, as worlds of
    `ncp_control.worlds` do.
    """
    # These import MuJoCo, which a world of frames does not need.
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
    from envs.conditions import PICTURES
    from envs.conditions.wrappers import Gain, Wind

    found, frame_s = [], contract.frame_s
    if not any(entry.choices for entry in contract.action):
        found = [
            Disturbance(name="gain", meaning="severity", put=Gain, is_of_body=True),
            Disturbance(
                name="wind",
                meaning="severity",
                put=partial(Wind, frame_s=frame_s),
                is_of_body=True,
            ),
        ]
    for name in PICTURES:
        if name != "noise":
            put = partial(_put_picture, condition=name, frame_s=frame_s, **layout)
            found.append(Disturbance(name=name, meaning="severity", put=put))
    return found


def _put_picture(
    env: gymnasium.Env, severity: float, *, condition: str, **scene: Any
) -> gymnasium.Env:
    from envs.conditions.wrappers import Pictured

    return Pictured(env, condition, severity, **scene)
