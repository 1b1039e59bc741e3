"""Policies: map observations and elapsed times to actions, with a hidden state.

`load` reads any saved policy; `Policy` is the base class.
"""

from ncp_control.policy.base import Policy
from ncp_control.policy.frames import FramesPolicy
from ncp_control.policy.motion import MotionHead
from ncp_control.policy.precision import at_least_single, to_numpy
from ncp_control.policy.shipped import load, policy_folder, shipped_policies
from ncp_control.policy.vectors import VectorPolicy

__all__ = [
    "FramesPolicy",
    "MotionHead",
    "Policy",
    "VectorPolicy",
    "at_least_single",
    "load",
    "policy_folder",
    "shipped_policies",
    "to_numpy",
]
