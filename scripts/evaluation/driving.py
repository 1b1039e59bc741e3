"""Driving put together: worlds, the expert that demonstrates, and closed-loop evaluation."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from envs.driving import LaneKeepingConfig, LaneKeepingEnv, VectorObservation
from envs.driving.config import TRACKS
from envs.driving.metrics import LaneTrace
from envs.faults import PixelNoise
from ncp_control.learning.closed_loop import Info, Pilot, PolicyPilot, Step, closed_loop
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.demonstrations.expert import SlowError
from ncp_control.policy import Policy, VectorPolicy
from policies.experts import PurePursuit

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

    def make_world(self) -> gymnasium.Env:
        """Build one world."""
        config = LaneKeepingConfig(
            tracks=self.tracks,
            episode_s=self.seconds_per_track + 1.0,  # never truncated before the loop ends
            on_crash="recover",
            camera=self.camera,
            randomize_appearance=self.randomize_appearance,
        )
        world = LaneKeepingEnv(config)
        return PixelNoise(world, self.noise_variance) if self.noise_variance else world


@dataclass(frozen=True, kw_only=True)
class VectorDriveSettings(DriveSettings):
    """Where and how long cars drive that see numbers instead of frames."""

    def make_world(self) -> gymnasium.Env:
        """Build one world."""
        config = LaneKeepingConfig(
            tracks=self.tracks,
            episode_s=self.seconds_per_track + 1.0,
            on_crash="recover",
            camera="none",
        )
        return VectorObservation(LaneKeepingEnv(config))


DRIVING_WORLD = "LaneKeeping-v0"


def is_driver(policy: VectorPolicy) -> bool:
    """Whether a policy on numbers drives, as its contract says."""
    return policy.contract is not None and policy.contract.world == DRIVING_WORLD


LONGEST_KM = 0.4 * len(TRACKS["held_out"])
"""What all held-out tracks give."""


def check_km(name: str, distance_km: float) -> None:
    """Refuse a distance that `drive_km` cannot make.

    Raises:
        ValueError: If it is less than a metre, or more than there are tracks for.
    """
    if not 0.001 <= distance_km <= LONGEST_KM:
        raise ValueError(
            f"`{name}` must be from 0.001 to {LONGEST_KM:g}, got {distance_km!r}. Drive so far."
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


class ExpertPilot:
    """Let pure pursuit choose the actions, and remember which it chose.

    Args:
        expert: The controller.
        noise: Standard deviation of the slowly varying steering error added to its actions, so
            that the car strays and the expert shows how to come back.
        generator: Source of the randomness.
    """

    def __init__(self, expert: PurePursuit, noise: float, generator: np.random.Generator) -> None:
        self.expert = expert
        self._error = SlowError(noise, generator)

    def labels(self, infos: Sequence[Info]) -> np.ndarray:
        """Return what the expert would do, shape (worlds, 1)."""
        return np.stack([self.expert(info["preview_m"]) for info in infos])

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return the expert's actions with the steering error."""
        return self._error.add(self.labels(infos), reset)


def make_expert(config: LaneKeepingConfig | None = None) -> PurePursuit:
    """Return the expert that fits the car of `LaneKeepingEnv`."""
    world = LaneKeepingEnv(config)
    return PurePursuit(wheelbase_m=world.car.wheelbase_m, max_steer_rad=world.config.max_steer_rad)


def record(
    folder: Path,
    settings: DriveSettings,
    pilot: Pilot,
    expert: ExpertPilot,
    *,
    description: str,
    seed: int,
) -> Demonstrations:
    """Let a pilot drive, write down what it saw and what the expert would have done.

    Args:
        folder: Where the demonstrations are written.
        settings: Where and how long to drive.
        pilot: Who drives: the expert itself, or a learner for DAgger.
        expert: Who is asked.
        description: What the progress bar says.
        seed: Seed of the worlds.
    """
    frame_shape = (78, 200, 3)
    with DemonstrationWriter(folder, frame_shape, np.uint8, 1, overwrite=True) as writer:
        for worlds, tracks in _batches(settings):
            frames, actions, dt_s = [], [], []
            for step in _drive(worlds, tracks, pilot, settings, description, seed):
                frames.append(step.observations)
                actions.append(expert.labels(step.infos))
                dt_s.append(step.dt_s)
            for i in range(len(worlds)):
                writer.append_episode(
                    np.stack([f[i] for f in frames]),
                    np.stack([a[i] for a in actions]),
                    np.stack([t[i] for t in dt_s]),
                )
    return Demonstrations.open(folder)


def evaluate(
    policy: Policy | Pilot, settings: DriveSettings, *, description: str, seed: int = 0
) -> list[LaneTrace]:
    """Drive in closed loop and return what each car did on its track."""
    traces = []
    for worlds, tracks in _batches(settings):
        pilot = PolicyPilot(policy) if isinstance(policy, Policy) else policy
        batch = [LaneTrace(track=track) for track in tracks]
        for step in _drive(worlds, tracks, pilot, settings, description, seed):
            for trace, info in zip(batch, step.outcomes, strict=True):
                trace.append(info)
        traces += batch
    return traces


def drive_track(
    policy: Policy, *, track: int, seconds: float, seed: int, render_mode: str | None = None
) -> tuple[LaneKeepingEnv, Iterator[Step]]:
    """Return the world of one track and the steps of a drive from the start evaluation takes.

    Args:
        policy: Who drives.
        track: Number of the track.
        seconds: How long [s].
        seed: Seed of the track's appearance, as in evaluation.
        render_mode: Passed to the world.
    """
    config = LaneKeepingConfig(
        episode_s=seconds + 1.0, on_crash="recover", randomize_appearance=True
    )
    world = LaneKeepingEnv(config, render_mode=render_mode)
    steps = closed_loop(
        [world],
        PolicyPilot(policy),
        num_steps=round(seconds / config.control_period_s),
        frame_s=config.control_period_s,
        seeds=[seed * 100_000 + track],
        options=[{"track": track, "start_m": 0.0}],
    )
    return world, steps


def _batches(settings: DriveSettings):
    """Yield groups of worlds with the tracks they drive."""
    numbers = settings.track_numbers
    worlds = [settings.make_world() for _ in range(min(settings.parallel, len(numbers)))]
    for first in range(0, len(numbers), len(worlds)):
        tracks = numbers[first : first + len(worlds)]
        yield worlds[: len(tracks)], tracks
    for world in worlds:
        world.close()


def _drive(worlds, tracks, pilot, settings: DriveSettings, description: str, seed: int):
    """Run one group of worlds, each on its own track, with a progress bar."""
    frame_s = worlds[0].unwrapped.config.control_period_s
    num_steps = round(settings.seconds_per_track / frame_s)
    steps = closed_loop(
        worlds,
        pilot,
        num_steps=num_steps,
        frame_s=frame_s,
        # The track's number is in the seed, so a track looks the same in whichever group it is.
        seeds=[seed * 100_000 + track for track in tracks],
        options=[{"track": track, "start_m": 0.0} for track in tracks],
    )
    return tqdm(steps, desc=description, total=num_steps, unit="frame", leave=False)
