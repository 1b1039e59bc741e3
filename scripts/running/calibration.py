"""The job `monitor.py calibrate`: fits the monitor to good driving and saves it with the policy."""

from pathlib import Path
from typing import Any

import numpy as np

from ncp_control.acting.recorder import iterate_episodes
from ncp_control.command_line import use_threads
from ncp_control.contract import Contract
from ncp_control.keyword_options import read_options
from ncp_control.learning.results import provenance
from ncp_control.learning.run import typed_command
from ncp_control.loop.pilot import needed_contract
from ncp_control.loop.profile import InputProfile, SeenDrive, statistics_of
from ncp_control.policy import Policy, load, policy_folder
from ncp_control.records import array_of
from ncp_control.worlds import World, find_world
from scripts.evaluation.places import CAR_WORLDS, threads_for
from scripts.recordings import check_log, opened
from scripts.running.settings import Calibrate

PARALLEL = 8
LEAST_OBSERVATIONS = 6
AFTER_S = 1.0
"""An episode is left out if it terminates before its length plus this time [s]."""
FEW = 5
"""Number of episodes or pieces below which a note is printed: too few to tell which inputs are
usual."""
STRAY_M, STRAY_RAD = 1.0, 0.1
"""Largest initial offset from the lane centre [m] and from its direction [rad] of a car, so that
views from there count as usual."""


def calibrate(settings: Calibrate) -> None:
    """Collect observations of good driving, fit the monitor, and write monitor.json."""
    policy, folder = load(settings.policy), policy_folder(settings.policy)
    use_threads(threads_for(policy, None))
    contract = needed_contract(policy)
    seconds = settings.length_s(contract.frame_s)
    if settings.log is not None:
        check_log(settings.log, policy)
        options = read_options(settings.log_options, "log_options")
        fitted, others = recorded(settings.log, contract, options, seconds)
    elif contract.world:
        num_fitted = round(settings.episodes * 2 / 3)
        fitted = seen_in(policy, contract, settings, "train", num_fitted)
        others = seen_in(policy, contract, settings, "validation", settings.episodes - num_fitted)
    else:
        raise ValueError(
            "`log` must name a recording for a policy whose contract names no world, got None. A"
            " policy of a time series takes the rows that its training wrote, e.g."
            " runs/RUN/demonstrations/train."
        )
    profile = InputProfile.fit(
        fitted,
        others,
        contract.observation,
        margin=settings.margin,
        held_share=settings.held_share,
        provenance={
            **described(settings, contract, seconds),
            "policy": folder.name,
            **provenance(typed_command()),
        },
    )
    path = profile.save(folder)
    print(f"usual up to a distance of {profile.limit:.3g} (median {median(profile, others):.3g})")
    kind, many = "episode" if settings.log is None else "piece", len(others) > 1
    longest = max(len(one.numbers) for one in others)
    print(
        f"set by {len(others)} {kind}{'s' * many} of at most {longest:,} frames;"
        f" {'their' if many else 'its'} farthest input was at"
        f" {profile.provenance['largest_distance']:.3g}"
    )
    if settings.log is not None and 2 * longest < _steps(seconds, contract.frame_s):
        print(
            f"note: no piece has more than {longest:,} frames, since the recording is short or has"
            " gaps. A longer run of usual inputs goes farther: raise --margin."
        )
    if len(others) < FEW:
        print(
            f"note: fewer than {FEW} {kind}s are too few to know what is usual; expect the"
            " monitor to hold and stop where all is well. Calibrate on more."
        )
    print(f"monitor: {path}, {path.stat().st_size:,} bytes")


def described(settings: Calibrate, contract: Contract, seconds: float) -> dict[str, Any]:
    """Return where and with which settings inputs were collected, as JSON values."""
    if settings.log is not None:
        options = list(settings.log_options)
        return {"log": str(settings.log), "log_options": options, "seconds": seconds}
    return {"world": contract.world, "world_options": contract.world_options,
            "episodes": settings.episodes, "seconds": seconds, "seed": settings.seed}  # fmt: skip


def recorded(
    log: Path, contract: Contract, options: dict[str, Any], seconds: float
) -> tuple[list[SeenDrive], list[SeenDrive]]:
    """Return the first two thirds of a recording, and the rest, each in pieces of `seconds` [s].

    Pieces are cut by frames, so that a gap in the times makes no piece short.

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
        num_frames = _steps(seconds, float(np.median(store.dt_s)) or contract.frame_s)
    cut = round(len(numbers) * 2 / 3)
    parts: tuple[list[SeenDrive], list[SeenDrive]] = [], []
    for rows in np.split(np.arange(len(numbers)), np.union1d(starts[1:], cut)):
        for piece in np.array_split(rows, max(round(len(rows) / num_frames), 1)):
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
    sensed = contract.observation
    num_steps = _steps(settings.length_s(world.frame_s), world.frame_s)
    driven = iterate_episodes(
        world,
        policy,
        seeds=seeds,
        options=options,
        num_steps=num_steps + _steps(AFTER_S, world.frame_s),
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
        print(
            f"left out: {len(drives) - len(good)} of {len(drives)} episodes, which the world ended"
        )
    return good


def _steps(seconds: float, frame_s: float) -> int:
    return max(round(seconds / frame_s), 2)


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
