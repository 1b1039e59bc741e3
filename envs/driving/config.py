"""Settings of the driving environments."""

from dataclasses import dataclass
from typing import ClassVar

from envs.driving.road import HELD_OUT_TRACKS, TRAIN_TRACKS, VALIDATION_TRACKS
from ncp_control.names import check_name
from ncp_control.ranges import check_above_zero, check_not_negative, is_number

TRACKS = {"train": TRAIN_TRACKS, "validation": VALIDATION_TRACKS, "held_out": HELD_OUT_TRACKS}


@dataclass(frozen=True, kw_only=True)
class DrivingConfig:
    """Settings of all driving environments."""

    cameras: ClassVar[tuple[str, ...]] = ("opencv", "mujoco", "none")
    """Cameras that the environment supports."""
    positive: ClassVar[tuple[str, ...]] = (
        "episode_s", "control_rate_hz", "lane_half_width_m", "max_steer_rate_radps",
    )  # fmt: skip
    """Settings that must be finite and > 0."""

    tracks: str = "train"
    """Tracks to draw from at each reset: "train", "validation" or "held_out"."""
    episode_s: float = 60.0
    """Duration after which an episode is truncated [s]."""
    on_crash: str = "terminate"
    """"terminate" ends the episode at a crash; "recover" puts the car back on its lane."""
    control_rate_hz: float = 30.0
    """Number of actions and frames per second [Hz]."""
    lane_half_width_m: float = 2.0
    """Distance from the middle of the lane to its border [m]; a car beyond it has crashed."""
    max_steer_rad: float = 0.4
    """Front wheel angle for the action 1 [rad]; the tightest bends of a track need 0.2."""
    max_steer_rate_radps: float = 0.8
    """Largest rate of the front wheel angle [rad/s]; a driver in a hurry reaches about this."""
    preview_distances_m: tuple[float, ...] = tuple(2.0 * step for step in range(1, 11))
    """Distances along the lane at which `info["preview_m"]` has points [m]."""
    cross_track_cost_1ps: float = 1.0
    """Cost of an offset from the middle of the lane: metres of progress per metre and second
    [m/(m·s)]."""
    crash_cost_m: float = 10.0
    """Cost of a crash, in metres of progress."""
    camera: str = "opencv"
    """"opencv" warps the painted ground; "mujoco" renders it with OpenGL; "none" gives black."""
    randomize_appearance: bool = False
    """Draw new light, colours, markings and shadows at each reset."""
    render_view: str = "chase"
    """View of `render`: "chase" from behind the car, or the car's own "camera"."""

    def __post_init__(self) -> None:
        check_name("tracks", self.tracks, tuple(TRACKS))
        check_name("on_crash", self.on_crash, ("terminate", "recover"))
        check_name("camera", self.camera, self.cameras)
        check_name("render_view", self.render_view, ("chase", "camera"))
        if not isinstance(self.randomize_appearance, bool):
            raise ValueError(
                "`randomize_appearance` must be true or false, got"
                f" {self.randomize_appearance!r}. Choose one of these."
            )
        for name in self.positive:
            check_above_zero(name, getattr(self, name))
        if not (is_number(self.max_steer_rad) and 0.0 < self.max_steer_rad <= 0.5):
            raise ValueError(
                f"`max_steer_rad` must be in (0, 0.5], got {self.max_steer_rad!r}. "
                "Use 0.4: the wheels of the car turn no further than 0.6."
            )
        for name in ("cross_track_cost_1ps", "crash_cost_m"):
            check_not_negative(name, getattr(self, name))
        preview = self.preview_distances_m
        if len(preview) == 0 or not all(is_number(d) and d > 0.0 for d in preview):
            raise ValueError(
                f"`preview_distances_m` must be finite distances > 0, got {preview!r}. "
                "Use (2.0, 4.0, 8.0)."
            )

    @property
    def control_period_s(self) -> float:
        """Time between two actions [s]."""
        return 1.0 / self.control_rate_hz

    @property
    def max_steps(self) -> int:
        """Number of frames after which an episode is truncated."""
        return round(self.episode_s * self.control_rate_hz)

    @property
    def track_range(self) -> range:
        """Numbers of the tracks that `reset` draws from."""
        return TRACKS[self.tracks]


@dataclass(frozen=True, kw_only=True)
class LaneKeepingConfig(DrivingConfig):
    """Settings of `LaneKeepingEnv`."""

    positive: ClassVar[tuple[str, ...]] = (*DrivingConfig.positive, "cruise_speed_mps")

    cruise_speed_mps: float = 8.0
    """Speed that the controller holds, and target speed at full throttle [m/s]."""
    drive_speed: bool = False
    """Add a second entry to the action: the target speed."""
