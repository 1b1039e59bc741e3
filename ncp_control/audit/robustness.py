"""Robustness: effect of frame faults on actions and neurons, and largest steps of neurons.

Source of the largest steps: Lechner et al. 2020, max_t |x_i(t+1) − x_i(t)| of each neuron, sorted.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch

from ncp_control.audit import faults
from ncp_control.audit.activity import unit_activity
from ncp_control.audit.checks import check_finite, check_num_frames
from ncp_control.policy import Policy
from ncp_control.replay import look_inside


class FrameFault(Protocol):
    """Interface of a fault of camera frames."""

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the frames with the fault applied."""
        ...


FRAME_FAULTS: dict[str, FrameFault] = {
    **{
        f"pixel noise, variance {variance:g}": (
            lambda frames, rng, variance=variance: faults.add_pixel_noise(frames, variance, rng)
        )
        for variance in (0.1, 0.2, 0.3)
    },
    **{
        f"brightness × {factor:g}": (
            lambda frames, rng, factor=factor: faults.change_brightness(frames, factor)
        )
        for factor in (0.5, 1.5)
    },
    **{
        f"{share:.0%} of the frame hidden": (
            lambda frames, rng, share=share: faults.occlude(frames, share, rng)
        )
        for share in (0.05, 0.2)
    },
}
"""Frame faults by name."""

_CHUNK_FRAMES = 64
_LEAST_VARIATION = 1e-3
"""Deviation below which a neuron counts as constant, as a fraction of the largest deviation."""


@dataclass(frozen=True, kw_only=True)
class FaultResponse:
    """Effect of one fault, on the same frames in open loop.

    For an action that is a choice, the changes are those of the scores of the choices.
    """

    fault: str
    """Name of the fault."""
    action_rms: float
    """Root mean square change of the action."""
    action_largest: float
    """Largest change of an entry of the action."""
    state_rms: float
    """Root mean square change of the neurons, each relative to its deviation over the episode.
    Constant neurons are left out; NaN if all are constant."""


def fault_responses(
    policy: Policy,
    observations: np.ndarray,
    dt_s: np.ndarray,
    *,
    which: Mapping[str, FrameFault] = FRAME_FAULTS,
    seed: int = 0,
) -> list[FaultResponse]:
    """Run a policy on the same episode with each fault and compare actions and neurons.

    An occlusion changes its place every 64 frames.

    Args:
        policy: The policy, in evaluation mode.
        observations: Consecutive camera frames, shape (time, height, width, channels), uint8, or
            records that contain such frames.
        dt_s: Time elapsed before each frame [s], shape (time,).
        which: Faults by name.
        seed: Seed of the faults' randomness.

    Raises:
        ValueError: If the observations are not uint8 images, there are fewer than two, or an action
            or neuron is not finite.
    """
    frames = policy.frames_of(observations)
    if frames.ndim != 4 or frames.dtype != np.uint8:
        raise ValueError(
            "`frames` must be uint8 images of shape (time, height, width, channels), got"
            f" {frames.dtype} of shape {frames.shape}. Faults of frames need a camera."
        )
    check_num_frames("frames", frames, 2)
    actions, states = _respond(policy, observations, dt_s)
    deviation = states.std(axis=0)
    varies = deviation > _LEAST_VARIATION * deviation.max()
    responses = []
    for name, spoil in which.items():
        spoil_part = partial(spoil, rng=np.random.default_rng(seed))
        spoiled_actions, spoiled_states = _respond(policy, observations, dt_s, spoil_part)
        change = spoiled_actions - actions
        moved = (spoiled_states - states)[:, varies] / deviation[varies]
        responses.append(
            FaultResponse(
                fault=name,
                action_rms=float(np.sqrt(np.mean(change**2))),
                action_largest=float(np.abs(change).max()),
                state_rms=float(np.sqrt(np.mean(moved**2))) if varies.any() else math.nan,
            )
        )
    return responses


def largest_steps(states: np.ndarray) -> np.ndarray:
    """Return max_t |x_i(t+1) − x_i(t)| of every neuron, shape (neurons,).

    Args:
        states: Activity, shape (time, neurons), at least two frames.

    Raises:
        ValueError: If there are fewer than two frames or a value is not finite.
    """
    states = check_finite("states", states)
    check_num_frames("states", states, 2)
    return np.abs(np.diff(states, axis=0)).max(axis=0)


@torch.no_grad()
def _respond(
    policy: Policy,
    observations: np.ndarray,
    dt_s: np.ndarray,
    spoil: Callable[[np.ndarray], np.ndarray] = lambda frames: frames,
) -> tuple[np.ndarray, np.ndarray]:
    """Return limited actions and visible states over an episode, shapes (time, …)."""
    chunks = (
        observations[i : i + _CHUNK_FRAMES] for i in range(0, len(observations), _CHUNK_FRAMES)
    )
    spoiled = [policy.with_frames(part, spoil(policy.frames_of(part))) for part in chunks]
    _, activity = look_inside(policy, np.concatenate(spoiled), dt_s)
    actions = policy.limit(policy.respond(activity.outputs))[0]
    _, states = unit_activity(policy.circuit.cell, activity)
    return check_finite("actions", actions.cpu().numpy()), check_finite("states", states)
