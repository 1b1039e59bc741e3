"""Saliency maps of an audited episode: all methods for a few frames, the quick ones for all."""

from dataclasses import dataclass

import numpy as np
import torch

from ncp_control.audit.saliency import METHODS, saliency
from ncp_control.policy import Policy
from scripts.audit_episode import Audited

ACTION_STRIDE, NEURON_STRIDE = 3, 6
"""Every how many frames a map is computed; those between show the one before."""


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """The maps of an episode."""

    shown_frames: list[int]
    """Frames that the figure shows."""
    by_method: dict[str, np.ndarray]
    """Maps of the shown frames by method, each of shape (frames, height, width), in [0, 1]."""
    over_time: dict[str, np.ndarray]
    """Maps of every frame, shape (time, height, width), uint8, as the inspector names them."""


def compute_saliency(policy: Policy, audited: Audited, neurons: list[str]) -> Saliency:
    """Compute the maps that the figure and the inspector show.

    Raises:
        ValueError: If the policy has no camera.
    """
    shown = _telling_frames(audited)
    state, dt_s = audited.state_before(), audited.activity.dt_s[0]

    def maps(frames: np.ndarray, method: str, neuron: str | None = None) -> np.ndarray:
        index = torch.from_numpy(frames)
        return saliency(
            policy,
            audited.observations[frames],
            method,
            neuron=neuron,
            state=state[index],
            dt_s=dt_s[index],
        ).numpy()

    def every(stride: int, method: str, neuron: str | None = None) -> np.ndarray:
        frames = np.arange(0, len(audited.time_s), stride)
        levels = np.rint(255.0 * maps(frames, method, neuron)).astype(np.uint8)
        return levels.repeat(stride, axis=0)[: len(audited.time_s)]

    return Saliency(
        shown_frames=shown.tolist(),
        by_method={method: maps(shown, method) for method in METHODS},
        over_time={
            "VisualBackProp": every(ACTION_STRIDE, "visual_backprop"),
            "gradient": every(ACTION_STRIDE, "input_gradient"),
            "Grad-CAM": every(ACTION_STRIDE, "grad_cam"),
            **{
                f"gradient: {neuron}": every(NEURON_STRIDE, "input_gradient", neuron)
                for neuron in neurons
            },
        },
    )


def _telling_frames(audited: Audited) -> np.ndarray:
    """Return the frames of the sharpest left, the straightest and the sharpest right steering."""
    steering = audited.actions[:, 0]
    smooth = np.convolve(steering, np.ones(9) / 9, mode="same") if len(steering) > 9 else steering
    picks = [int(smooth.argmax()), int(np.abs(smooth).argmin()), int(smooth.argmin())]
    return np.array(list(dict.fromkeys(picks)))
