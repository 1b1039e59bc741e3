"""A policy's C controller, compiled for this machine, with the methods of the policy."""

import ctypes
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ncp_control.deploy.c.export import CSource, to_c
from ncp_control.deploy.c.faults import FAULTS
from ncp_control.deploy.sensed import Sensed, action_of
from ncp_control.kernels.build import BuildError, find_compiler
from ncp_control.loop.profile import InputProfile
from ncp_control.policy import Policy

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SAME_BITS = ("-ffp-contract=off",)
"""Prevents fused multiply-add, which rounds differently and would change bits."""
FAST = ("-O3", "-march=native", "-DWIDE_REGISTERS", "-fno-math-errno", "-fno-trapping-math")
_TIMEOUT_S = 300.0
_SIZE = """
unsigned controller_workspace_bytes(void);
unsigned controller_workspace_bytes(void)
{
    return (unsigned)sizeof(struct controller_workspace);
}
"""
"""C function that returns the size of the workspace, for Python."""


class CController:
    """Controller with a policy's methods `act` and `reset`, computed by compiled C.

    Args:
        policy: The policy; its weights are copied.
        head_weights: Storage of the weights of a conv head: float32 or int8.
        profile: Statistics of inputs in good driving, for `faults`.
        flags: Compiler flags, besides those for warnings and identical bits.

    Raises:
        ValueError: If a part of the policy has no C code.
        RuntimeError: If there is no C compiler, or it fails.

    Example:
        >>> steering = CController(load("drive-ncp")).act(frame, dt_s=1 / 30)
    """

    def __init__(
        self,
        policy: Policy,
        *,
        head_weights: str = "float32",
        profile: InputProfile | None = None,
        flags: tuple[str, ...] = FAST,
    ) -> None:
        controller = to_c(policy, head_weights=head_weights, profile=profile)
        library = _compile(controller, flags)
        self._step = library.controller_step
        self._time_constants = getattr(library, "controller_time_constants", None)
        self._scores = getattr(library, "controller_scores", None)
        self._faults = library.controller_faults
        self.head_weights = head_weights
        cell = policy.circuit.cell
        self._num_outputs, self.frame_s = cell.output_size, cell.frame_s
        self._sensed = Sensed.of(policy)
        self._action = np.zeros(policy.action_size, np.int32 if policy.choices else np.float32)
        self._workspace = np.zeros(library.controller_workspace_bytes(), np.uint8)
        self.state = np.zeros(cell.state_size, np.float32)
        """Hidden state, shape (state,), float32; it may be set."""

    def act(
        self, observation: np.ndarray | dict[str, Any], dt_s: float | None = None
    ) -> np.ndarray:
        """Return the action for one observation and update the state; see `Policy.act`.

        Raises:
            ValueError: If the observation or the time is invalid, as in `Policy.act`, or the state
                is not finite or outside of its certified bounds; the state is then reset.
        """
        converted = self._sensed.read(observation)
        elapsed_s = self.frame_s if dt_s is None else dt_s
        arrays = (self.state, self._workspace, *self._pointed_at(converted))
        status = self._step(
            *(array.ctypes.data_as(ctypes.c_void_p) for array in arrays[:3]),
            ctypes.c_float(elapsed_s),
            self._action.ctypes.data_as(ctypes.c_void_p),
        )
        self._sensed.check_status(status, converted, elapsed_s)
        return action_of(self._action)

    def _pointed_at(self, observation: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the observation as C takes it, then arrays that must stay alive with it."""
        if self._sensed.frame_shape is None:
            return (observation,)
        frame, numbers = self._sensed.parts(observation)
        frame = np.ascontiguousarray(frame)
        struct = np.zeros((), [("frame", np.uintp), ("numbers", np.float32, numbers.shape)])
        struct["frame"], struct["numbers"] = frame.ctypes.data, numbers
        return struct, frame

    def faults(self, observation: np.ndarray | dict[str, Any]) -> tuple[tuple[str, ...], float]:
        """Return the faults of an observation, and its distance from good driving.

        The faults are those of `ncp_control.loop.monitor` that a single observation can have. The
        distance is about 1 for usual observations, and 0 where nothing was compared.

        Raises:
            ValueError: If the observation has another shape or type.
        """
        pointed_at = self._pointed_at(self._sensed.read(observation))
        distance = ctypes.c_float()
        arrays = (self._workspace, pointed_at[0])
        found = self._faults(
            *(array.ctypes.data_as(ctypes.c_void_p) for array in arrays), ctypes.byref(distance)
        )
        return tuple(name for name, code in FAULTS.items() if found & code), distance.value

    def scores(self) -> np.ndarray:
        """Return the scores of all choices of all entries after the last step, shape (outputs,).

        Raises:
            ValueError: If the policy commands numbers.
        """
        if self._scores is None:
            raise ValueError("`policy` must command choices to have scores, got numbers.")
        scores = np.zeros(self._num_outputs, np.float32)
        self._scores(*(array.ctypes.data_as(ctypes.c_void_p) for array in (self.state, scores)))
        return scores

    def time_constants_s(self) -> np.ndarray:
        """Return the time constant [s] of each entry of the state after the last step.

        Raises:
            ValueError: If the cell has no time constants.
        """
        if self._time_constants is None:
            raise ValueError(
                "`policy` must have time constants, got a cell without. Use a policy with an LTC."
            )
        taus = np.full(len(self.state), np.nan, np.float32)
        arrays = (self.state, self._workspace, taus)
        self._time_constants(*(array.ctypes.data_as(ctypes.c_void_p) for array in arrays))
        return taus

    def reset(self) -> None:
        """Reset the hidden state; call this when an episode begins."""
        self.state[:] = 0.0


def _compile(controller: CSource, flags: tuple[str, ...]) -> ctypes.CDLL:
    """Compile and load a controller; its files are deleted once it is loaded."""
    with tempfile.TemporaryDirectory(prefix="ncp-control-") as name:
        controller.write(name)
        library = Path(name) / f"{controller.name}.so"
        source = str(Path(name) / f"{controller.name}.c")
        with open(source, "a", encoding="utf-8") as file:
            file.write(_SIZE)
        options = [*WARNINGS, *SAME_BITS, *flags, "-shared", "-fPIC", source, "-o", str(library)]
        run_compiler([*find_compiler(), *options])
        return ctypes.CDLL(str(library))


def run_compiler(command: list[str]) -> str:
    """Run a compiler and return its output.

    Raises:
        RuntimeError: If the compiler fails.
    """
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"`{shlex.join(command[:1])}` does not run: {error}") from error
    if result.returncode != 0:
        errors = [line for line in result.stderr.splitlines() if "error" in line]
        raise BuildError(
            f"`{shlex.join(command[:1])}` could not compile the controller:"
            f" {(errors or [result.stderr])[0][:300]}"
        )
    return result.stdout
