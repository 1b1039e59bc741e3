"""Pedal of an expert that sees no more than the camera.

The expert of `RoadDriving-v0` knows where everybody is, so it drives through fog, and while the
camera shows nothing, as fast as in clear air. `LimitedSight` corrects its pedal for that.
"""

import math
from dataclasses import dataclass

import numpy as np

from envs.conditions.pictures import fog_density
from envs.driving.camera import CameraGeometry
from envs.driving.road_config import RoadDrivingConfig
from ncp_control.contract import Contract
from ncp_control.records import entries_of

SEEN_CONTRAST = 0.4
"""Share of the contrast that must remain for a body to be seen in time."""
BRAKING_MPS2 = 2.0
"""Deceleration in black frames, and at which the car can stop within the visible distance."""
STANDING_GAP_M, SLOWEST_MPS = 3.0, 1.0
"""Distance to what it stops for, and speed in the densest fog."""
_REACTION_S = 0.5  # from seeing a body to braking
_SETTLE_S = 0.3  # time in which the car takes on its target speed


@dataclass(frozen=True)
class LimitedSight:
    """Lower the pedal of an expert to that of a driver who sees no more than the camera.

    In fog, the car can stop within the distance at which `SEEN_CONTRAST` of the contrast is left.
    While frames are black, it brakes at `BRAKING_MPS2`. Other conditions change nothing.

    Args:
        speed: Position of the own speed [m/s] among the numbers of an observation.
        pedal: Position of the acceleration in the action: 1 is 3 m/s², -1 is -5 m/s².
    """

    speed: int
    pedal: int

    def __call__(
        self,
        condition: str,
        severity: int,
        frames: np.ndarray,
        numbers: np.ndarray,
        actions: np.ndarray,
    ) -> np.ndarray:
        """Return the actions with a lower pedal where the camera shows too little.

        Args:
            condition: Name of the condition that the frames have.
            severity: Its severity, from 1 to 5.
            frames: Frames under the condition, uint8 of shape (time, height, width, channels).
            numbers: Numbers observed with them, shape (time, numbers).
            actions: Actions of an expert that sees everything, shape (time, action_size).
        """
        speed_mps = numbers[:, self.speed]
        if condition == "fog":
            limit_mps2 = (safe_speed_mps(sight_in_fog_m(severity)) - speed_mps) / _SETTLE_S
            limit_mps2 = np.maximum(limit_mps2, -BRAKING_MPS2)
        elif condition == "blackout":
            limit_mps2 = np.where(frames.any((1, 2, 3)), np.inf, -BRAKING_MPS2)
        else:
            return actions
        scale = RoadDrivingConfig.throttle_mps2, RoadDrivingConfig.braking_mps2
        limit = limit_mps2 / np.where(limit_mps2 > 0.0, *scale)
        changed = actions.copy()
        changed[:, self.pedal] = np.minimum(changed[:, self.pedal], limit)
        return changed


def limited_sight(contract: Contract) -> LimitedSight:
    """Return the correction for a contract of `RoadDriving-v0`; other cameras see otherwise.

    Raises:
        ValueError: If it is another world's contract, or the speed is not observed.
    """
    numbers = [(entry.name, entry.unit) for entry in entries_of(contract.observation)]
    commands = [entry.name for entry in contract.action]
    if contract.world != "RoadDriving-v0" or ("speed", "m/s") not in numbers:
        raise ValueError(
            "`limited_sight` must be left out except in RoadDriving-v0 with its observed speed, got"
            f" {contract.world_text!r}."
        )
    return LimitedSight(numbers.index(("speed", "m/s")), commands.index("acceleration"))


def sight_in_fog_m(severity: int) -> float:
    """Return the distance at which `SEEN_CONTRAST` of the contrast is left in fog [m]."""
    camera = CameraGeometry()
    # A place on flat ground at a distance d is height · focal / d pixels below the horizon.
    one_m_below = camera.height_m * camera.focal_px / camera.height_px
    return -math.log(SEEN_CONTRAST) * one_m_below / fog_density(severity)


def safe_speed_mps(sight_m: float) -> float:
    """Return the speed from which the car stops `STANDING_GAP_M` before what it has just seen."""
    way_m = max(sight_m - STANDING_GAP_M, 0.0)
    lost_mps = BRAKING_MPS2 * _REACTION_S
    return max(math.sqrt(lost_mps**2 + 2.0 * BRAKING_MPS2 * way_m) - lost_mps, SLOWEST_MPS)
