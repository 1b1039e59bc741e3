"""The job `monitor.py calibrate`: fits the monitor to good driving and saves it with the policy."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ncp_control.acting.recorder import iterate_episodes
from ncp_control.command_line import use_threads
from ncp_control.contract import Contract
from ncp_control.keyword_options import read_options
from ncp_control.loop.pilot import needed_contract
from ncp_control.loop.profile import InputProfile, SeenDrive, has_colours, statistics_of
from ncp_control.policy import Policy, load, policy_folder
from ncp_control.records import array_of, frames_part
from ncp_control.worlds import World, find_world
from scripts.evaluation.places import CAR_WORLDS, threads_for
from scripts.recordings import opened
from scripts.running.settings import Calibrate

PARALLEL = 8
LEAST_OBSERVATIONS = 6
AFTER_S = 1.0
"""A drive is left out if the episode terminates before its length plus this time [s]."""
FEW_DRIVES = 5
"""Number of drives below which a warning is printed: too few to tell which inputs are usual."""
STRAY_M, STRAY_RAD = 1.0, 0.1
"""Largest initial offset from the lane centre [m] and from its direction [rad] of a car, so that
views from there count as usual."""


def calibrate(settings: Calibrate) -> None:
    """Collect observations of good driving, fit the monitor, and write monitor.json."""
    policy, folder = load(settings.policy), policy_folder(settings.policy)
    use_threads(threads_for(policy, None))
    contract = needed_contract(policy)
    if settings.log is not None:
        options = read_options(settings.log_options, "log_options")
        fitted, others = recorded(settings.log, contract, options, settings.seconds)
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
        is_coloured=has_colours(contract.observation),
        margin=settings.margin,
        held_share=settings.held_share,
        provenance={"world": contract.world, **described(settings), "policy": folder.name},
    )
    path = profile.save(folder)
    print(f"usual up to a distance of {profile.limit:.3g} (median {median(profile, others):.3g})")
    largest, many = profile.provenance["largest_distance"], len(others) > 1
    print(f"set by {len(others)} {'drives; their' if many else 'drive; its'} farthest input was at"
          f" {largest:.3g}")  # fmt: skip
    if len(others) < FEW_DRIVES:
        print(
            f"note: fewer than {FEW_DRIVES} drives are too few to know what is usual; expect"
            " the monitor to hold and stop on good roads. Calibrate on more."
        )
    print(f"monitor: {path}, {path.stat().st_size:,} bytes")


def described(settings: Calibrate) -> dict[str, Any]:
    """Return the settings that say how inputs were collected, as JSON values."""
    values = dataclasses.asdict(settings)
    names = ("log", "seconds") if settings.log is not None else ("episodes", "seconds", "seed")
    return {name: str(values[name]) if name == "log" else values[name] for name in names}


def recorded(
    log: Path, contract: Contract, options: dict[str, Any], seconds: float
) -> tuple[list[SeenDrive], list[SeenDrive]]:
    """Return the first two thirds of a recording, and the rest, each as drives of `seconds` [s].

    Raises:
        ValueError: If the observations do not match the contract, or there are too few.
    """
    with opened(log, contract, options) as (store, _):
        shape = array_of(contract.observation)[0]
        if store.observations.shape[1:] != shape:
            raise ValueError(
                f"`log` must hold observations of {shape}, got {store.observations.shape[1:]}. Name"
                " the recording that the policy learned from."
            )
        if len(store) < LEAST_OBSERVATIONS:
            raise ValueError(
                f"`log` must hold at least {LEAST_OBSERVATIONS} observations, got {len(store)}."
                " Name a longer recording."
            )
        sensed = contract.observation
        numbers = np.stack([statistics_of(np.asarray(one), sensed) for one in store.observations])
        time_s, starts = np.cumsum(store.dt_s, dtype=np.float64), store.episode_starts
    cut = round(len(numbers) * 2 / 3)
    parts: tuple[list[SeenDrive], list[SeenDrive]] = [], []
    for rows in np.split(np.arange(len(numbers)), np.union1d(starts[1:], cut)):
        lasts_s = float(time_s[rows[-1]] - time_s[rows[0]])
        for piece in np.array_split(rows, min(max(round(lasts_s / seconds), 1), len(rows))):
            parts[int(rows[0] >= cut)].append(SeenDrive(numbers[piece], time_s[piece]))
    return parts


def seen_in(
    policy: Policy, contract: Contract, settings: Calibrate, part: str, episodes: int
) -> list[SeenDrive]:
    """Return the observations of episodes of a part ("train", "validation"), without bad driving.

    Observations just before a crash or a fall are not usual and would raise the limit. So an
    episode that the environment terminates within its length plus `AFTER_S` is left out, unless
    this applies to at least half of the episodes.
    """
    world, options, seeds = _episodes(contract, settings, part, episodes)
    sensed, num_steps = contract.observation, _steps(settings.seconds, world)
    driven = iterate_episodes(
        world,
        policy,
        seeds=seeds,
        options=options,
        num_steps=num_steps + _steps(AFTER_S, world),
        parallel=PARALLEL,
        keeps_observations=True,
    )
    drives, good = [], []
    for one in driven:
        statistics = np.stack(
            [statistics_of(each, sensed) for each in one.recorded_observations[:num_steps]]
        )
        drives.append(SeenDrive(statistics, one.time_s[:num_steps]))
        good += [] if one.is_terminated else drives[-1:]
    if len(good) <= len(drives) / 2:  # a world in which good episodes end, e.g. at a goal
        return drives
    if len(good) < len(drives):
        print(f"left out: {len(drives) - len(good)} of {len(drives)} drives, which the world ended")
    return good


def _steps(seconds: float, world: World) -> int:
    return max(round(seconds / world.frame_s), 2)


def _episodes(
    contract: Contract, settings: Calibrate, part: str, episodes: int
) -> tuple[World, list[Any] | None, list[int]]:
    """Return the environment, and reset options and seeds of its episodes.

    Cars start at random offsets, on tracks of the part. Other environments have no reset options.
    """
    first = settings.seed * 1_000_000 + (500_000 if part == "validation" else 0)
    seeds = list(range(first, first + episodes))
    options = dict(contract.world_options)
    if contract.world not in CAR_WORLDS:
        return find_world(contract.world, **options), None, seeds
    rng = np.random.default_rng([settings.seed, len(part)])
    starts = rng.uniform(-1.0, 1.0, (episodes, 2)) * (STRAY_M, STRAY_RAD)
    begun = [{"lateral_m": x, "heading_error_rad": angle} for x, angle in starts.tolist()]
    options = {**options, "tracks": part, "on_crash": "terminate"}
    return find_world(contract.world, **options), begun, seeds


def median(profile: InputProfile, drives: list[SeenDrive]) -> float:
    """Return the median distance of all observations in some drives."""
    return float(np.median(np.concatenate([profile.distances(one.numbers) for one in drives])))
