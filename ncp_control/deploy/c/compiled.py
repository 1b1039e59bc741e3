"""A policy's C controller, compiled for this machine, with the methods of the policy."""

import ctypes
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from ncp_control.deploy.c.export import Controller, to_c
from ncp_control.kernels.build import BuildError, find_compiler
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy
from ncp_control.records import frames_in, numbers_in, record_size

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SAME_BITS = ("-ffp-contract=off",)
"""Without this, a compiler may round products and sums together, and bits would differ."""
FAST = ("-O3", "-march=native", "-DWIDE_REGISTERS", "-fno-math-errno", "-fno-trapping-math")
_TIMEOUT_S = 300.0
_OK, _BAD_INPUT = 0, 1


_SIZE = """
unsigned controller_workspace_bytes(void);
unsigned controller_workspace_bytes(void)
{
    return (unsigned)sizeof(struct controller_workspace);
}
"""
"""Tells Python how much room to give."""


class CController:
    """A policy that acts through its C source, with the same methods: `act` and `reset`.

    Args:
        policy: The policy; its weights are copied.
        head_weights: How the weights of a conv head are stored: float32 or int8.
        flags: How to compile, beside what warnings and equal bits need.

    Raises:
        ValueError: If a part of the policy has no C code.
        RuntimeError: If there is no C compiler, or it fails.

    Example:
        >>> steering = CController(load("drive-ncp")).act(frame, dt_s=1 / 30)
    """

    def __init__(
        self, policy: Policy, *, head_weights: str = "float32", flags: tuple[str, ...] = FAST
    ) -> None:
        controller = to_c(policy, head_weights=head_weights)
        library = _compile(controller, flags)
        self._step = library.controller_step
        self._frame_shape: tuple[int, int, int] | None = None
        """Shape of the frame in a record, if records are sensed."""
        self._time_constants = getattr(library, "controller_time_constants", None)
        self.frame_s = policy.circuit.frame_s
        cell = policy.circuit.cell
        if isinstance(policy, FramesPolicy):
            self._shape, self._dtype = policy.frame_shape, np.uint8
            if policy.numbers:
                self._shape = (record_size(policy.frame_shape, policy.numbers),)
                self._frame_shape = policy.frame_shape
        else:
            assert isinstance(policy, VectorPolicy)
            self._shape, self._dtype = (policy.observation_size,), np.float32
        self._action = np.zeros(cell.output_size, np.float32)
        self._workspace = np.zeros(library.controller_workspace_bytes(), np.uint8)
        self.state = np.zeros(cell.state_size, np.float32)
        """What is remembered; it may be set."""

    def act(self, observation: np.ndarray, dt_s: float | None = None) -> np.ndarray:
        """Act on one observation and remember it; see `Policy.act`.

        Raises:
            ValueError: If the observation or the time is refused, as `Policy.act` does, or the
                state is no longer finite; then all is forgotten.
        """
        observation = np.ascontiguousarray(np.atleast_1d(observation))
        if observation.shape != self._shape or (
            self._dtype == np.uint8 and observation.dtype != np.uint8
        ):
            raise ValueError(
                f"`observation` must be {np.dtype(self._dtype)} of shape {self._shape}, got"
                f" {observation.dtype} of shape {observation.shape}. Convert it first."
            )
        observation = observation.astype(self._dtype, copy=False)
        elapsed_s = self.frame_s if dt_s is None else dt_s
        arrays = (self.state, self._workspace, *self._sensed(observation))
        status = self._step(
            *(array.ctypes.data_as(ctypes.c_void_p) for array in arrays[:3]),
            ctypes.c_float(elapsed_s),
            self._action.ctypes.data_as(ctypes.c_void_p),
        )
        if status != _OK:
            is_bad = status == _BAD_INPUT
            cause = (
                "finite numbers, and a time >= 0" if is_bad else "such that the state stays finite"
            )
            raise ValueError(
                f"`observation` and `dt_s` must be {cause}, got {elapsed_s:g} s and an observation"
                f" from {observation.min():g} to {observation.max():g}."
            )
        return self._action.copy()

    def _sensed(self, observation: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what C takes as the observation, and what must live as long as that."""
        if self._frame_shape is None:
            return (observation,)
        frame = np.ascontiguousarray(frames_in(observation, self._frame_shape))
        numbers = numbers_in(observation, self._frame_shape)
        struct = np.zeros((), [("frame", np.uintp), ("numbers", np.float32, numbers.shape)])
        struct["frame"], struct["numbers"] = frame.ctypes.data, numbers
        return struct, frame

    def time_constants_s(self) -> np.ndarray:
        """Return the time constant [s] of each entry of the state after the last step.

        Raises:
            ValueError: If the cell has none.
        """
        if self._time_constants is None:
            raise ValueError(
                "`policy` must have time constants, got a cell without. Ask one with an LTC."
            )
        taus = np.full(len(self.state), np.nan, np.float32)
        arrays = (self.state, self._workspace, taus)
        self._time_constants(*(array.ctypes.data_as(ctypes.c_void_p) for array in arrays))
        return taus

    def reset(self) -> None:
        """Forget everything `act` has seen: call it when an episode begins."""
        self.state[:] = 0.0


def _compile(controller: Controller, flags: tuple[str, ...]) -> ctypes.CDLL:
    """Compile and load a controller; the files are gone when it is loaded."""
    with tempfile.TemporaryDirectory(prefix="ncp-control-") as name:
        controller.write(name)
        library = Path(name) / f"{controller.name}.so"
        source = str(Path(name) / f"{controller.name}.c")
        with open(source, "a", encoding="utf-8") as file:
            file.write(_SIZE)
        options = [*WARNINGS, *SAME_BITS, *flags, "-shared", "-fPIC", source, "-o", str(library)]
        run_compiler([*find_compiler(), *options])
        loaded = ctypes.CDLL(str(library))
    loaded.controller_step.restype = ctypes.c_int
    if hasattr(loaded, "controller_time_constants"):
        loaded.controller_time_constants.restype = None
    return loaded


def run_compiler(command: list[str]) -> str:
    """Run a compiler and return what it prints.

    Raises:
        RuntimeError: If it fails.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"`{shlex.join(command[:1])}` does not run: {error}") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line]
        raise BuildError(
            f"`{shlex.join(command[:1])}` could not compile the controller:"
            f" {(said or [done.stderr])[0][:300]}"
        )
    return done.stdout
