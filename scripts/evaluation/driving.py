"""Driving put together: worlds, the expert that demonstrates, and closed-loop evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from envs.driving import LaneKeepingConfig, LaneKeepingEnv
from envs.driving.config import TRACKS
from envs.driving.pure_pursuit import PurePursuit
from ncp_control.episode import Episode
from ncp_control.learning.closed_loop import Pilot
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.demonstrations.expert import demonstrate
from ncp_control.learning.experts import ExpertError
from ncp_control.policy import Policy
from ncp_control.worlds import Expert, World, find_world
from scripts.evaluation.locomotion import place_in
from scripts.evaluation.places import DRIVING_WORLD, Place

ROAD_PARALLEL = 8
"""Cars of `RoadDriving-v0` side by side; what they drive depends on it in the last digits alone."""
CAMERAS = ("opencv", "mujoco")
"""What a policy on frames may see through."""


@dataclass(frozen=True, kw_only=True)
class DriveSettings:
    """Where and how long cars drive."""

    tracks: str
    """Track range: train, validation or held_out."""
    num_tracks: int
    """Tracks driven, from the first of the range on."""
    seconds_per_track: float
    """Time on each track [s]."""
    first_track: int = 0
    """Position in the range of the first track."""
    noise_variance: float = 0.0
    """Variance of Gaussian pixel noise on images in [0, 1]."""
    randomize_appearance: bool = True
    """Light, colours, markings and shadows drawn anew for each track."""
    camera: str = "opencv"
    """opencv or mujoco."""
    parallel: int = 16
    """Cars side by side, so that the policy sees a batch."""

    observe: ClassVar[str] = "frames"
    """What the policy sees."""

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
        """The world without pixel noise, whose episodes do not end before the loop."""
        return find_world(
            DRIVING_WORLD,
            observe=self.observe,
            camera=self.camera,
            tracks=self.tracks,
            on_crash="recover",
            episode_s=self.seconds_per_track + 1.0,
            randomize_appearance=self.randomize_appearance,
        )

    def place(self, seed: int = 0) -> Place:
        """Return where the cars are measured.

        Args:
            seed: Seed of the appearances and of the noise.
        """
        numbers, world = self.track_numbers, self.world
        return Place(
            world=world,
            # The track's number is in the seed, so a track looks the same in whichever group it is.
            seeds=[seed * 100_000 + track for track in numbers],
            options=[{"track": track, "start_m": 0.0} for track in numbers],
            num_steps=round(self.seconds_per_track / world.frame_s),
            strengths={"noise": self.noise_variance},
            labels={"noise variance": f"{self.noise_variance:g}"},
            parallel=self.parallel,
        )


@dataclass(frozen=True, kw_only=True)
class VectorDriveSettings(DriveSettings):
    """Where and how long cars drive that see numbers instead of frames."""

    observe: ClassVar[str] = "numbers"


LONGEST_KM = 0.4 * len(TRACKS["held_out"])
"""Longest distance that can be driven on the held-out tracks, some 400 m of each [km]."""


def check_km(name: str, distance_km: float) -> None:
    """Refuse a distance that `drive_km` cannot make.

    Raises:
        ValueError: If it is less than a metre, or more than there are tracks for.
    """
    if not 0.001 <= distance_km <= LONGEST_KM:
        raise ValueError(
            f"`{name}` must be from 0.001 to {LONGEST_KM:g}, got {distance_km!r}. There are no more"
            " held-out tracks."
        )


def drive_km(distance_km: float, **changes: Any) -> DriveSettings:
    """Return settings for about a distance on held-out tracks, some 400 m of each.

    Args:
        distance_km: Distance at cruise speed [km].
        changes: Fields of `DriveSettings` to set otherwise.
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

    What is observed is no field: `VectorDriveSettings` has it.

    Raises:
        ValueError: If one of them is what a measured drive sets itself.
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
"""Mean speed below which a car of `RoadDriving-v0` does not reach the distance asked for."""


