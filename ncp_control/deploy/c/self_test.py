"""Test vectors of a controller's self-test: observations, elapsed times and expected actions.

The expected actions are those of the policy in double precision. Frames follow a rule that the test
program also implements, so they need no storage.
"""

import copy

import numpy as np
import torch

from ncp_control.cells.plain_numbers import to_float32
from ncp_control.deploy.c.senses import dequantize
from ncp_control.deploy.c.tables import defines, number, table
from ncp_control.loop.profile import InputProfile, statistics_of
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy
from ncp_control.records import join, numbers_in

NUM_STEPS = 16
TOLERANCES = {"float32": 1e-5, "int8": 2e-3}
"""Largest allowed difference from double precision; int8 weights come with coarser activations. If
torch in single precision differs more than a quarter of this, four times its difference."""


def self_test_frame(number: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a frame of the self-test: stripes and noise."""
    k = np.arange(np.prod(shape), dtype=np.uint32)
    noise = (k + np.uint32(number) * np.uint32(40503)) * np.uint32(2654435761)
    stripes = k // np.uint32(7 + 5 * number) * np.uint32(11)
    return ((stripes + (noise >> np.uint32(27))) & np.uint32(255)).astype(np.uint8).reshape(shape)


def draw_observations(policy: Policy, num_steps: int, seed: int = 0) -> np.ndarray:
    """Return test observations for a policy: frames, numbers around their mean, or both."""
    assert isinstance(policy, FramesPolicy | VectorPolicy)
    frames = None
    if isinstance(policy, FramesPolicy):
        frames = np.stack([self_test_frame(k, policy.frame_shape) for k in range(num_steps)])
        if not policy.numbers:
            return frames
    mean, std = policy.observation_mean, policy.observation_std
    draws = np.random.default_rng(seed).standard_normal((num_steps, len(mean)))
    numbers = to_float32(mean.double().numpy() + std.double().numpy() * draws)
    return numbers if frames is None else join(frames, numbers)


def draw_times(frame_s: float, num_steps: int, seed: int = 0) -> np.ndarray:
    """Return irregular elapsed times [s] around the nominal one; every fifth is 0."""
    draws = np.random.default_rng(seed + 1).uniform(0.3, 3.0, num_steps) * frame_s
    draws[4::5] = 0.0
    return draws.astype(np.float32)


@torch.no_grad()
def expected(
    policy: Policy,
    observations: np.ndarray,
    dt_s: np.ndarray,
    head_weights: str,
    dtype: torch.dtype = torch.float64,
) -> tuple[np.ndarray, np.ndarray]:
    """Return actions (steps, action) or scores (steps, output), and the last state (state,).

    They are computed by the policy in double precision, or in `dtype`. With int8 weights, the
    policy uses the values that the int8 weights stand for.
    """
    converted = copy.deepcopy(policy).to(dtype)
    if head_weights == "int8":
        assert isinstance(converted, FramesPolicy)
        dequantize(converted)
    times = torch.from_numpy(dt_s).to(dtype)[None]
    inputs = torch.from_numpy(observations)[None]
    actions, state = converted(inputs, dt_s=times)
    return policy.limit(actions[0]).numpy(), state[0].numpy()


def self_test_header(policy: Policy, head_weights: str, profile: InputProfile | None) -> str:
    """Return the header file with the test vectors."""
    observations = draw_observations(policy, NUM_STEPS)
    dt_s = draw_times(policy.circuit.frame_s, NUM_STEPS)
    actions, _ = expected(policy, observations, dt_s, head_weights)
    single, _ = expected(policy, observations, dt_s, head_weights, torch.float32)
    rounding = np.abs(single - actions).max()
    allowed = TOLERANCES[head_weights] * max(1.0, np.abs(actions).max())  # scores are unbounded
    tolerance = number(max(allowed, 4.0 * rounding))
    text = "/* Vectors of the self-test: what the policy does in double precision. */\n"
    text += defines({"SELF_TEST_STEPS": NUM_STEPS, "SELF_TEST_TOLERANCE": tolerance})
    if isinstance(policy, FramesPolicy):
        text += defines({"SELF_TEST_FRAMES": 1})
        if policy.numbers:
            text += defines({"SELF_TEST_NUMBERS": policy.numbers})
            text += table("self_test_numbers", numbers_in(observations, policy.frame_shape))
    else:
        text += table("self_test_observations", observations)
    text += table("self_test_dt_s", dt_s)
    name = "self_test_scores" if policy.choices else "self_test_actions"
    text += table(name, to_float32(actions))
    if profile is not None and policy.contract is not None:
        seen = policy.contract.observation
        distances = profile.distances(np.stack([statistics_of(one, seen) for one in observations]))
        text += defines({"SELF_TEST_DISTANCES": 1})
        text += table("self_test_distances", to_float32(distances))
    return text
