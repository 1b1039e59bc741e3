"""What a policy's arithmetic runs on: plain torch, its compiled C controller, or onnxruntime.

Each gives an object with the methods `act` and `reset` of `Policy`, and its `state`.
"""

from collections.abc import Callable

from ncp_control.loop.pilot import Controller
from ncp_control.policy import Policy
from ncp_control.registry import Registry

BACKENDS: Registry[Callable[[Policy], Controller]] = Registry("backend")
"""What builds a controller of a policy, by name."""


def make_controller(policy: Policy, backend: str = "torch") -> Controller:
    """Return what acts as a policy does.

    Args:
        policy: The policy.
        backend: A name in `BACKENDS`.

    Raises:
        ValueError: If the name is unknown, its library is not installed, or it cannot run the
            policy.
        RuntimeError: If there is no C compiler, or it fails.
    """
    return BACKENDS.find(backend)(policy.eval())


def _torch(policy: Policy) -> Controller:
    return policy


def _c(policy: Policy) -> Controller:
    from ncp_control.deploy.c.compiled import CController  # needs a compiler only when it is used

    return CController(policy)


def _onnx(policy: Policy) -> Controller:
    from ncp_control.deploy.onnx import OnnxController  # needs packages of an extra

    return OnnxController(policy)


for _name, _build in (("torch", _torch), ("c", _c), ("onnx", _onnx)):
    BACKENDS.register(_name, _build)
