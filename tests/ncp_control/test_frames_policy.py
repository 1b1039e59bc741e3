"""The head in blocks while a policy on frames learns."""

import pytest
import torch

from ncp_control import LTC
from ncp_control.policy import FramesPolicy
from ncp_control.policy.frames import BLOCK_FRAMES
from ncp_control.wiring_rules import ncp19


@pytest.fixture
def seen(monkeypatch):
    """Numbers of frames that the head saw at once."""
    seen, perceive = [], FramesPolicy.perceive

    def spy(policy, frames):
        seen.append(len(frames))
        return perceive(policy, frames)

    monkeypatch.setattr(FramesPolicy, "perceive", spy)
    return seen


@pytest.mark.parametrize("head", ["light", "paper"])
def test_a_policy_learns_the_same_from_frames_in_blocks(seen, head):
    policy = FramesPolicy(LTC(ncp19(seed=0)), head=head, frame_shape=(30, 40, 3))
    frames = torch.randint(0, 256, (3, 25, 30, 40, 3), dtype=torch.uint8)

    def learn(features):
        policy.zero_grad()
        outputs, _ = policy.circuit(features)
        outputs.square().sum().backward()
        return features.detach(), [weight.grad.clone() for weight in policy.parameters()]

    features, gradients = learn(policy.features(frames))
    assert seen == [BLOCK_FRAMES, BLOCK_FRAMES, 75 - 2 * BLOCK_FRAMES]
    whole, expected = learn(policy.perceive(frames.flatten(0, 1)).unflatten(0, (3, 25)))
    torch.testing.assert_close(features, whole, rtol=1e-6, atol=1e-6)
    for found, wanted in zip(gradients, expected, strict=True):
        # Summed in another order, so the error goes with the largest entry.
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())


def test_a_policy_that_does_not_learn_sees_frames_in_blocks_too(seen):
    policy = FramesPolicy(LTC(ncp19(seed=0)), head="light")
    frames = torch.randint(0, 256, (2, 20, 78, 200, 3), dtype=torch.uint8)
    with torch.no_grad():
        found, _ = policy(frames)
        wanted = policy.circuit(policy.perceive(frames.flatten(0, 1)).unflatten(0, (2, 20)))[0]
    assert seen == [BLOCK_FRAMES, 40 - BLOCK_FRAMES, 40]
    torch.testing.assert_close(found, wanted)