def road_place(
    world: World, told: Sequence[str], strengths: Mapping[str, float], km: float, seed: int
) -> Place:
    """Return a place in `RoadDriving-v0` where a car drives until it has come so far.

    Args:
        world: The world.
        told: Its name for tables, what is observed, and its further options.
        strengths: Strength of each disturbance by name.
        km: Distance [km]; a car that hardly moves drives for `km` / `SLOWEST_MPS`.
        seed: Seed of the episodes.
    """
    check_km("km", km)
    episodes = math.ceil(1000.0 * km / SLOWEST_MPS / (world.frame_s * world.max_steps))
    place = place_in(world, told, strengths, episodes, 10_000 + 100_000 * seed)
    labels = {name: text for name, text in place.labels.items() if name != "episodes"}
    described = place.described.replace(f"episodes={episodes}", f"km={km:g}")
    return replace(place, least_km=km, parallel=ROAD_PARALLEL, labels=labels, described=described)


def make_expert() -> PurePursuit:
    """Return the expert that fits the car of `LaneKeepingEnv`."""
    world = LaneKeepingEnv()
    return PurePursuit(wheelbase_m=world.car.wheelbase_m, max_steer_rad=world.config.max_steer_rad)


def record(
    folder: Path,
    settings: DriveSettings,
    expert: PurePursuit,
    *,
    learner: Policy | Pilot | None = None,
    error: ExpertError | None = None,
    description: str,
    seed: int,
    workers: int = 1,
    frames_as: str = "raw",
) -> Demonstrations:
    """Let somebody drive, write down what was seen and what the expert would have done.

    Args:
        folder: Where the demonstrations are written.
        settings: Where and how long to drive.
        expert: Who is asked.
        learner: Who drives, as DAgger asks; the expert itself if None.
        error: Added to what the expert does while it drives.
        description: What the progress bar says.
        seed: Seed of the worlds.
        workers: Processes that share the tracks; what is written is the same with any number.
        frames_as: How frames are kept; see `DemonstrationWriter`.
    """
    place = settings.place(seed)
    return demonstrate(
        folder,
        place.disturbed,
        asked(expert),
        place.seeds,
        options=place.options,
        num_steps=place.num_steps,
        parallel=settings.parallel,
        learner=learner,
        error=error,
        description=description,
        workers=workers,
        find=partial(find_scene, settings, seed, expert),
        frames_as=frames_as,
    )


def find_scene(settings: DriveSettings, seed: int, expert: PurePursuit) -> tuple[World, Expert]:
    """Return where the cars of the settings drive, and what asks the expert there."""
    return settings.place(seed).disturbed, asked(expert)


def asked(expert: PurePursuit) -> Expert:
    """Return what asks the expert in a world of lanes."""
    return lambda env, seen, info: expert(info["preview_m"])


def evaluate(
    policy: Policy | Pilot, settings: DriveSettings, *, description: str, seed: int = 0
) -> list[Episode]:
    """Drive in closed loop and return what each car did on its track."""
    return settings.place(seed).run(policy, description=description)


def track_place(
    track: int, seconds: float, seed: int, observe: str = "full", **changes: Any
) -> Place:
    """Return a drive of one track, to be looked at, from the start that evaluation takes.

    Args:
        track: Number of the track.
        seconds: How long [s].
        seed: Seed of the track's appearance, as in evaluation.
        observe: numbers, or full for frames.
        changes: Fields of `DriveSettings` to set otherwise.
    """
    kind = VectorDriveSettings if observe == "numbers" else DriveSettings
    usual = {"tracks": "held_out", "num_tracks": 1, "seconds_per_track": seconds}
    return replace(
        kind(**(usual | changes)).place(seed),
        seeds=[seed * 100_000 + track],
        options=[{"track": track, "start_m": 0.0}],
        where=f"track {track}",
    )
