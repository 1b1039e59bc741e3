import threading

import numpy as np
import pytest

from ncp_control.deploy.links.world import WorldLink
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.realtime import drive
from ncp_control.loop.settings import LoopSettings
from ncp_control.worlds import find_world

WORLD = find_world("LaneKeeping-v0", observe="numbers", tracks="held_out")


class Straight:
    """Steers straight on."""

    def act(self, observation, dt_s=None):
        return np.zeros(1, np.float32)

    def reset(self):
        pass


@pytest.mark.parametrize("rate_hz", [7.0, 30.0, 70.0])
def test_a_drive_earns_what_the_world_gave_at_any_rate(rate_hz):
    clock = SimulatedClock()
    link = WorldLink(WORLD, clock, seed=3)
    settings = LoopSettings(rate_hz=rate_hz, seconds=1.0)
    done = drive(Straight(), WORLD.contract, link, clock=clock, settings=settings)
    link.close()
    env = WORLD.make()
    env.reset(seed=3)
    steps = int(np.floor(done.episode.time_s[-1] / WORLD.frame_s + 1e-6))
    earned = sum(env.step(np.zeros(1, np.float32))[1] for _ in range(steps))
    env.close()
    assert done.episode.total_reward == pytest.approx(earned, rel=1e-5)
    assert earned > 1.0


def test_a_stop_during_a_long_step_brakes_before_the_next_one():
    clock = SimulatedClock()
    link = WorldLink(WORLD, clock, seed=3)
    assert link.read(0.0).info["is_braking"] == 0.0
    with link._stepping:  # as while the world steps
        stopper = threading.Thread(target=link.stop)
        stopper.start()
        stopper.join(10.0)
        assert not stopper.is_alive(), "who stops does not wait"
    assert link.read(1.0).info["is_braking"] == 1.0
    link.send(np.zeros(1, np.float32))
    assert link.read(1.0).info["is_braking"] == 0.0
    link.close()
