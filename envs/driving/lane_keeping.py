"""LaneKeeping-v0: steer a car along a lane from camera frames.

One step lasts a control period (1/30 s): the front wheels move towards the commanded angle, the
physics is simulated, the car is located on the road, and the camera takes a frame. See
`LaneKeepingEnv`.

Source: the task of Lechner et al. 2020, "Neural circuit policies enabling auditable autonomy",
with a simulated car and road instead of recordings.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.driving.config import LaneKeepingConfig
from envs.driving.driving_env import DrivingEnv


class LaneKeepingEnv(DrivingEnv[LaneKeepingConfig]):
    """Environment for lane keeping on a closed road, from frames of a camera behind the windscreen.

    ## Action
    `Box(-1, 1, (1,), float32)`, or `(2,)` with `drive_speed`; entries out of range are clipped.

    | entry | meaning | unit |
    |---|---|---|
    | 0 | front wheel angle, positive to the left | fraction of `max_steer_rad` |
    | 1 | target speed: -1 stands still, 1 is `cruise_speed_mps` | linear in between |

    The wheels move towards the angle at most at `max_steer_rate_radps`. Without entry 1, a
    controller holds `cruise_speed_mps`.

    ## Observation
    `Box(0, 255, (78, 200, 3), uint8)`: an RGB frame, taken at the end of the step.

    ## Info
    After `reset` and `step`. Positions are of the car's middle unless stated otherwise.

    | key | meaning | unit |
    |---|---|---|
    | `cross_track_m` | offset from the centre line, positive to the left | m |
    | `heading_error_rad` | car's heading minus the road's, in [-π, π) | rad |
    | `curvature_1pm` | curvature of the road beside the car, positive to the left | 1/m |
    | `speed_mps` | forward speed | m/s |
    | `time_s` | since `reset` | s |
    | `distance_m` | progress along the centre line since `reset` | m |
    | `steer_rad` | front wheel angle, positive to the left | rad |
    | `position_m` | (x, y) | m |
    | `yaw_rad` | heading, in (-π, π] | rad |
    | `crashed` | the car left the lane in this step | bool |
    | `preview_m` | centre-line points ahead (x forward, y left), seen from the rear axle's middle; row k lies `preview_distances_m[k]` along the road ahead of the car's middle | m |
    | `arc_length_m` | place on the road | m |
    | `track` | number of the track | - |
    | `lane_edges_m` | left and right border of the lane, to the left of the centre line | m |

    In a step that recovers from a crash, `crashed` is True, the reward includes the crash, and the
    other values describe the car after it was put back.

    ## Reward
    In metres: progress along the centre line, minus `cross_track_cost_1ps` · |cross_track_m| ·
    control period, minus `crash_cost_m` for a crash.

    ## Episode
    `terminated`: a crash, i.e. |cross_track_m| > `lane_half_width_m`, with `on_crash="terminate"`.
    With "recover" the car is put back on the centre line at the same arc length, along the road, at
    cruise speed. `truncated`: after `episode_s`.

    `reset(options=...)` takes any of `track` (number), `start_m` (arc length [m]), `lateral_m` (to
    the left of the centre line [m]) and `heading_error_rad`. By default, the track is drawn from
    the range of `tracks`, the start is drawn along it, and both offsets are 0.

    Args:
        config: Settings; None for the defaults.
        render_mode: None or "rgb_array".

    Attributes:
        is_braking: Whether the car brakes to a standstill, whatever speed the action asks for. May
            be set from outside; `reset` clears it.

    Raises:
        ValueError: If `render_mode` is neither, or `camera="mujoco"` and no OpenGL is available.
    """  # noqa: E501 - a table row cannot be broken

    def __init__(
        self, config: LaneKeepingConfig | None = None, render_mode: str | None = None
    ) -> None:
        config = config if config is not None else LaneKeepingConfig()
        self.action_size = 2 if config.drive_speed else 1
        super().__init__(config, render_mode)

    def _start(self, arc_length_m: float, lateral_m: float, heading_error_rad: float) -> None:
        speed_mps = self.config.cruise_speed_mps
        self._place_car(arc_length_m, lateral_m, heading_error_rad, speed_mps=speed_mps)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Drive for one control period.

        Args:
            action: Shape (1,) or, with `drive_speed`, (2,); clipped to [-1, 1].

        Returns:
            Frame, reward [m], terminated, truncated, info.

        Raises:
            ValueError: If the action has the wrong shape or is not finite.
            RuntimeError: Before the first `reset`.
        """
        config, road = self.config, self.road
        entries = self._read_action(action)
        throttle = entries[1] if len(entries) == 2 else 1.0
        if self.is_braking:
            throttle = -1.0
        self.car.step(
            entries[0] * config.max_steer_rad, 0.5 * (1.0 + throttle) * config.cruise_speed_mps
        )
        self._num_steps += 1
        progress_m = self._locate(road)
        cross_track_m = abs(self._cross_track_m)
        crashed = cross_track_m > config.lane_half_width_m
        reward_m = (
            progress_m - config.cross_track_cost_1ps * cross_track_m * config.control_period_s
        )
        if crashed:
            reward_m -= config.crash_cost_m
            if config.on_crash == "recover":
                self._place_car(self._place.arc_length_m, speed_mps=config.cruise_speed_mps)
        terminated = crashed and config.on_crash == "terminate"
        return self._look(), reward_m, terminated, self._is_over, self._info(crashed=crashed)
