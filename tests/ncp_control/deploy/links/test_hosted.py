import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ncp_control.deploy import links
from ncp_control.deploy.links.base import LINKS, LinkKind
from ncp_control.deploy.links.hosted import STANDSTILL_S, Host, HostedLink, _host
from ncp_control.deploy.links.messages import receive_message, send_message
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.link import LinkEnded, LinkLost, Reading
from ncp_control.policy import load

ROOT = Path(__file__).parents[4]


class Body:
    """A link whose body slows down while it is stopped."""

    def __init__(self, clock, then):
        self.clock, self.then, self.info = clock, then, {}
        self.speed_mps, self.sent, self.stopped_s, self.is_braking = 8.0, [], None, False

    def read(self, timeout_s):
        self.clock.sleep_until(self.clock.now_s() + timeout_s)
        self.then(self.clock.now_s())
        if self.is_braking:
            self.speed_mps = max(self.speed_mps - 4.0 * timeout_s, 0.0)
        info = {"speed_mps": self.speed_mps, **self.info}
        return Reading(observation=np.zeros(1), time_s=self.clock.now_s(), info=info)

    def send(self, command):
        self.sent.append((self.clock.now_s(), float(command[0])))
        self.is_braking = False

    def stop(self):
        self.is_braking = True
        self.stopped_s = self.clock.now_s() if self.stopped_s is None else self.stopped_s


@pytest.fixture
def hosted(tmp_path):
    """A host, the loop's end of its pipe, and its body; `then` is called at every read."""

    def make(then):
        clock, (ours, theirs) = SimulatedClock(), multiprocessing.Pipe()
        body = Body(clock, lambda now_s: then(now_s, ours))
        return Host(theirs, body, 0.3, tmp_path / "log.jsonl", clock), ours, body

    return make


@pytest.mark.parametrize("command", [None, np.array([0.25, math.nan], np.float32)])
def test_a_persons_command_comes_to_the_loop(command):
    loop = HostedLink.__new__(HostedLink)  # without the process of a real one
    loop._pipe, theirs = multiprocessing.Pipe()
    loop._has_asked = True
    clock = SimulatedClock()
    host = Host(theirs, Body(clock, lambda _: None), 0.3, None, clock)
    host._latest = Reading(observation=None, time_s=1.0, is_manual=True, command=command)
    host._answer()
    reading = loop.read(1.0)
    assert reading.is_manual
    np.testing.assert_array_equal(reading.command, command)


def test_a_loop_that_dies_while_it_waits_for_a_reading_leaves_a_stopped_body(hosted, tmp_path):
    """The pipe then breaks while the host answers, and not while it listens."""
    asked = []

    def loop(now_s, pipe):
        if not asked:
            send_message(pipe, "ask")
            asked.append(now_s)
        elif not pipe.closed:
            pipe.close()

    host, _, body = hosted(loop)
    host.run()
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [one["event"] for one in events] == [
        "the loop's process is gone",
        "stop",
        "the host ends",
    ]
    assert body.is_braking and body.speed_mps < 0.05


def test_a_loop_that_hangs_is_stopped_by_the_watchdog_and_goes_on_when_it_speaks(hosted, tmp_path):
    def loop(now_s, pipe):
        if now_s <= 1.0 or 1.5 <= now_s <= 2.0:
            send_message(pipe, "send", array=np.array([now_s]))
        elif now_s > 2.0 and not pipe.closed:
            pipe.close()

    host, _, body = hosted(loop)
    host.run()
    assert body.stopped_s == pytest.approx(1.3, abs=0.01)
    assert body.sent[-1][0] == pytest.approx(2.0, abs=0.01)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    told = [event["event"] for event in events]
    assert told == ["watchdog: the loop is silent", "stop", "the loop's process is gone", "stop",
                    "the host ends"]  # fmt: skip
    assert body.speed_mps < 0.05
    assert body.clock.now_s() < 2.0 + STANDSTILL_S


def test_the_host_answers_only_what_was_asked_with_the_newest(hosted):
    def loop(now_s, pipe):
        if abs(now_s - 0.1) < 1e-9:
            send_message(pipe, "ask")
        if now_s > 0.2 and not pipe.closed:
            answers.extend(receive_message(pipe) for _ in range(9) if pipe.poll())
            pipe.close()

    answers = []
    host, _, _ = hosted(loop)
    host.run()
    assert [word for word, *_ in answers] == ["reading"]
    _, value, observation = answers[0]
    assert value["time_s"] == pytest.approx(0.102)
    np.testing.assert_array_equal(observation, np.zeros(1))


def test_rewards_and_hits_that_a_late_loop_has_not_read_are_not_lost(hosted):
    def loop(now_s, pipe):
        body.info = {"reward": 1.0, "is_hit": float(now_s < 0.01)}
        if now_s > 0.1 and not answers:
            send_message(pipe, "ask")
            answers.append(None)
        elif answers and not pipe.closed and pipe.poll():
            answers.append(receive_message(pipe)[1]["info"])
            pipe.close()

    answers = []
    host, _, body = hosted(loop)
    host.run()
    told = answers[1]
    assert told["reward"] == pytest.approx(0.1 / 0.002, abs=3.0) and told["is_hit"] == 1.0


