"""Saliency maps of an audited episode: all methods for a few frames, the quick ones for all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ncp_control.audit.inspection import maps_of_frames, maps_over_time
from ncp_control.audit.saliency import METHODS
from ncp_control.episode import Episode
from ncp_control.policy import Policy

ACTION_STRIDE, NEURON_STRIDE = 3, 6
"""Number of frames between two computed maps; frames in between repeat the last map."""


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """The maps of an episode."""

    shown_frames: list[int]
    """Indices of the frames in the figure."""
    by_method: dict[str, np.ndarray]
    """Maps of the shown frames by method, each of shape (frames, height, width), in [0, 1]."""
    over_time: dict[str, np.ndarray]
    """Maps of every frame by name in the inspector, each of shape (time, height, width), uint8."""
    refused: list[str]
    """A sentence for each map that could not be computed."""


def compute_saliency(policy: Policy, audited: Episode, neurons: list[str]) -> Saliency:
    """Compute the maps that the figure and the inspector show.

    Raises:
        ValueError: If no method can compute a map.
    """
    indices = _telling_frames(audited)
    refused: dict[str, ValueError] = {}

    def gather(makers: dict[str, Callable[[], np.ndarray]]) -> dict[str, np.ndarray]:
        made = {}
        for name, make in makers.items():
            try:
                made[name] = make()
            except ValueError as error:
                refused[name] = error
        return made

    by_method = gather(
        {method: partial(maps_of_frames, policy, audited, indices, method) for method in METHODS}
    )
    if not by_method:
        raise next(iter(refused.values()))
    quick = {
        "VisualBackProp": "visual_backprop",
        "gradient": "input_gradient",
        "Grad-CAM": "grad_cam",
    }
    every = partial(maps_over_time, policy, audited)
    over_time = gather(
        {
            name: partial(every, method, stride=ACTION_STRIDE)
            for name, method in quick.items()
            if method in by_method
        }
    )
    if "input_gradient" in by_method:
        over_time |= gather(
            {
                f"gradient: {neuron}": partial(
                    every, "input_gradient", stride=NEURON_STRIDE, neuron=neuron
                )
                for neuron in neurons
            }
        )
    return Saliency(
        shown_frames=indices.tolist(),
        by_method=by_method,
        over_time=over_time,
        refused=[f"{name}: not made. {error}" for name, error in refused.items()],
    )


def _telling_frames(audited: Episode) -> np.ndarray:
    """Return the indices of the sharpest left, the straightest and the sharpest right steering."""
    steering = audited.actions[:, 0]
    smooth = np.convolve(steering, np.ones(9) / 9, mode="same") if len(steering) > 9 else steering
    picks = [int(smooth.argmax()), int(np.abs(smooth).argmin()), int(smooth.argmin())]
    return np.array(list(dict.fromkeys(picks)))
