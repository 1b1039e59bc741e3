"""A robot of one's own as a link, with stand-ins for its camera and motors.

    python scripts/run.py drive-ncp --link toy --import own_link --loop.seconds 5

The loop keeps the rate, watches the input and stops the body. The link runs in a process of its
own, which stops the body if the loop dies.
"""

from dataclasses import replace

import numpy as np

from ncp_control.deploy.links import Reading, register_link
from ncp_control.framing import framer_for

CAMERA_S = 1.0 / 30.0


class ToyRobot:
    """Opened with the policy's contract, the text after `toy:`, the loop's clock, and options."""

    def __init__(self, contract, target, *, clock, speed_mps=0.3, crop_top=None, crop_bottom=None):
        # Refuses a policy without a camera; crops, scales and orders colours as that policy saw.
        self.framer = framer_for(contract.observation, "a toy", crop_top, crop_bottom)
        self.contract = replace(contract, world="toy", world_options={})
        self.clock, self.speed_mps, self.next_s = clock, speed_mps, clock.now_s()
        self.motors = []  # yours: open the serial port, the camera, …

    def read(self, timeout_s):
        """Return a new frame and when it was taken; None if none came within `timeout_s`."""
        end_s = self.clock.now_s() + timeout_s
        self.clock.sleep_until(min(self.next_s, end_s))
        if self.clock.now_s() < self.next_s:
            return None
        self.next_s = self.clock.now_s() + CAMERA_S
        image = np.random.default_rng().integers(0, 256, (240, 320, 3), np.uint8)  # RGB
        told = {"speed_mps": self.speed_mps}
        return Reading(observation=self.framer.see(image), time_s=self.clock.now_s(), told=told)

    def send(self, command):
        """Steer: `command` holds the actions of the contract, here a fraction, left positive.

        `in_unit` is for contracts that scale them: a command of 0.5 may stand for 4 degrees.
        """
        steering = self.contract.action[0].in_unit(float(command[0]))
        self.motors.append((steering, self.speed_mps))

    def stop(self):
        """Brake, and stay so until `send` is called; it may come again and again."""
        self.motors.append((0.0, 0.0))

    def close(self):
        """Let go of camera and motors."""
        self.stop()


register_link("toy", ToyRobot, meaning="a toy with a camera")