def last_message(host, ours):
    """Run a host until its link is over, hang up, and return what it told."""

    def run():
        with pytest.raises(SystemExit):
            host.run()

    running = threading.Thread(target=run)
    running.start()
    message = receive_message(ours)
    ours.close()
    running.join(5.0)
    assert not running.is_alive()
    return message


@pytest.mark.parametrize(("end", "word"), [(LinkLost("cable"), "lost"), (LinkEnded("x"), "ended")])
def test_the_end_of_a_link_is_told_to_the_loop(end, word, hosted):
    def loop(now_s, pipe):
        raise end

    host, ours, _ = hosted(loop)
    assert last_message(host, ours) == (word, str(end), None)


@pytest.mark.parametrize(("word", "end"), [("lost", LinkLost), ("ended", LinkEnded)])
def test_what_a_host_told_before_it_went_is_not_lost(word, end):
    link = HostedLink.__new__(HostedLink)
    link._pipe, theirs = multiprocessing.Pipe()
    send_message(theirs, word, "cable")
    theirs.close()
    with pytest.raises(end, match="^cable$"):
        link._tell("ask")
    with pytest.raises(LinkLost, match="the link's process is gone"):
        link._tell("ask")


def test_what_a_link_tells_and_is_no_number_ends_it_with_a_sentence(hosted):
    def loop(now_s, pipe):
        body.speed_mps = "abc"
        send_message(pipe, "ask")

    host, ours, body = hosted(loop)
    told = "it told speed_mps = 'abc', which is no number"
    assert last_message(host, ours) == ("lost", told, None)
    assert body.is_braking


@pytest.mark.parametrize(("end", "word"), [(LinkLost("cable"), "lost"), (LinkEnded("x"), "ended")])
@pytest.mark.parametrize("when", ["send", "stop", "watchdog"])
def test_a_link_that_is_lost_while_it_commands_is_told_and_noted(when, end, word, hosted, tmp_path):
    def fail(*command):
        raise end

    def loop(now_s, pipe):
        if now_s <= 0.01 and when != "watchdog":
            send_message(pipe, when, array=np.zeros(1) if when == "send" else None)

    host, ours, body = hosted(loop)
    setattr(body, "send" if when == "send" else "stop", fail)
    ended = []

    def run():
        try:
            host.run()
        except BaseException as error:
            ended.append(error)

    running = threading.Thread(target=run)
    running.start()
    assert ours.poll(10.0)
    assert receive_message(ours) == (word, str(end), None)
    ours.close()
    running.join(5.0)
    assert not running.is_alive() and isinstance(ended[0], SystemExit)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    told = [json.loads(line)["event"] for line in lines]
    before = {"send": [], "stop": ["stop"], "watchdog": ["watchdog: the loop is silent", "stop"]}
    assert told == [*before[when], f"{word}: {end}"]


def test_a_lost_link_that_cannot_be_closed_either_ends_without_a_traceback(monkeypatch):
    contract = load("drive-ncp").contract

    class Broken:
        def __init__(self, contract, target, *, clock):
            self.contract = contract

        def read(self, timeout_s):
            return None

        def send(self, *command):
            raise LinkLost("cable")

        stop = close = send

    def loop():
        wanted = {"name": "broken", "contract": contract.to_json(), "target": "", "options": {},
                  "modules": [], "log": None, "watchdog_s": 9.0}  # fmt: skip
        send_message(ours, "open", wanted)
        send_message(ours, "send", array=np.zeros(1))
        heard.extend(receive_message(ours)[:2] for _ in range(2) if ours.poll(10.0))
        ours.close()

    monkeypatch.setitem(LINKS._things, "broken", LinkKind(open=Broken, meaning="of a test"))
    monkeypatch.setattr("signal.signal", lambda *what: None)  # which is for its own process
    (ours, theirs), heard = multiprocessing.Pipe(), []
    running = threading.Thread(target=loop)
    running.start()
    with pytest.raises(SystemExit):
        _host(theirs)
    running.join(5.0)
    assert [word for word, _ in heard] == ["open", "lost"] and heard[1][1] == "cable"


def test_a_link_whose_own_code_fails_has_stopped_the_body_before_the_loop_is_told(monkeypatch):
    contract = load("drive-ncp").contract
    said = []

    class Faulty:
        def __init__(self, contract, target, *, clock):
            self.contract = contract

        def read(self, timeout_s):
            raise KeyError("speed")

        def stop(self):
            said.append("stop")

        def close(self):
            said.append("close")

    wanted = {"name": "faulty", "contract": contract.to_json(), "target": "", "options": {},
              "modules": [], "log": None, "watchdog_s": 9.0}  # fmt: skip
    monkeypatch.setitem(LINKS._things, "faulty", LinkKind(open=Faulty, meaning="of a test"))
    monkeypatch.setattr("signal.signal", lambda *what: None)  # which is for its own process
    ours, theirs = multiprocessing.Pipe()
    send_message(ours, "open", wanted)
    with pytest.raises(KeyError):
        _host(theirs)
    assert said == ["stop", "close"]
    assert [receive_message(ours)[0] for _ in range(2)] == ["open", "lost"]


