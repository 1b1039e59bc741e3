"""A car on the road of LaneKeeping-v0 for stand-ins of simulators: steer it, and see its camera."""

import math

import cv2
import numpy as np

import envs  # noqa: F401 - registers the world
from envs.driving.pure_pursuit import keep_lane
from ncp_control.contract import View
from ncp_control.worlds import find_world

WORLD_STEER_RAD = 0.4
"""Angle of the world's action 1, which is positive to the left."""


class RoadCar:
    """A car whose camera has another size and a wider view than the policy.

    Args:
        size: Height and width of its images.
        view: Which rows of an image show what the world's camera sees; the others are grey.
        max_steer_deg: Angle of the steering 1, positive to the right.
        track: A held-out track.

    Attributes:
        crashes: How often it has left its lane; it is put back then.
        info: The world's info of the newest frame.
    """

    def __init__(self, size=(120, 160), view=None, max_steer_deg=25.0, track=1003):
        world = find_world("LaneKeeping-v0", tracks="held_out", on_crash="recover", episode_s=1e4)
        self.env, self.period_s = world.make(), world.contract.frame_s
        self.size, self.view = size, View() if view is None else view
        self.scale = -math.radians(max_steer_deg) / WORLD_STEER_RAD
        self.crashes = 0
        self.frame, self.info = self.env.reset(seed=0, options={"track": track})

    def step(self, angle, is_braking=False):
        """Drive for one frame."""
        action = np.array([np.clip(self.scale * angle, -1.0, 1.0)], np.float32)
        self._take(action, is_braking)

    def step_by_person(self):
        """Drive for one frame as a person does who keeps the lane and brakes."""
        self._take(keep_lane(self.env, self.frame, self.info), is_braking=True)

    def _take(self, action, is_braking):
        self.env.unwrapped.is_braking = is_braking
        self.frame, _, _, _, self.info = self.env.step(action)
        self.crashes += int(self.info["crashed"])

    @property
    def image(self):
        """The newest image, RGB."""
        image = np.full((*self.size, 3), 120, np.uint8)
        rows = image[self.view.rows(self.size[0])]
        rows[:] = cv2.resize(self.frame, rows.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return image
