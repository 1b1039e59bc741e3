"""Disturbances: what can be put between a policy and its world, and which of them suit a world.

| name      | what it does                             | strength                       |
|-----------|------------------------------------------|--------------------------------|
| overwrite | a random action instead of the policy's  | share of the frames            |
| delay     | actions take effect late                 | frames                         |
| drop      | frames are lost, the action is held      | share of the frames            |
| noise     | `PixelNoise` on frames                   | variance on images in [0, 1]   |
| noise     | Gaussian noise on numbers                | deviation in the entry's unit  |
| others    | see `envs.conditions`                    | severity from 1 to 5           |

Pixel noise is the one of Lechner et al. 2020 (figure 5): on an image scaled to [0, 1],

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
"""Units of numbers that the label of a plot can hold."""


class PixelNoise(gymnasium.ObservationWrapper[NDArray[np.uint8], Any, NDArray[np.uint8]]):
    """Add Gaussian noise to image observations.

    The noise is drawn from its own generator, seeded by `reset(seed=...)`: the world underneath
    does not change with the noise.

    Args:
        env: World whose observations are uint8 images.
        variance: Variance of the noise on images scaled to [0, 1], >= 0. The paper takes 0.1 to
            0.3; clipping then makes the variance of the result smaller.
        in_record: Shape of the frame in each observation, if these are records of a frame and
            numbers, see `ncp_control.records`.
        stack: How many frames each observation shows together, see `View`. The noise of each is
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
            seed: Seed of the world and of the noise; None goes on with both.
            options: Passed to the world.

        Returns:
            The first, noisy, observation and its info.
        """
        if seed is not None:
            # A stream of its own: the world uses the plain seed.
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
    """Return the disturbances that a world of this contract can have, the innermost first.

    Actions that are choices are neither overwritten nor delayed; of frames and numbers at once
    only the frames are disturbed. The world's `info` must carry `dt_s`, as `ncp_control.worlds`
    sees to.
    """
    # They bring MuJoCo along, which a world of frames does without.
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
        seen = {"in_record": record_frame(contract.observation), "stack": frames.view.stack}
        found += _conditions_of(contract, seen)
        meaning, put = "variance of the pixel noise", partial(PixelNoise, **seen)
        found.append(Disturbance(name="noise", meaning=meaning, put=put))
    found.append(drop)  # around what disturbs frames: a stack is disturbed frame by frame
    if isinstance(contract.observation, VectorContract):
        units = dict.fromkeys(entry.unit for entry in contract.observation.entries if entry.unit)
        told = f" [{', '.join(units)}]" if 0 < len(units) <= _MOST_UNITS else ""
        meaning = f"sensor noise, standard deviation{told}"
        found.append(Disturbance(name="noise", meaning=meaning, put=SensorNoise))
    return tuple(found)


def _conditions_of(contract: Contract, seen: Mapping[str, Any]) -> list[Disturbance]:
    """Return the conditions of a world of frames, but for those that are other disturbances.

    Args:
        contract: The world's.
        seen: Where the frames lie in an observation: `in_record` and `stack` of `Pictured`.
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
            put = partial(_put_picture, condition=name, frame_s=frame_s, **seen)
            found.append(Disturbance(name=name, meaning="severity", put=put))
    return found


def _put_picture(
    env: gymnasium.Env, severity: float, *, condition: str, **scene: Any
) -> gymnasium.Env:
    from envs.conditions.wrappers import Pictured

    return Pictured(env, condition, severity, **scene)
