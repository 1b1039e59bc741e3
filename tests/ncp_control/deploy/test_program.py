"""Exported controllers in a process of their own."""

import os
import shlex
import signal
import sys

import numpy as np
import pytest
import torch

from ncp_control import GRU, LTC, NCP19, FramesPolicy, VectorPolicy
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.deploy import program
from ncp_control.deploy.c import to_c
from ncp_control.deploy.c.compiled import SAME_BITS, WARNINGS, CController, run_compiler
from ncp_control.deploy.c.self_test import draw_observations, draw_times
from ncp_control.deploy.program import ProgramController
from ncp_control.kernels.build import find_compiler
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.link import Reading
from ncp_control.loop.pilot import ControllerLost
from ncp_control.loop.realtime import drive

QUICK = ("-O1",)


def numbers():
    return VectorPolicy(LTC(NCP19), observation_size=32).eval()


def choices():
    cell = GRU(3, 6, 5, frame_s=0.1)
    return VectorPolicy(cell, observation_size=3, choices=(2, 3)).eval()


def frames(count=0):
    cell = GRU(32 + count, 6, 1, frame_s=0.1)
    return FramesPolicy(cell, head="light", frame_shape=(20, 24, 1), numbers=count).eval()


@pytest.fixture
def compiled(tmp_path):
    """Export a policy, compile it with its pipe, and return the path of the program."""

    def make(policy, **settings):
        to_c(policy, **settings).write(tmp_path)
        sources = [str(tmp_path / f"controller{end}.c") for end in ("", "_pipe")]
        path = str(tmp_path / "controller")
        run_compiler([*find_compiler(), *WARNINGS, *SAME_BITS, *QUICK, *sources, "-o", path])
        return shlex.quote(path)

    return make


@pytest.fixture
def walker(compiled):
    torch.manual_seed(0)
    policy = numbers()
    policy.contract = Contract(
        observation=VectorContract(entries=(Entry(name="x"),) * 32),
        action=(ActionContract(name="steering"),),
        frame_s=policy.circuit.frame_s,
    )
    return policy, ProgramController(policy, compiled(policy))


@pytest.mark.parametrize(
    "make", [numbers, choices, frames, lambda: frames(2)], ids=["numbers", "choices", "f", "record"]
)
def test_a_program_gives_the_bits_of_the_controller_in_this_process(make, compiled):
    torch.manual_seed(0)
    policy = make()
    here, there = CController(policy, flags=QUICK), ProgramController(policy, compiled(policy))
    seen, dt_s = draw_observations(policy, 12), draw_times(policy.circuit.frame_s, 12)
    for k, (one, elapsed_s) in enumerate(zip(seen, dt_s, strict=True)):
        if k == 7:
            here.reset(), there.reset()
        wanted, found = (who.act(one, float(elapsed_s)) for who in (here, there))
        assert wanted.dtype == found.dtype
        np.testing.assert_array_equal(wanted, found)
        np.testing.assert_array_equal(here.state, there.state)


def test_bad_input_is_refused_and_changes_nothing(walker):
    policy, controller = walker
    wanted = [policy.act(np.ones(32, np.float32), 0.1) for _ in range(2)]
    found = [controller.act(np.ones(32), 0.1)]
    with pytest.raises(ValueError, match=r"`observation` must be float32 of shape \(32,\)"):
        controller.act(np.ones(3))
    for seen, dt_s in ((np.full(32, np.nan), 0.1), (np.ones(32), -1.0)):
        with pytest.raises(ValueError, match="must be finite numbers, and a time >= 0"):
            controller.act(seen, dt_s)
    found.append(controller.act(np.ones(32), 0.1))
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    with pytest.raises(ValueError, match="read-only"):
        controller.state[:] = 0.0


def test_a_program_tells_how_the_weights_of_its_head_are_stored(compiled, walker):
    policy = frames()
    for head_weights in ("float32", "int8"):
        controller = ProgramController(policy, compiled(policy, head_weights=head_weights))
        assert controller.head_weights == head_weights
        assert controller.act(np.zeros((20, 24, 1), np.uint8)).shape == (1,)
        controller.close()  # before the next is compiled in its place
    assert walker[1].head_weights == "float32"


def test_a_program_of_another_version_of_the_protocol_is_refused_at_once():
    code = (
        "import sys, time; sys.stdout.buffer.write(b'ncp-pipe' + bytes([1, 0, 0, 0]) + b'x' * 76);"
        "sys.stdout.flush(); time.sleep(99)"
    )
    with pytest.raises(ValueError, match="which begins with b'ncp-pipe.x01.*Export the policy"):
        ProgramController(numbers(), f"{sys.executable} -c {shlex.quote(code)}")


def test_a_controller_of_another_policy_is_refused(compiled):
    path = compiled(numbers())
    with pytest.raises(ValueError, match="must be a controller of this policy, got .* other weig"):
        ProgramController(numbers(), path)
    with pytest.raises(ValueError, match="must be a controller of this policy"):
        ProgramController(choices(), path)


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ("", "`backend` must name a program, got 'program:'"),
        ("'", "`backend` must name a program"),
        ("/no/such/program", "must be a program that starts, got .*: No such file"),
        ("false", "made of controller_pipe.c, got 'false': the program has ended with status 1"),
        (f"{sys.executable} -c 'print(\"x\" * 200)'", "which begins with b'xxxxxxxxxxxx'. Export"),
    ],
)
def test_what_is_no_controller_is_refused(command, rule):
    with pytest.raises(ValueError, match=rule):
        ProgramController(numbers(), command)


def test_a_program_that_hangs_is_lost(walker, monkeypatch):
    _, controller = walker
    monkeypatch.setattr(program, "REPLY_S", 0.1)
    os.kill(controller.process_id, signal.SIGSTOP)
    try:
        with pytest.raises(ControllerLost, match="does not answer"):
            controller.act(np.ones(32), 0.1)
        with pytest.raises(ControllerLost, match="was ended"):
            controller.act(np.ones(32), 0.1)
    finally:
        assert controller._process.poll() == -signal.SIGKILL


class Body:
    """A link that shows the same numbers again and again, and kills the controller once."""

    def __init__(self, contract, clock, controller, kill_at):
        self.contract, self.clock, self.controller = contract, clock, controller
        self.left, self.sent, self.is_stopped = kill_at, 0, False

    def read(self, timeout_s):
        self.left -= 1
        if self.left == 0:
            os.kill(self.controller.process_id, signal.SIGKILL)
        return Reading(observation=np.ones(32, np.float32), time_s=self.clock.now_s())

    def send(self, command):
        self.sent, self.is_stopped = self.sent + 1, False

    def stop(self):
        self.is_stopped = True


@pytest.mark.parametrize("kill_at", [1, 5])
def test_killing_the_controller_ends_the_drive_in_a_safe_stop(walker, kill_at):
    policy, controller = walker
    clock = SimulatedClock()
    body = Body(policy.contract, clock, controller, kill_at)
    done = drive(controller, policy.contract, body, clock=clock)
    assert done.ended == "the controller was lost: the program has ended by signal 9"
    assert done.is_safe_stop and body.is_stopped and body.sent == kill_at - 1
    assert sum(done.to_json()["ticks_at_level"].values()) == kill_at - 1


def test_the_program_ends_with_its_controller(walker):
    _, controller = walker
    process = controller._process
    controller.close()
    assert process.returncode == 0
