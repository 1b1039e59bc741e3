"""Base classes of wrappers with their own random generator, and checks of actions."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from ncp_control.framing import once_a_frame
from ncp_control.records import change_frame


class SeededWrapper(gymnasium.Wrapper, RecordConstructorArgs):
    """Wrapper whose random generator is seeded with the environment's seed but separate from it.

    So the body moves the same with and without a disturbance, as long as the actions are the same.
    """

    stream: tuple[int, ...]
    """Numbers that make the generators of different wrappers differ."""

    def __init__(self, env: gymnasium.Env, **settings: Any) -> None:
        RecordConstructorArgs.__init__(self, **settings)  # so that `spec` can rebuild the wrapper
        gymnasium.Wrapper.__init__(self, env)
        self.random = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; a seed also seeds this disturbance, None continues its generator."""
        if seed is not None:
            self.random = np.random.default_rng([seed, *self.stream])
        self._begin()
        return super().reset(seed=seed, options=options)

    def _begin(self) -> None:
        """Draw what stays the same during an episode; called at each reset, after seeding."""


class FrameWrapper(SeededWrapper, gymnasium.ObservationWrapper):
    """Wrapper that changes the frames that an environment shows.

    Args:
        env: Environment whose observations are uint8 images.
        in_record: Shape of the frame in each observation, if the observations are records of a
            frame and numbers, see `ncp_control.records`.
        stack: Number of frames stacked in each observation, see `View`. Each frame is changed once,
            when it is the newest.
        settings: Other arguments of the subclass.

    Raises:
        TypeError: If the observations are not uint8 images.
    """

    num_axes: tuple[int, ...] = (3,)
    """Numbers of axes that a frame may have."""

    def __init__(
        self,
        env: gymnasium.Env,
        *,
        in_record: tuple[int, int, int] | None,
        stack: int,
        **settings: Any,
    ) -> None:
        super().__init__(env, **settings, in_record=in_record, stack=stack)
        space = env.observation_space
        shape = space.shape or ()
        is_pixels = isinstance(space, spaces.Box) and space.dtype == np.uint8
        if not is_pixels or len(shape) not in (self.num_axes if in_record is None else (1,)):
            raise TypeError(
                f"`env` must have uint8 images as observations, got {space!r}."
                " Wrap it before the images are scaled."
            )
        self._in_record, self._stack = in_record, stack
        self._frame_shape: tuple[int, ...] = in_record or shape

    def _begin(self) -> None:
        self._effect = once_a_frame(self._draw_effect(), self._stack)

    def _draw_effect(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function that changes the frames of an episode."""
        raise NotImplementedError

    def observation(self, observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the observation with its frame changed."""
        return change_frame(observation, self._effect, self._in_record)


def check_continuous(env: gymnasium.Env) -> spaces.Box:
    """Return the bounds of an environment's actions.

    Raises:
        TypeError: If the actions are not continuous.
    """
    if not isinstance(env.action_space, spaces.Box):
        raise TypeError(
            f"`env` must have continuous actions, got {env.action_space!r}."
            " Choose an environment with torques as actions."
        )
    return env.action_space


def check_action(action: Any, bounds: spaces.Box) -> NDArray[Any]:
    """Check an action and return it as an array.

    Raises:
        ValueError: If the action does not hold real numbers, has another shape, is out of bounds or
            not finite.
    """
    action = np.asarray(action)
    low, high = bounds.low, bounds.high
    is_real = action.dtype.kind in "iuf"
    if (
        not is_real
        or action.shape != low.shape
        or not np.all((action >= low) & (action <= high) & np.isfinite(action))
    ):
        raise ValueError(
            f"`action` must have shape {low.shape} and lie in [{low.min():g}, {high.max():g}],"
            f" got {action.tolist()!r}. Clip the policy's output."
        )
    return action
