"""Driving environments: places to evaluate in, the demonstrating expert, closed-loop evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from envs.driving import LaneKeepingConfig
from envs.driving.config import TRACKS
from ncp_control.worlds import World, find_world
from scripts.evaluation.places import DRIVING_WORLD, Place
from scripts.evaluation.worlds import place_in

ROAD_PARALLEL = 8
"""Number of parallel environments of `RoadDriving-v0`; affects results only in the last digits."""
CAMERAS = ("opencv", "mujoco")
"""Renderers of the camera images."""


@dataclass(frozen=True, kw_only=True)
class DriveSettings:
    """Tracks of `LaneKeeping-v0` to drive, how long, and with which camera and noise."""

    tracks: str
    """Range of tracks: train, validation or held_out."""
    num_tracks: int
    """Number of tracks to drive, starting with `first_track`."""
    seconds_per_track: float
    """Driving time on each track [s]."""
    first_track: int = 0
    """Position of the first track in the range."""
    noise_variance: float = 0.0
    """Variance of Gaussian pixel noise on images in [0, 1]."""
    randomize_appearance: bool = True
    """Whether light, colours, markings and shadows are random for each track."""
    camera: str = "opencv"
    """Renderer of the camera images: opencv or mujoco."""
    observe: str = "full"
    """Observation of the policy: numbers, or full for frames."""
    parallel: int = 16
    """Number of parallel environments, i.e. batch size of the policy."""

    @property
    def track_numbers(self) -> list[int]:
        """Numbers of the tracks."""
        numbers = TRACKS[self.tracks][self.first_track : self.first_track + self.num_tracks]
        if len(numbers) < self.num_tracks or self.num_tracks < 1:
            raise ValueError(
                f"`num_tracks` must be from 1 to {len(TRACKS[self.tracks])} with"
                f" `first_track`={self.first_track}, got {self.num_tracks!r}. Ask for fewer tracks."
            )
        return list(numbers)

    @property
    def world(self) -> World:
        """The environment without pixel noise; its episodes outlast `seconds_per_track`."""
        return find_world(
            DRIVING_WORLD,
            observe="frames" if self.observe == "full" else self.observe,
            camera=self.camera,
            tracks=self.tracks,
            on_crash="recover",
            episode_s=self.seconds_per_track + 1.0,
            randomize_appearance=self.randomize_appearance,
        )

    def place(self, seed: int = 0) -> Place:
        """Return the place for these settings.

        Args:
            seed: Seed of appearances and noise.
        """
        numbers, world = self.track_numbers, self.world
        return Place(
            world=world,
            # The seed contains the track number, so the look of a track is independent of others.
            seeds=[seed * 100_000 + track for track in numbers],
            options=[{"track": track, "start_m": 0.0} for track in numbers],
            num_steps=round(self.seconds_per_track / world.frame_s),
            strengths={"noise": self.noise_variance},
            labels={"noise variance": f"{self.noise_variance:g}"},
            parallel=self.parallel,
        )


LONGEST_KM = 0.4 * len(TRACKS["held_out"])
"""Longest distance for which there are held-out tracks, at about 400 m per track [km]."""


def check_km(name: str, distance_km: float) -> None:
    """Refuse a distance that is not possible with `drive_km`.

    Raises:
        ValueError: If it is less than a metre, or longer than `LONGEST_KM`.
    """
    if not 0.001 <= distance_km <= LONGEST_KM:
        raise ValueError(
            f"`{name}` must be from 0.001 to {LONGEST_KM:g}, got {distance_km!r}. There are no more"
            " held-out tracks."
        )


def drive_km(distance_km: float, **changes: Any) -> DriveSettings:
    """Return settings to drive about a distance on held-out tracks, about 400 m on each.

    Args:
        distance_km: Distance at cruise speed [km].
        changes: Other values for fields of `DriveSettings`.
    """
    check_km("distance_km", distance_km)
    seconds = 1000.0 * distance_km / LaneKeepingConfig().cruise_speed_mps
    num_tracks = math.ceil(seconds / 50.0)
    defaults = {
        "tracks": "held_out",
        "num_tracks": num_tracks,
        "seconds_per_track": 1.02 * seconds / num_tracks,  # cars start and turn a little slower
    }
    return DriveSettings(**(defaults | changes))


def changes_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `DriveSettings` that options of `LaneKeeping-v0` set.

    `observe` is left out: the policy that is measured decides on it.

    Raises:
        ValueError: If one of the options is set by every measured drive.
    """
    for name in ("on_crash", "episode_s"):
        if name in options:
            raise ValueError(
                f"`world_options` must leave out {name} where {DRIVING_WORLD} is measured, got"
                f" {options[name]!r}: a car that crashed is put back, and how far it drives is an"
                " option of the command."
            )
    return {name: value for name, value in options.items() if name != "observe"}


SLOWEST_MPS = 2.0
"""Mean speed below which a car of `RoadDriving-v0` does not reach the distance [m/s]."""


def road_place(
    world: World, place_words: Sequence[str], strengths: Mapping[str, float], km: float, seed: int
) -> Place:
    """Return a place in `RoadDriving-v0` where episodes are driven until a distance is reached.

    Args:
        world: The environment.
        place_words: Name of the environment for tables, observation, and further options.
        strengths: Strength of each disturbance by name.
        km: Distance [km]. A car that hardly moves stops after the time `km` / `SLOWEST_MPS`.
        seed: Seed of the episodes.
    """
    check_km("km", km)
    episodes = math.ceil(1000.0 * km / SLOWEST_MPS / (world.frame_s * world.max_steps))
    place = place_in(world, place_words, strengths, episodes, 10_000 + 100_000 * seed)
    labels = {name: text for name, text in place.labels.items() if name != "episodes"}
    described = place.described.replace(f"episodes={episodes}", f"km={km:g}")
    return replace(place, least_km=km, parallel=ROAD_PARALLEL, labels=labels, described=described)


def track_place(
    track: int, seconds: float, seed: int, observe: str = "full", **changes: Any
) -> Place:
    """Return a place for one drive of one track, with the same start as in evaluation.

    Args:
        track: Number of the track.
        seconds: Driving time [s].
        seed: Seed of the appearance of the track, as in evaluation.
        observe: Observation of the policy: numbers, or full for frames.
        changes: Other values for fields of `DriveSettings`.
    """
    usual = {
        "observe": observe,
        "tracks": "held_out",
        "num_tracks": 1,
        "seconds_per_track": seconds,
    }
    return replace(
        DriveSettings(**(usual | changes)).place(seed),
        seeds=[seed * 100_000 + track],
        options=[{"track": track, "start_m": 0.0}],
        where=f"track {track}",
    )
