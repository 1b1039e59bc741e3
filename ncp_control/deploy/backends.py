"""Back ends, by name: the code that computes a policy's actions.

| back end          | what computes                                                       |
|-------------------|---------------------------------------------------------------------|
| `torch`           | the policy itself, in PyTorch                                       |
| `c`, `c:int8`     | its C controller, compiled now; with int8 weights of a conv head    |
| `onnx`            | its ONNX model, in ONNX Runtime                                     |
| `onnx:FILE`       | an ONNX model that was exported before                              |
| `program:COMMAND` | its C controller in another process, started by this command        |

Each back end gives an object with the methods `act` and `reset` of `Policy`, and its `state`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ncp_control.acting.closed_loop import Info
from ncp_control.loop.pilot import Controller
from ncp_control.policy import Policy
from ncp_control.policy.folder import weights_sha256
from ncp_control.registry import Registry

BACKENDS: Registry[Callable[[Policy, str], Controller]] = Registry("backend")
"""Functions that build a controller, by name. They take the policy and the text after the colon of
the back end's name."""


def make_controller(policy: Policy, backend: str = "torch") -> Controller:
    """Return a controller that computes the actions of a policy on a back end.

    Args:
        policy: The policy.
        backend: Name in `BACKENDS`, possibly with a text after a colon, e.g. "c:int8".

    Raises:
        ValueError: If the name is unknown, its library is not installed, or it cannot run the
            policy, e.g. because there is no C compiler.
    """
    name, _, words = backend.partition(":")
    return BACKENDS.find(name)(policy.eval(), words)


class ControllerPilot:
    """Pilot whose actions come from a controller, in one world at a time.

    Args:
        controller: Controller that acts. It has a single state, so it cannot serve several worlds.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return the action for the only world, shape (1, action)."""
        (observation,), (elapsed_s,), (is_first,) = observations, dt_s, reset
        if is_first:
            self.controller.reset()
        return self.controller.act(observation, float(elapsed_s))[None]


def _torch(policy: Policy, words: str) -> Controller:
    if words:
        raise ValueError(f"`backend` must be 'torch' alone, got {f'torch:{words}'!r}.")
    return policy


def _c(policy: Policy, words: str) -> Controller:
    from ncp_control.deploy.c.compiled import CController  # needs a compiler only when used
    from ncp_control.kernels.build import BuildError

    spoken = f"c:{words}" if words else "c"
    try:
        return CController(policy, head_weights=words or "float32")
    except BuildError as error:
        raise ValueError(
            f"`backend` must be one that works here, got {spoken!r}: {str(error).rstrip('.')}. Or"
            " choose torch or onnx."
        ) from error


def _onnx(policy: Policy, words: str) -> Controller:
    from ncp_control.deploy.onnx import OnnxController  # needs packages of an extra

    if not words:
        return OnnxController(policy)
    controller = OnnxController(Path(words))
    digest = controller.properties["weights_sha256"]
    if digest != weights_sha256(policy):
        raise ValueError(
            f"`backend` must be a model of this policy, got {words!r}, which has other weights."
            " Export the policy again."
        )
    return controller


def _program(policy: Policy, words: str) -> Controller:
    from ncp_control.deploy.program import ProgramController

    return ProgramController(policy, words)


for _name, _build in (("torch", _torch), ("c", _c), ("onnx", _onnx), ("program", _program)):
    BACKENDS.register(_name, _build)
