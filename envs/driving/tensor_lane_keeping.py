"""`LaneKeeping-v0` for many cars at once, as tensors on any device.

Car, road, reward, end of an episode and camera are those of `LaneKeepingEnv` with the same
settings. There are four differences:

- The car is simulated in float32 (`tensor_car`), and frames come from `tensor_camera`.
- `seed` draws `NUM_TRACKS` tracks with their appearances once, for all cars; each episode uses one
  of them. A painted track takes 17 MB.
- All cars draw from one generator, so the seed of a single environment gives other starts.
- A car whose state is not finite counts as crashed and is put back before it is observed.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from envs.driving.appearance import Appearance
from envs.driving.camera import CameraGeometry
from envs.driving.config import LaneKeepingConfig
from envs.driving.lane_keeping import LaneKeepingEnv
from envs.driving.periodic import ahead_m, wrap_angle
from envs.driving.road import make_road
from envs.driving.tensor_camera import TensorCamera
from envs.driving.tensor_car import TensorCars, TensorCarState
from envs.driving.tensor_roads import TensorRoads
from envs.driving.texture import paint_ground
from envs.driving.vector_observation import observation_size
from ncp_control.names import check_name
from ncp_control.ranges import check_count
from ncp_control.tensor_worlds import TensorStep, TensorWorlds

NUM_TRACKS: Mapping[str, int] = MappingProxyType({"frames": 32, "numbers": 128})
"""Number of tracks that all cars share, by the kind of observation."""


class LaneKeepingWorlds(TensorWorlds):
    """Lane keeping environments, simulated side by side.

    The observation is that of `LaneKeepingEnv`, uint8 of shape (height, width, 3), or that of
    `VectorObservation`.

    Args:
        config: Settings; `render_view` is ignored.
        num_worlds: Number of environments, >= 1.
        device: Device to simulate on: cpu or a CUDA device.
        observe: "frames" or "numbers".
        max_steps: Number of frames after which an episode is truncated, >= 1, unless `episode_s` is
            shorter.
        num_tracks: Number of tracks that all cars share, >= 1; that of `NUM_TRACKS` if None.

    Raises:
        ValueError: If a setting is unknown or out of range, the config has a second action or
            another camera, or mujoco-warp is not installed.
    """

    def __init__(
        self,
        config: LaneKeepingConfig,
        num_worlds: int,
        device: torch.device | str = "cpu",
        *,
        observe: str = "frames",
        max_steps: int = 1_000_000,
        num_tracks: int | None = None,
    ) -> None:
        check_name("observe", observe, tuple(NUM_TRACKS))
        sees_other = config.camera != "opencv" if observe == "frames" else config.camera == "mujoco"
        if config.drive_speed or sees_other:
            name = "drive_speed" if config.drive_speed else "camera"
            raise ValueError(
                f"`{name}` must be left out for cars on a device, got {getattr(config, name)!r}."
                " They hold their speed, and see the painted ground."
            )
        self.config = config
        self.num_worlds = check_count("num_worlds", num_worlds)
        self.max_steps = min(check_count("max_steps", max_steps), config.max_steps)
        asked = NUM_TRACKS[observe] if num_tracks is None else num_tracks
        self._num_tracks = check_count("num_tracks", asked)
        if asked > len(config.track_range):
            raise ValueError(
                f"`num_tracks` must be at most {len(config.track_range)}, got {asked}. There are no"
                f" more in {config.tracks!r}."
            )
        self._cars = TensorCars(config, self.num_worlds, device)
        self.device = self._cars.device
        self._sees_frames = observe == "frames"
        if self._sees_frames:
            self.observation_space = spaces.Box(0, 255, LaneKeepingEnv.frame_shape, np.uint8)
        else:
            size = (observation_size(config),)
            self.observation_space = spaces.Box(-np.inf, np.inf, size, np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        distances_m = config.preview_distances_m
        self._ahead_m = torch.tensor(distances_m, dtype=torch.float64, device=self.device)
        self._num_steps = torch.zeros(self.num_worlds, dtype=torch.int32, device=self.device)
        self._track = torch.zeros(self.num_worlds, dtype=torch.int64, device=self.device)
        self._arc_m = torch.zeros(self.num_worlds, dtype=torch.float64, device=self.device)
        self._lateral_m = torch.zeros_like(self._arc_m)
        self._generator = torch.Generator(self.device)
        self._roads: TensorRoads | None = None
        self._seed: int | None = None
        self._are_on_tracks = False

    @property
    def num_bytes(self) -> int:
        """Device memory of all environments together, with their tracks [bytes]."""
        own = (self._num_steps, self._track, self._arc_m, self._lateral_m)
        return self._cars.num_bytes + sum(values.nbytes for values in own) + self.shared_bytes

    @property
    def shared_bytes(self) -> int:
        """Device memory that all environments share, nearly all of it for tracks [bytes]."""
        shared = self._ahead_m.nbytes
        if self._roads is not None:
            shared += self._roads.num_bytes + self._known_tracks.nbytes
            shared += self._camera.num_bytes if self._sees_frames else 0
        return shared

    @property
    def tracks(self) -> Tensor:
        """Number of each car's track, int64, shape (worlds,)."""
        return self._known_tracks[self._track]

    @property
    def arc_length_m(self) -> Tensor:
        """Place of each car along its track [m], float64, shape (worlds,)."""
        return self._arc_m

    @property
    def cross_track_m(self) -> Tensor:
        """Offset of each car from the centre line, left positive [m], float64, shape (worlds,)."""
        return self._lateral_m

    @property
    def car_state(self) -> TensorCarState:
        """Poses, speeds and steering angles of the cars."""
        return self._cars.state()

    def seed(self, seed: int) -> None:
        """Seed all starts drawn from now on, and draw the tracks.

        If frames are observed, the tracks are also painted, which takes some seconds. With the same
        seed as before, the tracks are kept.
        """
        self._generator.manual_seed(seed)
        if self._roads is None or seed != self._seed:
            self._are_on_tracks = False
            self._roads = self._draw_tracks(seed)
            self._seed = seed

    def reset(self) -> Tensor:
        """Start an episode in every world and return the observations, shape (worlds, ...).

        Calls `seed(0)` if `seed` was never called.
        """
        if self._roads is None:
            self.seed(0)
        self._are_on_tracks = True
        self._begin(torch.ones(self.num_worlds, dtype=torch.bool, device=self.device))
        return self._observe()

    @torch.no_grad()
    def step(self, actions: Tensor) -> TensorStep:
        """Drive for one control period and reset the worlds whose episodes ended.

        Args:
            actions: Front wheel angle as a fraction of `max_steer_rad`, positive to the left,
                float32, shape (worlds, 1), in [-1, 1].

        Raises:
            RuntimeError: If `reset` was not called since the tracks were drawn.
        """
        config, roads = self.config, self._known_roads
        self._cars.step(actions[:, 0].double() * config.max_steer_rad, config.cruise_speed_mps)
        self._num_steps += 1
        is_finite = self._cars.simulation.is_finite()
        before_m, state = self._arc_m, self._cars.state()
        arc_m, lateral_m = roads.project(self._track, state.x_m, state.y_m, before_m)
        self._arc_m = torch.where(is_finite, arc_m, before_m)
        self._lateral_m = lateral_m.nan_to_num(nan=torch.inf).where(is_finite, torch.inf)
        progress_m = ahead_m(before_m, self._arc_m, roads.length_m[self._track])
        offset_m = self._lateral_m.abs()
        is_crash = offset_m > config.lane_half_width_m
        cost_m = config.cross_track_cost_1ps * config.control_period_s
        reward_m = progress_m - cost_m * offset_m.where(is_finite, 0.0)
        reward_m = reward_m - config.crash_cost_m * is_crash
        ends = config.on_crash == "terminate"
        self._put_back(~is_finite if ends else is_crash)
        terminated = is_crash if ends else torch.zeros_like(is_crash)
        truncated = self._num_steps >= self.max_steps
        last = self._observe()
        self._begin(terminated | truncated)
        return TensorStep(self._observe(), reward_m.float(), terminated, truncated, last)

    @property
    def _known_roads(self) -> TensorRoads:
        if self._roads is None or not self._are_on_tracks:
            raise RuntimeError("`reset` must be called before `step`. Call `reset`.")
        return self._roads

    def _draw_tracks(self, seed: int) -> TensorRoads:
        """Draw the tracks of a seed and, if frames are observed, paint them."""
        config, generator = self.config, np.random.default_rng(seed)
        numbers = generator.choice(config.track_range, self._num_tracks, replace=False)
        self._known_tracks = torch.tensor(numbers, device=self.device)
        roads = [make_road(int(number)) for number in numbers]
        if self._sees_frames:
            looks = [
                Appearance.random(generator) if config.randomize_appearance else Appearance()
                for _ in roads
            ]
            grounds = [
                paint_ground(road, config.lane_half_width_m, look)
                for road, look in zip(roads, looks, strict=True)
            ]
            self._camera = TensorCamera(CameraGeometry(), grounds, self.device)
        return TensorRoads(roads, self.device)

    def _begin(self, which: Tensor) -> None:
        """Draw a start in some worlds; numbers are drawn for all, to avoid a device sync."""
        drawn = {"generator": self._generator, "device": self.device}
        track = torch.randint(self._num_tracks, (self.num_worlds,), **drawn)
        share = torch.rand(self.num_worlds, dtype=torch.float64, **drawn)
        self._start(which, track, share * self._known_roads.length_m[track])

    def _start(self, which: Tensor, track: Tensor, start_m: Tensor) -> None:
        """Start an episode in some worlds, at tracks and arc lengths of shape (worlds,)."""
        self._track = torch.where(which, track, self._track)
        self._arc_m = torch.where(which, start_m, self._arc_m)
        self._num_steps *= ~which
        self._put_back(which)

    def _put_back(self, which: Tensor) -> None:
        """Put some cars on the centre line beside them, with wheels turned to follow the road."""
        x_m, y_m, heading_rad = self._known_roads.places_at(self._track, self._arc_m)
        curvature_1pm = self._known_roads.curvature_at(self._track, self._arc_m)
        steer_rad = torch.atan(self._cars.wheelbase_m * curvature_1pm)
        self._lateral_m = torch.where(which, 0.0, self._lateral_m)
        speed_mps = self.config.cruise_speed_mps
        self._cars.place(which, x_m, y_m, heading_rad, speed_mps, steer_rad)

    def _observe(self) -> Tensor:
        state = self._cars.state()
        if self._sees_frames:
            poses = torch.stack([state.x_m, state.y_m, state.yaw_rad], dim=1)
            return self._camera.render(poses, self._track)
        roads, arc_m = self._known_roads, self._arc_m
        error_rad = wrap_angle(state.yaw_rad - roads.places_at(self._track, arc_m).heading_rad)
        ahead = roads.places_at(self._track, arc_m[:, None] + self._ahead_m)
        dx, dy = ahead.x_m - state.x_m[:, None], ahead.y_m - state.y_m[:, None]
        cosine, sine = state.yaw_rad.cos()[:, None], state.yaw_rad.sin()[:, None]
        own = [
            self._lateral_m,
            error_rad,
            roads.curvature_at(self._track, arc_m),
            state.speed_mps,
        ]
        return torch.cat([torch.stack(own, dim=1), cosine * dy - sine * dx], dim=1).float()
