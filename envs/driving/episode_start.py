"""Start of an episode: reads and checks the options of `reset` of the driving environments."""

from dataclasses import dataclass
from typing import Any

from ncp_control.ranges import check_count, is_number

OPTIONS = ("track", "start_m", "lateral_m", "heading_error_rad")


@dataclass(frozen=True, kw_only=True)
class EpisodeStart:
    """Requested start of an episode; values of None are drawn at random."""

    track: int | None
    """Number of the track."""
    start_m: float | None
    """Arc length along the road [m]."""
    lateral_m: float
    """Offset from the middle of the lane, positive to the left [m]."""
    heading_error_rad: float
    """Car's heading minus the road's [rad]."""

    @classmethod
    def from_options(
        cls, options: dict[str, Any] | None, lane_half_width_m: float
    ) -> "EpisodeStart":
        """Read the options of `reset`.

        Args:
            options: Any of `OPTIONS`, or None.
            lane_half_width_m: Largest offset of a start from the middle of the lane [m].

        Returns:
            The start. Offset and heading error are 0 if not given.

        Raises:
            ValueError: If an option is unknown or out of range.
        """
        options = options or {}
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            raise ValueError(
                f"`options` must have keys among {', '.join(OPTIONS)}, got {unknown[0]!r}. "
                "Remove it."
            )
        track = options.get("track")
        start_m = _read_number(options, "start_m")
        lateral_m = _read_number(options, "lateral_m") or 0.0
        if abs(lateral_m) > lane_half_width_m:
            raise ValueError(
                f"`lateral_m` must be within the lane, ±{lane_half_width_m:g} m, "
                f"got {lateral_m!r}. Start nearer to the centre line."
            )
        return cls(
            track=None if track is None else check_count("track", track, least=0),
            start_m=start_m,
            lateral_m=lateral_m,
            heading_error_rad=_read_number(options, "heading_error_rad") or 0.0,
        )


def _read_number(options: dict[str, Any], name: str) -> float | None:
    value = options.get(name)
    if value is None:
        return None
    if not is_number(value):
        raise ValueError(
            f"`{name}` must be a finite number, got {value!r}. Leave it out for the default."
        )
    return float(value)
