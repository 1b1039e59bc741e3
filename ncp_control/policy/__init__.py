"""Policies: observations and elapsed time in, actions out, with a memory in between.

`load` reads any saved policy, whatever its kind; `Policy` is what all kinds share.
"""

from ncp_control.policy.base import Policy, at_least_single, to_numpy
from ncp_control.policy.frames import FramesPolicy
from ncp_control.policy.motion import MotionHead
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
