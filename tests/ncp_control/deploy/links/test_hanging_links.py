"""Links whose own code does not return, and a pipe to their process that is full."""

import json
import multiprocessing
import threading
import time

import numpy as np
import pytest

from ncp_control.deploy.links.hosted import Host, HostedLink
from ncp_control.deploy.links.messages import receive_message, send_message
from ncp_control.loop.clocks import RealClock
from ncp_control.loop.link import LinkLost, Reading


class Hanging:
    """A link whose second `read` does not return until `released` is set."""

    def __init__(self):
        self.released, self.called, self.reads = threading.Event(), [], 0
        self.is_stopped = threading.Event()

    def read(self, timeout_s):
        time.sleep(timeout_s)
        self.reads += 1
        if self.reads == 2:
            self.released.wait(20.0)
        return Reading(observation=None, time_s=0.0, info={"speed_mps": 0.0})

    def send(self, command):
        self.called.append((threading.current_thread().name, float(command[0])))

    def stop(self):
        self.called.append((threading.current_thread().name, "stop"))
        self.is_stopped.set()


@pytest.fixture
def hanging(tmp_path):
    """A host in a thread whose link hangs, the loop's end of its pipe, and the link."""
    link, (ours, theirs) = Hanging(), multiprocessing.Pipe()
    host = Host(theirs, link, 0.2, tmp_path / "log.jsonl", RealClock())
    thread = threading.Thread(target=host.run, name="host", daemon=True)
    thread.start()
    yield thread, ours, link
    link.released.set()
    ours.close()


def test_a_body_is_stopped_while_its_links_code_hangs(hanging, tmp_path):
    thread, pipe, link = hanging
    assert link.is_stopped.wait(10.0), "the guard stops it"
    assert {name for name, _ in link.called} == {"stopper"}
    for value in (0.1, 0.2, 0.3):
        send_message(pipe, "send", array=np.array([value]))
    link.released.set()
    end_s = time.monotonic() + 10.0
    while ("host", 0.3) not in link.called and time.monotonic() < end_s:
        time.sleep(0.01)
    of_host = [what for name, what in link.called if name == "host"]
    assert of_host[0] == 0.3, "what was commanded in between is over"
    pipe.close()
    thread.join(20.0)
    assert not thread.is_alive()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "watchdog: the link's own code hangs"


@pytest.mark.parametrize("fault", ["waits for a lock", "raises"])
def test_a_link_that_never_returns_is_lost(hanging, monkeypatch, fault):
    exits = []

    def leave(status):
        exits.append(status)
        threading.Event().wait()  # the real one does not come back, either

    def stop():
        stops.append(threading.current_thread().name)
        if fault == "raises":
            raise RuntimeError("no such device")
        threading.Event().wait()  # as `stop` of a link whose `read` holds a lock

    stops = []
    monkeypatch.setattr("ncp_control.deploy.links.hosted.HANG_S", 0.3)
    monkeypatch.setattr("ncp_control.deploy.links.hosted.STANDSTILL_S", 0.1)
    monkeypatch.setattr("ncp_control.deploy.links.hosted.os._exit", leave)
    thread, pipe, link = hanging
    link.stop = stop
    loop = HostedLink.__new__(HostedLink)  # without the process of a real one
    loop._pipe, loop._has_asked, loop._full_s = pipe, True, None
    with pytest.raises(LinkLost, match=r"its own code did not return for 0\.3 s"):
        loop.read(10.0)
    link.released.set()  # too late
    pipe.close()
    end_s = time.monotonic() + 10.0
    while not exits and time.monotonic() < end_s:
        time.sleep(0.01)
    assert exits == [1] and thread.is_alive(), "the process is ended from outside of it"
    assert set(stops) == {"stopper"} and (len(stops) > 1) == (fault == "raises")


def test_a_full_pipe_does_not_block_the_loop(monkeypatch):
    monkeypatch.setattr("ncp_control.deploy.links.hosted.HANG_S", 0.2)
    loop = HostedLink.__new__(HostedLink)
    loop._pipe, theirs = multiprocessing.Pipe()
    loop._has_asked, loop._full_s = False, None
    while loop._tell("alive"):  # nobody reads at the other end
        pass
    assert loop.read(0.0) is None and not loop._has_asked
    while theirs.poll(0.0):
        receive_message(theirs)
    assert loop.read(0.0) is None and loop._has_asked, "it asks again when it can"
    with pytest.raises(LinkLost, match=r"its process took no messages for 0\.2 s"):
        while True:
            loop.send(np.zeros(8))
