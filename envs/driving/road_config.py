"""Settings of the road with traffic and people."""

from dataclasses import dataclass
from typing import ClassVar

from envs.driving.config import DrivingConfig
from envs.driving.traffic_draws import LEVELS
from ncp_control.names import check_name
from ncp_control.ranges import check_not_negative, is_number


@dataclass(frozen=True, kw_only=True)
class RoadDrivingConfig(DrivingConfig):
    """Settings of `RoadDrivingEnv`."""

    cameras: ClassVar[tuple[str, ...]] = ("opencv", "none")
    positive: ClassVar[tuple[str, ...]] = (
        *DrivingConfig.positive, "top_speed_mps", "throttle_mps2", "braking_mps2",
    )  # fmt: skip

    lane_half_width_m: float = 1.75
    """Distance from the middle of the lane to its border [m]. A car whose middle is beyond it has
    left the lane."""
    cross_track_cost_1ps: float = 0.3
    """Cost of an offset from the middle of the lane: metres of progress per metre and second
    [m/(m·s)]."""
    crash_cost_m: float = 10.0
    """Cost of leaving the lane, in metres of progress."""
    collision_cost_m: float = 30.0
    """Cost of a collision, in metres of progress."""
    traffic: str = "full"
    """Amount of traffic: "none", "light", "full", or "crowded", with many more people."""
    friction: float | tuple[float, float] = 1.0
    """Grip of the tyres, 1 on dry asphalt. Give a lowest and a highest value to draw a new grip at
    each reset."""
    top_speed_mps: float = 20.0
    """Largest speed [m/s]."""
    throttle_mps2: float = 3.0
    """Acceleration for the value 1 of the second action [m/s²]."""
    braking_mps2: float = 5.0
    """Deceleration for the value -1 of the second action [m/s²]."""
    observe: str = "full"
    """Content of observations: "full" for frames and the own speed, or "frames" alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("traffic", self.traffic, tuple(LEVELS))
        check_name("observe", self.observe, ("full", "frames"))
        check_not_negative("collision_cost_m", self.collision_cost_m)
        limits = self.friction if isinstance(self.friction, tuple | list) else (self.friction,)
        is_known = 1 <= len(limits) <= 2 and all(is_number(value) for value in limits)
        if not (is_known and 0.2 <= limits[0] <= limits[-1] <= 1.5):
            raise ValueError(
                f"`friction` must be a number from 0.2 to 1.5, or a lowest and a highest one, got"
                f" {self.friction!r}. Use 1 for dry asphalt, 0.5 for a wet road."
            )

    @property
    def friction_range(self) -> tuple[float, float]:
        """Lowest and highest grip."""
        if isinstance(self.friction, tuple | list):
            return self.friction[0], self.friction[-1]
        return self.friction, self.friction
