"""Every policy runs wherever its parameters are; see tests/ncp_control/test_devices.py."""

import pytest
import torch

from ncp_control import LTC, auto_ncp
from ncp_control.policy import VectorPolicy
from policies.driving import make_driving_policy


@pytest.mark.parametrize(("model", "head"), [("ncp", "light"), ("ncp", "paper"), ("lstm", "light")])
def test_a_driving_policy_stays_on_its_device(model, head):
    policy = make_driving_policy(model, head=head).to("meta")
    frames = torch.empty(1, 2, 78, 200, 3, dtype=torch.uint8, device="meta")
    actions, state = policy(frames)
    assert actions.is_meta and state.is_meta


def test_a_locomotion_policy_stays_on_its_device():
    cell = LTC(auto_ncp(8, 12, 2))
    policy = VectorPolicy(cell, observation_size=5, encoder=(8,)).to("meta")
    actions, state = policy(torch.empty(1, 2, 5, device="meta"))
    assert actions.is_meta and state.is_meta
