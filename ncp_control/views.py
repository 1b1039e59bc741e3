"""Frames of an environment as a policy sees them: cropped, scaled, grey, several at once.

What is done to them stands in the contract (`View`), so that a robot's camera can do the same.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from ncp_control.contract import FramesContract, View
from ncp_control.framing import Framing
from ncp_control.names import check_name
from ncp_control.ranges import check_count

OPTIONS = ("crop_top", "crop_bottom", "height", "width", "resize", "stack", "grey")
"""Options of a world of frames, as `--world-options` gives them: `View`'s, and the frame's size."""


class Viewed(gymnasium.ObservationWrapper):
    """An environment whose frames are cropped, scaled and stacked.

    Args:
        env: An environment with frames (height, width[, channels]) uint8.
        options: By name, those of `OPTIONS` that are wanted.

    Raises:
        ValueError: If an option is unknown or out of range, or the environment has no frames.
    """

    def __init__(self, env: gymnasium.Env, options: Mapping[str, Any]) -> None:
        super().__init__(env)
        space = env.observation_space
        is_box = isinstance(space, spaces.Box) and space.dtype == np.uint8
        if not is_box or space.shape is None or len(space.shape) not in (2, 3):
            raise ValueError(
                f"`observation_space` must be uint8 frames to be cropped or scaled, got {space}."
                f" Leave out {', '.join(options)}."
            )
        for name in options:
            check_name("option of frames", name, OPTIONS)
        names = [field.name for field in fields(View)]
        self.view = View(**{name: options[name] for name in names if name in options})
        height, width, channels = (*space.shape, 1)[:3]
        rows = self.view.rows(height)
        self._size = (
            check_count("height", options.get("height", rows.stop - rows.start)),
            check_count("width", options.get("width", width)),
        )
        self._is_grey = bool(options.get("grey", False)) and channels == 3
        self._channels = channels
        channels = (1 if self._is_grey else channels) * self.view.stack
        self._framing = Framing(self.view, self._size, is_grey=self._is_grey)
        self.observation_space = spaces.Box(0, 255, (*self._size, channels), np.uint8)

    def complete(self, contract: FramesContract) -> FramesContract:
        """Return the contract of these frames with what was done to them."""
        colour = "grey" if self._is_grey else "RGB" if self._channels == 3 else contract.colour
        return replace(contract, colour=colour, view=self.view)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; its first frame stands for those before it."""
        self._framing.clear()
        return super().reset(**kwargs)

    def observation(self, observation: Any) -> np.ndarray:
        """Return a frame as a policy sees it."""
        return self._framing.see(cast(np.ndarray, observation))
