from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.link import LinkEnded, Reading

FRAME_S = 0.1


class ScriptedLink:
    """Gives readings by a script: an array, a reading, None for silence, "manual", or an error."""

    def __init__(self, contract, clock, script, age_s=0.0):
        self.contract, self.clock, self.age_s = contract, clock, age_s
        self.script, self.sent, self.stopped_s = deque(script), [], []

    def read(self, timeout_s):
        if not self.script:
            raise LinkEnded("the script is over")
        item = self.script.popleft()
        if isinstance(item, BaseException):
            raise item
        now_s = self.clock.now_s()
        if isinstance(item, Reading):
            return replace(item, time_s=now_s)
        if item is None:
            self.clock.sleep_until(now_s + timeout_s)
            return None
        if isinstance(item, str):
            return Reading(observation=None, time_s=now_s, is_manual=item == "manual")
        return Reading(observation=np.asarray(item), time_s=now_s - self.age_s)

    def send(self, command):
        self.sent.append((self.clock.now_s(), np.array(command)))

    def stop(self):
        self.stopped_s.append(self.clock.now_s())


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def contract():
    return Contract(
        observation=VectorContract(entries=(Entry(name="a"), Entry(name="b", range=(-5.0, 5.0)))),
        action=(ActionContract(name="steering"),),
        frame_s=FRAME_S,
    )


@pytest.fixture
def make_link(contract, clock):
    def make(script, **settings):
        return ScriptedLink(contract, clock, script, **settings)

    return make
