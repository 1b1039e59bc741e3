"""A policy's C controller in a separate process, as on a robot.

The program is `controller_pipe.c` of an export, compiled with `controller.c`; its first lines
describe its input and output. It keeps the state itself: each request has an observation, the time
since the previous one, and whether to reset the state first.
"""

import contextlib
import os
import select
import shlex
import signal
import subprocess
import time
import weakref
from typing import Any

import numpy as np

from ncp_control.deploy.naming import HEAD_WEIGHTS
from ncp_control.deploy.sensed import Sensed, action_of
from ncp_control.loop.pilot import ControllerLost
from ncp_control.policy import Policy
from ncp_control.policy.folder import weights_sha256

START_S = 10.0
"""Longest time to wait for the program's greeting [s]."""
REPLY_S = 1.0
"""Longest time to wait for a reply [s]; far longer than a control loop can wait."""
_NAME, _VERSION = b"ncp-pipe", 2


class ProgramController:
    """Controller with a policy's methods `act` and `reset`, computed by a program.

    The program ends with this object, or by `close`.

    Args:
        policy: The policy that was exported.
        command: Command that starts the program, e.g. "./controller_pipe", possibly with words in
            front of the program, e.g. "qemu-aarch64 ./controller_pipe".

    Raises:
        ValueError: If the command does not start, or is not a controller of this policy.

    Example:
        >>> controller = ProgramController(load("drive-ncp"), "./controller_pipe")
        >>> steering = controller.act(frame, dt_s=1 / 30)
    """

    def __init__(self, policy: Policy, command: str) -> None:
        self.command, self.frame_s = command, policy.circuit.frame_s
        self._sensed = Sensed.of(policy)
        self.head_weights = ""
        """Storage of the weights of the conv head, as the program tells it: float32 or int8."""
        cell = policy.circuit.cell
        kind = np.int32 if policy.choices else np.float32
        self._action = np.zeros(policy.action_size, kind)
        self._state = np.zeros(cell.state_size, np.float32)
        self._must_reset = True
        self._process = _start(command)
        self.close = weakref.finalize(self, _end, self._process)
        """End the program."""
        try:
            self._check_greeting(policy)
        except BaseException:
            self.close()
            raise

    @property
    def state(self) -> np.ndarray:
        """Last state that the program reported, shape (state,); it cannot be set."""
        view = self._state.view()
        view.flags.writeable = False
        return view

    @property
    def process_id(self) -> int:
        """Process id of the program."""
        return self._process.pid

    def act(
        self, observation: np.ndarray | dict[str, Any], dt_s: float | None = None
    ) -> np.ndarray:
        """Return the action for one observation and update the state; see `Policy.act`.

        Raises:
            ValueError: If the observation or the time is invalid, as in `Policy.act`, or the state
                is not finite or outside of its certified bounds; the state is then reset.
            ControllerLost: If the program has ended, or does not answer within `REPLY_S`.
        """
        converted = self._sensed.read(observation)
        elapsed_s = self.frame_s if dt_s is None else dt_s
        head = np.uint32(self._must_reset).tobytes() + np.float32(elapsed_s).tobytes()
        size = 4 + self._action.nbytes + self._state.nbytes
        reply = self._ask(head + converted.tobytes(), size, REPLY_S)
        self._must_reset = False
        status = int(np.frombuffer(reply[:4], np.int32)[0])
        self._state[:] = np.frombuffer(reply[4 + self._action.nbytes :], np.float32)
        self._sensed.check_status(status, converted, elapsed_s)
        self._action[:] = np.frombuffer(reply[4 : 4 + self._action.nbytes], self._action.dtype)
        return action_of(self._action)

    def reset(self) -> None:
        """Reset the state at the next request; call this when an episode begins."""
        self._must_reset = True
        self._state[:] = 0.0

    def _check_greeting(self, policy: Policy) -> None:
        """Read the program's greeting, and compare it with the policy.

        Raises:
            ValueError: If it is the controller of another policy, or not a controller.
        """
        sizes = (self._sensed.num_bytes, self._action.size, self._state.size)
        about = np.array([_VERSION, *sizes], np.uint32).tobytes()
        wanted = _NAME + about + weights_sha256(policy).encode()
        head = len(_NAME) + 4
        try:
            greeting = self._ask(b"", head, START_S)
            if greeting == wanted[:head]:  # the greeting of another version may be shorter
                greeting += self._ask(b"", len(wanted) - head + 8, START_S)
        except ControllerLost as error:
            raise ValueError(
                f"`backend` must be a program made of controller_pipe.c, got {self.command!r}:"
                f" {error}."
            ) from None
        if greeting[:head] != wanted[:head]:
            raise ValueError(
                f"`backend` must be a program made of controller_pipe.c, got {self.command!r},"
                f" which begins with {greeting!r}. Export the policy again and compile it."
            )
        self.head_weights = greeting[len(wanted) :].rstrip(b"\0").decode("ascii", "replace")
        if greeting[: len(wanted)] != wanted or self.head_weights not in HEAD_WEIGHTS:
            raise ValueError(
                f"`backend` must be a controller of this policy, got {self.command!r}, which has"
                " other weights or sizes. Export the policy again and compile it."
            )

    def _ask(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        """Send a request and return the reply.

        Raises:
            ControllerLost: If the program has ended, or does not answer in time.
        """
        if not self.close.alive:
            raise ControllerLost("the program was ended")
        assert self._process.stdin is not None and self._process.stdout is not None
        deadline_s = time.monotonic() + timeout_s
        to, source = self._process.stdin.fileno(), self._process.stdout.fileno()
        left, reply = memoryview(request), bytearray()
        try:
            while left:
                self._wait(to, select.POLLOUT, deadline_s)
                left = left[os.write(to, left) :]
            while len(reply) < reply_size:
                self._wait(source, select.POLLIN, deadline_s)
                part = os.read(source, reply_size - len(reply))
                if not part:
                    raise BrokenPipeError
                reply += part
        except BrokenPipeError:
            raise ControllerLost(f"the program has ended {self._ending()}") from None
        return bytes(reply)

    def _wait(self, descriptor: int, event: int, deadline_s: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(1e3 * (deadline_s - time.monotonic()), 0.0)):
            _kill(self._process)  # a later reply would belong to an old request
            self.close()
            raise ControllerLost("the program does not answer")

    def _ending(self) -> str:
        """Describe how the program ended."""
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "its output"
        return f"by signal {-status}" if status < 0 else f"with status {status}"


def _start(command: str) -> subprocess.Popen[bytes]:
    try:
        words = shlex.split(command)
    except ValueError:  # an unclosed quote
        words = []
    if not words:
        raise ValueError(
            f"`backend` must name a program, got {f'program:{command}'!r}. Write"
            " program:./controller_pipe."
        )
    try:
        process = subprocess.Popen(
            words,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the loop, which stops the body first
        )
    except OSError as error:
        raise ValueError(
            f"`backend` must be a program that starts, got {words[0]!r}: {error.strerror}. A path"
            " with spaces needs quotes of its own, as in \"program:'my folder/controller_pipe'\"."
        ) from error
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)  # a hanging program does not read its input
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close a program's input and output, which ends it; kill it if it is still running."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and its child processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
