"""LaneKeeping-v0: steer a car along a lane, from camera frames.

One step lasts a control period (1/30 s): the front wheels move towards the commanded angle, the
physics runs, the car's place on the road is found, the camera takes a frame. See `LaneKeepingEnv`.

Source: the task of Lechner et al. 2020, "Neural circuit policies enabling auditable autonomy",
with a simulated car and road in place of the recorded ones.
"""

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.driving.appearance import Appearance
from envs.driving.camera import BlindCamera, Camera, CameraGeometry, OpenCvCamera, Pose
from envs.driving.car import Car, CarState
from envs.driving.chase_view import ChaseView
from envs.driving.config import LaneKeepingConfig
from envs.driving.episode_start import EpisodeStart
from envs.driving.road import Road, RoadPoint, make_road
from envs.driving.texture import VIDEO_TEXELS, paint_ground


class LaneKeepingEnv(gymnasium.Env[NDArray[np.uint8], NDArray[np.float32]]):
    """A car on a closed road, seen through the camera behind its windscreen.

    ## Action
    `Box(-1, 1, (1,), float32)`, or `(2,)` with `drive_speed`; entries beyond are clipped.

    | entry | meaning | unit |
    |---|---|---|
    | 0 | front wheel angle, positive to the left | fraction of `max_steer_rad` |
    | 1 | target speed: -1 stands still, 1 is `cruise_speed_mps` | linear in between |

    The wheels move towards the angle at `max_steer_rate_radps` at most. Without entry 1 a
    controller holds `cruise_speed_mps`.

    ## Observation
    `Box(0, 255, (78, 200, 3), uint8)`: an RGB frame, taken at the end of the step.

    ## Info
    After `reset` and `step`; positions are of the car's middle unless said otherwise.

    | key | meaning | unit |
    |---|---|---|
    | `cross_track_m` | offset from the centre line, positive to the left | m |
    | `heading_error_rad` | car's heading minus the road's, in [-π, π) | rad |
    | `curvature_1pm` | of the road beside the car, positive to the left | 1/m |
    | `speed_mps` | forward speed | m/s |
    | `time_s` | since `reset` | s |
    | `distance_m` | progress along the centre line since `reset` | m |
    | `steer_rad` | front wheel angle, positive to the left | rad |
    | `position_m` | (x, y) | m |
    | `yaw_rad` | heading, in (-π, π] | rad |
    | `crashed` | this step left the lane | bool |
    | `preview_m` | centre-line points ahead (x forward, y left), seen from the rear axle's middle; row k lies `preview_distances_m[k]` along the road ahead of the car's middle | m |
    | `arc_length_m` | place on the road | m |
    | `track` | number of the track | - |

    In a step that recovers from a crash, `crashed` is True, the reward is that of the crash, and
    the rest describes the car as put back.

    ## Reward
    In metres: progress along the centre line, minus `cross_track_cost_1ps` · |cross_track_m| ·
    control period, minus `crash_cost_m` in a crash.

    ## Episode
    `terminated`: a crash, |cross_track_m| > `lane_half_width_m`, with `on_crash="terminate"`. With
    "recover" the car is put back on the centre line at the same arc length, along the road, at
    cruise speed. `truncated`: `episode_s` have passed.

    `reset(options=...)` takes any of `track` (number), `start_m` (arc length [m]), `lateral_m` (to
    the left of the centre line [m]) and `heading_error_rad`; what is not given is drawn: the track
    from the range of `tracks`, the start along it, on the centre line and along it.

    Args:
        config: Settings; None for the defaults.
        render_mode: None or "rgb_array".

    Attributes:
        is_braking: Whether the car brakes to a standstill, whatever speed the action asks for; it
            may be set, and `reset` clears it.

    Raises:
        ValueError: If `render_mode` is neither, or `camera="mujoco"` and there is no OpenGL to render
            with.
    """  # noqa: E501 - a table row cannot be broken

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - gymnasium's type

    def __init__(
        self, config: LaneKeepingConfig | None = None, render_mode: str | None = None
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(
                f"`render_mode` must be None or 'rgb_array', got {render_mode!r}. "
                "Use 'rgb_array' and write the frames to a video."
            )
        self.config = config = config if config is not None else LaneKeepingConfig()
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": config.control_rate_hz}
        self.car = Car(config.control_period_s, config.max_steer_rad, config.max_steer_rate_radps)
        self.camera = _make_camera(config.camera)
        self._chase = ChaseView(self.car.wheelbase_m, self.car.track_width_m)
        self._preview_distances_m = np.array(config.preview_distances_m, dtype=np.float64)

        geometry = self.camera.geometry
        shape = (geometry.height_px, geometry.width_px, 3)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (2 if config.drive_speed else 1,), np.float32)
        self.is_braking = False
        self._road: Road | None = None

    @property
    def road(self) -> Road:
        """The road driven on.

        Raises:
            RuntimeError: Before the first `reset`.
        """
        if self._road is None:
            raise RuntimeError("`reset` must be called before the road is used. Call `reset`.")
        return self._road

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds the generator of tracks, starts and appearances; None goes on with it.
            options: Any of track, start_m, lateral_m, heading_error_rad (see the class).

        Returns:
            The first frame and its info.

        Raises:
            ValueError: If an option is unknown or out of range.
        """
        start = EpisodeStart.from_options(options, self.config.lane_half_width_m)
        super().reset(seed=seed)
        self.is_braking = False
        # Always the same number of draws: an option does not change what the seed gives the rest.
        drawn_track = int(self.np_random.choice(self.config.track_range))
        drawn_share = self.np_random.random()
        self._appearance = (
            Appearance.random(self.np_random) if self.config.randomize_appearance else Appearance()
        )
        self._track = drawn_track if start.track is None else start.track
        self._road = road = make_road(self._track)
        start_m = drawn_share * road.length_m if start.start_m is None else start.start_m
        self._place_car(start_m % road.length_m, start.lateral_m, start.heading_error_rad)
        if self.config.camera != "none":
            ground = paint_ground(road, self.config.lane_half_width_m, self._appearance)
            self.camera.set_ground(ground)
        self._is_chase_ready = False
        self._num_steps = 0
        self._distance_m = 0.0
        return self.camera.render(self._pose()), self._info(crashed=False)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Drive for one control period.

        Args:
            action: Shape (1,) or, with `drive_speed`, (2,), in [-1, 1]; clipped to it.

        Returns:
            Frame, reward [m], terminated, truncated, info.

        Raises:
            ValueError: If the action has the wrong shape or is not finite.
            RuntimeError: Before the first `reset`.
        """
        config, road = self.config, self.road
        steer, throttle = self._read_action(action)
        if self.is_braking:
            throttle = -1.0
        self.car.step(
            steer * config.max_steer_rad, 0.5 * (1.0 + throttle) * config.cruise_speed_mps
        )
        self._num_steps += 1
        progress_m = self._locate(road)
        cross_track_m = abs(self._place.lateral_m)
        crashed = cross_track_m > config.lane_half_width_m
        reward_m = (
            progress_m - config.cross_track_cost_1ps * cross_track_m * config.control_period_s
        )
        if crashed:
            reward_m -= config.crash_cost_m
            if config.on_crash == "recover":
                self._place_car(self._place.arc_length_m)
        terminated = crashed and config.on_crash == "terminate"
        truncated = self._num_steps >= round(config.episode_s * config.control_rate_hz)
        frame = self.camera.render(self._pose())
        return frame, reward_m, terminated, truncated, self._info(crashed=crashed)

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture, (height, width, 3) RGB, or None without a render mode."""
        if self.render_mode is None:
            return None
        road = self.road  # says so when there was no reset yet
        if self.config.render_view == "camera":
            return self.camera.render(self._pose())
        if not self._is_chase_ready:
            # Its finer ground takes a while to paint, so only once somebody looks.
            lane_half_width_m = self.config.lane_half_width_m
            ground = paint_ground(road, lane_half_width_m, self._appearance, VIDEO_TEXELS)
            self._chase.set_ground(ground)
            self._is_chase_ready = True
        return self._chase.render(self._pose(), self._state.steer_rad)

    def _read_action(self, action: NDArray[np.float32]) -> tuple[float, float]:
        values = np.asarray(action)
        if values.dtype.kind not in "iuf":
            raise ValueError(
                f"`action` must hold real numbers, got {values.dtype}. Check the policy's output."
            )
        values = values.astype(np.float64)
        if values.shape != self.action_space.shape:
            raise ValueError(
                f"`action` must be of shape {self.action_space.shape}, got shape {values.shape}. "
                "Give one entry, or two with `drive_speed=True`."
            )
        if not np.isfinite(values).all():
            raise ValueError(
                f"`action` must be finite, got {values.tolist()!r}. Check the policy's output."
            )
        entries = [min(max(value, -1.0), 1.0) for value in values.tolist()]
        return entries[0], entries[1] if len(entries) == 2 else 1.0

    def _place_car(
        self, arc_length_m: float, lateral_m: float = 0.0, heading_error_rad: float = 0.0
    ) -> None:
        """Put the car on the road at cruise speed, its wheels turned as the road turns."""
        road = self.road
        x_m, y_m = (float(value) for value in road.point_at(arc_length_m, lateral_m))
        steer_rad = math.atan(self.car.wheelbase_m * road.curvature_at(arc_length_m))
        yaw_rad = road.heading_at(arc_length_m) + heading_error_rad
        self.car.place(x_m, y_m, yaw_rad, self.config.cruise_speed_mps, steer_rad)
        self._state: CarState = self.car.state()
        self._place = RoadPoint(arc_length_m, lateral_m)

    def _locate(self, road: Road) -> float:
        """Find the car on the road; return the progress [m] since it was last found."""
        before_m = self._place.arc_length_m
        self._state = self.car.state()
        self._place = road.project(self._state.x_m, self._state.y_m, near=before_m)
        half_lap_m = 0.5 * road.length_m
        progress_m = self._place.arc_length_m - before_m
        progress_m = (progress_m + half_lap_m) % road.length_m - half_lap_m
        self._distance_m += progress_m
        return progress_m

    def _pose(self) -> Pose:
        return Pose(self._state.x_m, self._state.y_m, self._state.yaw_rad)

    def _info(self, *, crashed: bool) -> dict[str, Any]:
        state, place = self._state, self._place
        heading_error_rad = state.yaw_rad - self.road.heading_at(place.arc_length_m)
        return {
            "cross_track_m": place.lateral_m,
            "heading_error_rad": (heading_error_rad + math.pi) % (2.0 * math.pi) - math.pi,
            "curvature_1pm": self.road.curvature_at(place.arc_length_m),
            "speed_mps": state.speed_mps,
            "time_s": self._num_steps * self.config.control_period_s,
            "distance_m": self._distance_m,
            "steer_rad": state.steer_rad,
            "position_m": np.array([state.x_m, state.y_m]),
            "yaw_rad": state.yaw_rad,
            "crashed": crashed,
            "preview_m": self._preview(),
            "arc_length_m": place.arc_length_m,
            "track": self._track,
        }

    def _preview(self) -> NDArray[np.float64]:
        """Return the centre-line points ahead in the frame of the rear axle, shape (k, 2)."""
        state = self._state
        x_m, y_m = self.road.point_at(self._place.arc_length_m + self._preview_distances_m)
        dx, dy = x_m - state.x_m, y_m - state.y_m
        cosine, sine = math.cos(state.yaw_rad), math.sin(state.yaw_rad)
        forward_m = cosine * dx + sine * dy + 0.5 * self.car.wheelbase_m
        return np.stack([forward_m, cosine * dy - sine * dx], axis=1)

    def close(self) -> None:
        """Release the camera's OpenGL context, if it has one."""
        close = getattr(self.camera, "close", None)
        if close is not None:
            close()


def _make_camera(kind: str) -> Camera:
    if kind == "opencv":
        return OpenCvCamera(CameraGeometry())
    if kind == "none":
        return BlindCamera(CameraGeometry())
    # Imported only here: it is the one place that touches OpenGL.
    from envs.driving.mujoco_camera import MujocoCamera

    return MujocoCamera(CameraGeometry())
