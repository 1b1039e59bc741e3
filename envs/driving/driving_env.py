"""Base class of the driving environments: a car on a road, its camera, and where it is placed.

A subclass adds `step`: the meaning of an action, what counts as a crash, and the reward.
"""

import math
from typing import Any, ClassVar, Generic, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.driving.appearance import Appearance
from envs.driving.camera import BlindCamera, Camera, CameraGeometry, OpenCvCamera, Pose
from envs.driving.car import Car, CarState
from envs.driving.chase_view import ChaseView
from envs.driving.config import DrivingConfig
from envs.driving.episode_start import EpisodeStart
from envs.driving.periodic import ahead_m, wrap_angle
from envs.driving.road import Road, RoadPoint, make_road
from envs.driving.texture import VIDEO_TEXELS, Ground, paint_ground

Config = TypeVar("Config", bound=DrivingConfig)


class DrivingEnv(gymnasium.Env[Any, NDArray[np.float32]], Generic[Config]):
    """Base class: a car on a closed road, seen through a camera behind its windscreen.

    Args:
        config: Settings.
        render_mode: None or "rgb_array".

    Attributes:
        is_braking: Whether the car brakes to a standstill, whatever the action asks for. May be
            set from outside; `reset` clears it.

    Raises:
        ValueError: If `render_mode` is neither, or `camera="mujoco"` and no OpenGL is available.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - gymnasium's type
    lane_middle_m: ClassVar[float] = 0.0
    """Middle of the lane, to the left of the road's centre line [m]."""
    driven_wheels: ClassVar[str] = "rear"
    """Wheels that drive and brake."""
    action_size: int = 1
    """Number of entries of an action."""
    frame_shape: ClassVar[tuple[int, int, int]] = (
        CameraGeometry().height_px,
        CameraGeometry().width_px,
        3,
    )
    """Height, width and channels of a frame."""

    def __init__(self, config: Config, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(
                f"`render_mode` must be None or 'rgb_array', got {render_mode!r}. "
                "Use 'rgb_array' and write the frames to a video."
            )
        self.config = config
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": config.control_rate_hz}
        self.car = Car(
            config.control_period_s,
            config.max_steer_rad,
            config.max_steer_rate_radps,
            self.driven_wheels,
        )
        self.camera = _make_camera(config.camera)
        self._chase = ChaseView(self.car.wheelbase_m, self.car.track_width_m)
        self._preview_distances_m = np.array(config.preview_distances_m, dtype=np.float64)

        self.observation_space: spaces.Space[Any] = spaces.Box(0, 255, self.frame_shape, np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (self.action_size,), np.float32)
        self.is_braking = False
        self._road: Road | None = None

    @property
    def road(self) -> Road:
        """Road of the current episode.

        Raises:
            RuntimeError: Before the first `reset`.
        """
        if self._road is None:
            raise RuntimeError("`reset` must be called before the road is used. Call `reset`.")
        return self._road

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seed of the generator of tracks, starts and appearances; None continues the
                generator.
            options: Any of track, start_m, lateral_m, heading_error_rad (see the class).

        Returns:
            The first observation and its info.

        Raises:
            ValueError: If an option is unknown or out of range.
        """
        start = EpisodeStart.from_options(options, self.config.lane_half_width_m)
        super().reset(seed=seed)
        self.is_braking = False
        # Always the same number of draws: an option does not change the other draws of a seed.
        drawn_track = int(self.np_random.choice(self.config.track_range))
        drawn_share = self.np_random.random()
        self._appearance = (
            Appearance.random(self.np_random) if self.config.randomize_appearance else Appearance()
        )
        self._track = drawn_track if start.track is None else start.track
        self._road = road = make_road(self._track)
        start_m = drawn_share * road.length_m if start.start_m is None else start.start_m
        self._start(start_m % road.length_m, start.lateral_m, start.heading_error_rad)
        if self.config.camera != "none":
            self.camera.set_ground(self._paint())
        self._is_chase_ready = False
        self._num_steps = 0
        self._distance_m = 0.0
        return self._observe(), self._info(crashed=False)

    def _start(self, arc_length_m: float, lateral_m: float, heading_error_rad: float) -> None:
        """Place the car where the episode starts."""
        raise NotImplementedError

    def _paint(self, **size: int) -> Ground:
        """Return the painted ground."""
        return paint_ground(self.road, self.config.lane_half_width_m, self._appearance, **size)

    def _observe(self) -> Any:
        """Return the current observation."""
        return self._look()

    def _look(self) -> NDArray[np.uint8]:
        """Return the camera's frame."""
        return self.camera.render(self._pose())

    def render(self) -> NDArray[np.uint8] | None:
        """Return an RGB image (height, width, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        _ = self.road  # raises an error if there was no reset yet
        if self.config.render_view == "camera":
            return self._look()
        if not self._is_chase_ready:
            # Its finer ground takes a while to paint, so paint it only when needed.
            self._chase.set_ground(self._paint(num_texels=VIDEO_TEXELS))
            self._is_chase_ready = True
        return self._chase.render(self._pose(), self._state.steer_rad)

    def _read_action(self, action: NDArray[np.float32]) -> list[float]:
        """Return the entries of an action, clipped to [-1, 1]."""
        values = np.asarray(action)
        if values.dtype.kind not in "iuf":
            raise ValueError(
                f"`action` must hold real numbers, got {values.dtype}. Check the policy's output."
            )
        values = values.astype(np.float64)
        if values.shape != self.action_space.shape:
            raise ValueError(
                f"`action` must be of shape {self.action_space.shape}, got shape {values.shape}. "
                f"Give as many entries as this world takes: {self.action_size}."
            )
        if not np.isfinite(values).all():
            raise ValueError(
                f"`action` must be finite, got {values.tolist()!r}. Check the policy's output."
            )
        return [min(max(value, -1.0), 1.0) for value in values.tolist()]

    def _place_car(
        self,
        arc_length_m: float,
        lateral_m: float = 0.0,
        heading_error_rad: float = 0.0,
        *,
        speed_mps: float,
    ) -> None:
        """Place the car on its lane, with the front wheels turned to follow the road."""
        road = self.road
        lateral_m += self.lane_middle_m
        x_m, y_m = (float(value) for value in road.point_at(arc_length_m, lateral_m))
        steer_rad = math.atan(self.car.wheelbase_m * road.curvature_at(arc_length_m))
        yaw_rad = road.heading_at(arc_length_m) + heading_error_rad
        self.car.place(x_m, y_m, yaw_rad, speed_mps, steer_rad)
        self._state: CarState = self.car.state()
        self._place = RoadPoint(arc_length_m, lateral_m)

    def _locate(self, road: Road) -> float:
        """Update the car's place on the road and return its progress since the last update [m]."""
        before_m = self._place.arc_length_m
        self._state = self.car.state()
        self._place = road.project(self._state.x_m, self._state.y_m, near=before_m)
        progress_m = ahead_m(before_m, self._place.arc_length_m, road.length_m)
        self._distance_m += progress_m
        return progress_m

    @property
    def _cross_track_m(self) -> float:
        """Offset from the middle of the lane, positive to the left [m]."""
        return self._place.lateral_m - self.lane_middle_m

    @property
    def _is_over(self) -> bool:
        """Whether the episode has lasted `episode_s`."""
        return self._num_steps >= self.config.max_steps

    def _pose(self) -> Pose:
        return Pose(self._state.x_m, self._state.y_m, self._state.yaw_rad)

    def _info(self, *, crashed: bool) -> dict[str, Any]:
        state, place, half_m = self._state, self._place, self.config.lane_half_width_m
        heading_error_rad = state.yaw_rad - self.road.heading_at(place.arc_length_m)
        return {
            "cross_track_m": self._cross_track_m,
            "heading_error_rad": wrap_angle(heading_error_rad),
            "curvature_1pm": self.road.curvature_at(place.arc_length_m),
            "speed_mps": state.speed_mps,
            "time_s": self._num_steps * self.config.control_period_s,
            "distance_m": self._distance_m,
            "steer_rad": state.steer_rad,
            "position_m": np.array([state.x_m, state.y_m]),
            "yaw_rad": state.yaw_rad,
            "crashed": crashed,
            "preview_m": self.preview(self._preview_distances_m),
            "arc_length_m": place.arc_length_m,
            "track": self._track,
            "lane_edges_m": np.array([self.lane_middle_m + half_m, self.lane_middle_m - half_m]),
        }

    def preview(
        self, distances_m: NDArray[np.float64], lateral_m: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return points ahead in the frame of the rear axle's middle, x forward and y left.

        Args:
            distances_m: Distances along the road from the car's middle [m], shape (points,).
            lateral_m: Offsets to the left of the road's centre line [m], of the same shape; if
                None, the middle of the lane.

        Returns:
            Points [m], shape (points, 2).
        """
        state = self._state
        offset_m = self.lane_middle_m if lateral_m is None else lateral_m
        x_m, y_m = self.road.point_at(self._place.arc_length_m + distances_m, offset_m)
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
    # Imported only here, because this is the only module that needs OpenGL.
    from envs.driving.mujoco_camera import MujocoCamera

    return MujocoCamera(CameraGeometry())
