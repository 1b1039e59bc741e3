"""Wrapper that crops, scales, greys and stacks the frames of an environment.

The contract stores these settings (`View`), so that the frames of a robot's camera are processed in
the same way.
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
"""Options of a world with frames, for `--world-options`: the fields of `View`, the size of a frame,
and whether it is grey."""


class Viewed(gymnasium.ObservationWrapper):
    """Wrapper that crops, scales and stacks the frames of an environment.

    Args:
        env: Environment with uint8 frames (height, width[, channels]), alone or as a part of a Dict
            observation.
        options: Values of some of the `OPTIONS`, by name.

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
        if (grey := options.get("grey", False)) not in (True, False):
            raise ValueError(f"`grey` must be true or false, got {grey!r}. Write grey=true.")
        self._is_grey = bool(grey) and channels == 3
        self._channels = channels
        channels = (1 if self._is_grey else channels) * self.view.stack
        self._framer = Framer(self.view, self._size, is_grey=self._is_grey)
        observation_space = spaces.Box(0, 255, (*self._size, channels), np.uint8)
        self.observation_space: spaces.Space = observation_space
        if self._part is not None:
            parts = dict(cast(spaces.Dict, env.observation_space).spaces)
            # As pairs: a dict would be sorted by name.
            self.observation_space = spaces.Dict(
                [*(parts | {self._part: observation_space}).items()]
            )

    def complete(self, contract: ObservationContract) -> ObservationContract:
        """Return an observation's contract with the view and the colour of these frames."""
        if isinstance(contract, DictContract):
            assert self._part is not None
            frames = cast(Any, self.complete(contract.parts[self._part]))
            return replace(contract, parts=contract.parts | {self._part: frames})
        assert isinstance(contract, FramesContract)
        channels = 1 if self._is_grey else self._channels
        colour = {1: "grey", 3: "RGB"}.get(channels, contract.colour)
        return replace(contract, colour=colour, view=self.view)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; copies of its first frame fill the stack."""
        self._framer.clear()
        return super().reset(**kwargs)

    def observation(self, observation: Any) -> Any:
        """Return the processed frame, with the other parts of the observation if there are any."""
        if self._part is None:
            return self._framer.see(observation)
        return {**observation, self._part: self._framer.see(observation[self._part])}


def _find_frames(space: spaces.Space) -> tuple[str | None, spaces.Box | None]:
    """Return name and space of the part with frames; the name is None if the space is no Dict."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {None: space}
    for name, part in parts.items():
        if isinstance(part, spaces.Box) and part.dtype == np.uint8 and len(part.shape) in (2, 3):
            return name, part
    return None, None