@pytest.mark.parametrize(("frame_s", "period_s", "silence_s"), [
    (0.033, None, 0.3), (1.0, None, 2.0), (0.033, 0.5, 1.0),
])  # fmt: skip
def test_the_watchdog_waits_for_the_ticks_of_a_slow_loop(frame_s, period_s, silence_s, monkeypatch):
    asked = []
    monkeypatch.setattr(links, "HostedLink", lambda *_, **told: asked.append(told))
    contract = replace(load("drive-ncp").contract, frame_s=frame_s)
    links.open_link("world", contract, period_s=period_s)
    assert asked[0]["watchdog_s"] == pytest.approx(silence_s)


@pytest.mark.parametrize(
    "array",
    [None, np.arange(6, dtype=np.uint8).reshape(1, 2, 3), np.array(2.5), np.empty((0, 3), "<f4"),
     np.arange(6.0).reshape(2, 3).T, np.array([np.nan, np.inf]), np.array([7], ">i4")],
)  # fmt: skip
def test_messages_pass_as_bytes_with_equal_numbers(array):
    ours, theirs = multiprocessing.Pipe()
    send_message(ours, "reading", {"told": {"speed_mps": math.inf}, "name": "é"}, array)
    word, value, received = receive_message(theirs)
    assert (word, value) == ("reading", {"told": {"speed_mps": math.inf}, "name": "é"})
    if array is None:
        assert received is None
    else:
        assert received.dtype == array.dtype and received.flags.writeable
        np.testing.assert_array_equal(received, array)


def test_pickles_are_neither_sent_nor_read():
    ours, theirs = multiprocessing.Pipe()
    with pytest.raises(TypeError, match="`array` must hold numbers, got object"):
        send_message(ours, "send", array=np.array([object()]))
    ours.send(("send", 1.0))  # a pickle
    with pytest.raises(OSError, match="no message"):
        receive_message(theirs)


@pytest.mark.slow
def test_a_policy_that_does_not_fit_is_refused_before_anything_moves():
    contract = load("drive-ncp").contract
    with pytest.raises(ValueError, match="`policy` does not fit the world 'Walker2d-v5'"):
        HostedLink("world", contract, "Walker2d-v5", modules=["envs"])


LOOP = """
import sys
from pathlib import Path
from ncp_control.deploy.links import open_link
from ncp_control.policy import load
if __name__ == "__main__":
    policy = load("drive-ncp")
    link = open_link("world", policy.contract, modules=["envs"], log=Path(sys.argv[1]))
    print(link.process_id, flush=True)
    while True:
        reading = link.read(0.1)
        if reading is not None:
            link.send(policy.act(reading.observation))
            print(reading.info["speed_mps"], flush=True)
"""


@pytest.fixture
def driving(tmp_path):
    """A loop in a process of its own that drives, the number of its link's host, and the log."""
    script, log = tmp_path / "loop.py", tmp_path / "link.jsonl"
    script.write_text(LOOP)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    loop = subprocess.Popen(
        [sys.executable, str(script), str(log)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert loop.stdout is not None
    with loop.stdout:
        host = int(loop.stdout.readline())
        assert float([loop.stdout.readline() for _ in range(15)][-1]) > 7.0  # it drives
        yield loop, host, log


@pytest.mark.slow
def test_a_host_that_is_terminated_with_its_loop_stops_the_car(driving):
    """As by a service manager, which sends SIGTERM to each process of a service."""
    loop, host, log = driving
    for process in (host, loop.pid):
        os.kill(process, signal.SIGTERM)
    loop.wait()
    _wait_for_the_end_of(host)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events][-3:] == [
        "the loop's process is gone", "stop", "the host ends",
    ]  # fmt: skip
    assert events[-1]["speed_mps"] < 0.05


@pytest.mark.slow
def test_the_car_is_stopped_when_the_policys_process_is_killed(driving):
    loop, host, log = driving
    killed_s = time.monotonic()
    loop.send_signal(signal.SIGKILL)
    loop.wait()
    _wait_for_the_end_of(host)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    stop = next(event for event in events if event["event"] == "stop")
    assert stop["time_s"] - killed_s < 0.5  # what is promised: the brakes are on within 0.5 s
    assert events[-1]["event"] == "the host ends"
    assert events[-1]["speed_mps"] < 0.05


def _wait_for_the_end_of(host):
    """Wait until a host has ended by itself."""
    for _ in range(200):
        if not Path(f"/proc/{host}").exists() or _is_zombie(host):
            return
        time.sleep(0.05)
    pytest.fail("the link's process is still there")


def _is_zombie(number):
    return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
