"""Frames of an environment as a policy sees them: cropped, scaled, grey, several at once.

What is done to them stands in the contract (`View`), so that a robot's camera can do the same.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from ncp_control.contract import DictContract, FramesContract, ObservationContract, View
from ncp_control.framing import Framer
from ncp_control.names import check_name
from ncp_control.ranges import check_count

OPTIONS = ("crop_top", "crop_bottom", "height", "width", "resize", "stack", "grey")
"""Options of a world of frames, as `--world-options` gives them: `View`'s, and the frame's size."""


class Viewed(gymnasium.ObservationWrapper):
    """An environment whose frames are cropped, scaled and stacked.

    Args:
        env: An environment with frames (height, width[, channels]) uint8, perhaps as a part of a
            dictionary.
        options: By name, those of `OPTIONS` that are wanted.

    Raises:
        ValueError: If an option is unknown or out of range, or the environment has no frames.
    """

    def __init__(self, env: gymnasium.Env, options: Mapping[str, Any]) -> None:
        super().__init__(env)
        self._part, space = _find_frames(env.observation_space)
        if space is None:
            raise ValueError(
                "`observation_space` must be uint8 frames, or have some, to be cropped, got"
                f" {env.observation_space}. Leave out {', '.join(options)}."
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
        self._framer = Framer(self.view, self._size, is_grey=self._is_grey)
        seen = spaces.Box(0, 255, (*self._size, channels), np.uint8)
        self.observation_space: spaces.Space = seen
        if self._part is not None:
            parts = dict(cast(spaces.Dict, env.observation_space).spaces)
            # In pairs, which keep their order.
            self.observation_space = spaces.Dict([*(parts | {self._part: seen}).items()])

    def complete(self, contract: ObservationContract) -> ObservationContract:
        """Return the contract of these frames, alone or as a part, with what was done to them."""
        if isinstance(contract, DictContract):
            assert self._part is not None
            frames = cast(Any, self.complete(contract.parts[self._part]))
            return replace(contract, parts=contract.parts | {self._part: frames})
        assert isinstance(contract, FramesContract)
        channels = 1 if self._is_grey else self._channels
        colour = {1: "grey", 3: "RGB"}.get(channels, contract.colour)
        return replace(contract, colour=colour, view=self.view)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; its first frame stands for those before it."""
        self._framer.clear()
        return super().reset(**kwargs)

    def observation(self, observation: Any) -> Any:
        """Return a frame as a policy sees it, with the other parts if there are some."""
        if self._part is None:
            return self._framer.see(observation)
        return {**observation, self._part: self._framer.see(observation[self._part])}


def _find_frames(space: spaces.Space) -> tuple[str | None, spaces.Box | None]:
    """Return the name of the part with frames, None outside a dictionary, and its space."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {None: space}
    for name, part in parts.items():
        if isinstance(part, spaces.Box) and part.dtype == np.uint8 and len(part.shape) in (2, 3):
            return name, part
    return None, None
