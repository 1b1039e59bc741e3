"""Connect your own robot as a link, with dummies for its camera and motors.

    cp examples/own_link.py .
    python scripts/run.py drive-ncp --link toy --import own_link --no-monitored --loop.seconds 5

The loop keeps the rate. Its monitor is off here: it stops the robot after 0.3 s, for noise is far
from a road. The link runs in a separate process, which stops the robot if the loop dies.
"""

from dataclasses import replace

import numpy as np

from ncp_control.deploy.links import Reading, register_link
from ncp_control.framing import framer_for

CAMERA_S = 1.0 / 30.0


class ToyRobot:
    """Arguments: contract of the policy, text after `toy:`, clock of the loop, and options."""

    def __init__(self, contract, target, *, clock, speed_mps=0.3, crop_top=None, crop_bottom=None):
        # Refuses a policy without a camera; crops, scales and orders colours as in its training.
        self.framer = framer_for(contract.observation, "a toy", crop_top, crop_bottom)
        self.contract = replace(contract, world="toy", world_options={})
        self.clock, self.speed_mps, self.next_s = clock, speed_mps, clock.now_s()
        self.motors = []  # on your robot: open the serial port, the camera, …

    def read(self, timeout_s):
        """Return a new frame and its time; None if there is none within `timeout_s`.

        While a person drives by remote control: `Reading(..., is_manual=True, command=...)`.
        """
        end_s = self.clock.now_s() + timeout_s
        self.clock.sleep_until(min(self.next_s, end_s))
        if self.clock.now_s() < self.next_s:
            return None
        self.next_s = self.clock.now_s() + CAMERA_S
        image = np.random.default_rng().integers(0, 256, (240, 320, 3), np.uint8)  # RGB
        info = {"speed_mps": self.speed_mps}
        return Reading(observation=self.framer.see(image), time_s=self.clock.now_s(), info=info)

    def send(self, command):
        """Steer, left positive. A command of 0.5 may stand for 4 degrees: see `in_unit`."""
        steering = self.contract.action[0].in_unit(float(command[0]))
        self.motors.append((steering, self.speed_mps))

    def stop(self):
        """Brake until `send` is called; may be called again, and while `read` hangs."""
        self.motors.append((0.0, 0.0))

    def close(self):
        """Stop, and release camera and motors."""
        self.stop()


register_link("toy", ToyRobot, meaning="a toy with a camera")
