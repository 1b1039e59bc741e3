"""What `monitor.py calibrate` does: drives well, and writes what was seen beside the policy."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from envs.recorded import load_recording
from ncp_control.command_line import use_threads
from ncp_control.contract import Contract
from ncp_control.keyword_options import read_options
from ncp_control.loop.pilot import contract_of
from ncp_control.loop.profile import InputProfile, statistics_of
from ncp_control.policy import Policy, load, policy_folder
from ncp_control.recorder import iterate_episodes
from ncp_control.records import array_of, frames_part, record_frame
from ncp_control.worlds import World, find_world
from scripts.evaluation.places import CAR_WORLDS, threads_for
from scripts.monitor import Calibrate

PARALLEL = 8
STRAY_M, STRAY_RAD = 1.0, 0.1
"""How far from the lane's middle and direction cars begin, so that such views are usual."""


def calibrate(settings: Calibrate) -> None:
    """Drive, fit, and write monitor.json."""
    policy, folder = load(settings.policy), policy_folder(settings.policy)
    use_threads(threads_for(policy, None))
    contract = contract_of(policy)
    if settings.log is not None:
        options = read_options(settings.log_options, "log_options")
        fitted, others = recorded(settings.log, contract, options)
    elif contract.world:
        num_fitted = round(settings.episodes * 2 / 3)
        fitted = seen_in(policy, contract, settings, "train", num_fitted)
        others = seen_in(policy, contract, settings, "validation", settings.episodes - num_fitted)
    else:
        raise ValueError(
            "`log` must name a recording for a policy whose contract names no world, got None."
        )
    profile = InputProfile.fit(
        fitted,
        others,
        is_frames=frames_part(contract.observation) is not None,
        margin=settings.margin,
        told={"world": contract.world, **described(settings), "policy": folder.name},
    )
    path = profile.save(folder)
    print(f"usual up to a distance of {profile.limit:.3g} (median {median(profile, others):.3g})")
    print(f"monitor: {path}, {path.stat().st_size:,} bytes")


def described(settings: Calibrate) -> dict[str, Any]:
    """Return the settings that say how inputs were collected, as JSON values."""
    values = dataclasses.asdict(settings)
    names = ("log",) if settings.log is not None else ("episodes", "seconds", "seed")
    return {name: str(values[name]) if name == "log" else values[name] for name in names}


def recorded(
    log: Path, contract: Contract, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the first two thirds of a recording, and of the rest.

    Raises:
        ValueError: If its observations are not those of the contract.
    """
    recording = load_recording(log, options=options).chosen_for(contract)
    with recording.center_only().as_demonstrations() as store:
        shape = array_of(contract.observation)[0]
        if store.observations.shape[1:] != shape:
            raise ValueError(
                f"`log` must hold observations of {shape}, got {store.observations.shape[1:]}. Name"
                " the recording that the policy learned from."
            )
        frame = record_frame(contract.observation)
        numbers = np.stack([statistics_of(np.asarray(one), frame) for one in store.observations])
    cut = round(len(numbers) * 2 / 3)
    return numbers[:cut], numbers[cut:]


def seen_in(
    policy: Policy, contract: Contract, settings: Calibrate, part: str, episodes: int
) -> np.ndarray:
    """Return the numbers of every observation of some episodes, shape (observations, n)."""
    world, options, seeds = _episodes(contract, settings, part, episodes)
    numbers = [
        statistics_of(seen, record_frame(contract.observation))
        for episode in iterate_episodes(
            world,
            policy,
            seeds=seeds,
            options=options,
            num_steps=max(round(settings.seconds / world.frame_s), 2),
            parallel=PARALLEL,
            keeps_observations=True,
        )
        for seen in episode.seen
    ]
    return np.stack(numbers)


def _episodes(
    contract: Contract, settings: Calibrate, part: str, episodes: int
) -> tuple[World, list[Any] | None, list[int]]:
    """Return a world, and how each of its episodes begins: a car on tracks of each part's own."""
    first = settings.seed * 1_000_000 + (500_000 if part == "validation" else 0)
    seeds = list(range(first, first + episodes))
    options = dict(contract.world_options)
    if contract.world not in CAR_WORLDS:
        return find_world(contract.world, **options), None, seeds
    rng = np.random.default_rng([settings.seed, len(part)])
    starts = rng.uniform(-1.0, 1.0, (episodes, 2)) * (STRAY_M, STRAY_RAD)
    begun = [{"lateral_m": x, "heading_error_rad": angle} for x, angle in starts.tolist()]
    return find_world(contract.world, **{**options, "tracks": part}), begun, seeds


def median(profile: InputProfile, numbers: np.ndarray) -> float:
    """Return the median distance of observations."""
    return float(np.median([profile.distance(one) for one in numbers]))
