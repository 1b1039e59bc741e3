"""Places in which `evaluate.py` lets a policy act, and the place that is filmed."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from envs.conditions import read_conditions
from envs.driving.safety_filter import guarded
from ncp_control.deploy.backends import BACKENDS
from ncp_control.keyword_options import read_options
from ncp_control.policy import Policy
from scripts.disturbances import DISTURBANCES, check_disturbance
from scripts.evaluation.driving import (
    changes_of,
    drive_km,
    road_place,
    track_place,
)
from scripts.evaluation.places import (
    CLEAN,
    DRIVING_WORLD,
    ROAD_WORLD,
    Place,
    check_fit,
)
from scripts.evaluation.settings import Evaluate
from scripts.evaluation.worlds import place_in, where_to_act
from scripts.unused_settings import refuse_changed

TORCH, BACKEND = "torch", "back end"
"""Name of the back end that is the policy itself, and column of the back end in tables."""
LANE_KM = 20.0
"""Default distance in LaneKeeping-v0 [km]."""
RECORDED = ("log", "log_options", "log_share", "log_part")
DRIVING = ("km", "camera")
ACTING = (
    *("backend", "world", "world_options", *DISTURBANCES, "condition"),
    *("safety_filter", "episodes", "live", "seed", "workers"),
)
"""Settings used only for a recording, only for driving, or only for acting in an environment."""


def find_places(policy: Policy, settings: Evaluate) -> list[Place]:
    """Return places for all combinations of disturbances, all conditions and all back ends.

    Raises:
        ValueError: If the policy does not fit the environment, or a setting or disturbance has no
            use in it.
    """
    where = where_to_act(policy, settings.world, settings.world_options)
    env, world = where.env, where.world  # refuses unknown options
    asked_for = (getattr(settings, name) for name in DISTURBANCES)
    grid: list[dict[str, float]] = [
        dict(zip(DISTURBANCES, one, strict=True)) for one in itertools.product(*asked_for)
    ]
    if env == DRIVING_WORLD:
        refuse_changed(settings, RECORDED, "for driving without a recording")
        here = f"for a policy that drives in {env}"
        refuse_changed(settings, ("episodes", "safety_filter"), here)
        places = [_drive(settings, where.observe, strengths) for strengths in grid]
    else:
        others = "for another world than LaneKeeping-v0"
        refuse_changed(settings, (*RECORDED, "camera"), others)
        words = where.words
        if env != ROAD_WORLD:
            refuse_changed(settings, ("safety_filter",), f"for another world than {ROAD_WORLD}")
        elif settings.safety_filter:
            world, words = guarded(world), (*words, "safety-filter")
        if settings.km is None:
            seed = 10_000 + 1_000 * settings.seed
            places = [place_in(world, words, one, settings.episodes, seed) for one in grid]
        else:
            if env != ROAD_WORLD:
                refuse_changed(settings, ("km",), "for another world than those with a car")
            refuse_changed(settings, ("episodes",), "for a drive with --km")
            places = [road_place(world, words, one, settings.km, settings.seed) for one in grid]
    check_fit("policy", policy, places[0].world, where.in_words)
    if settings.condition:
        clean = places[0]
        places = [
            dataclasses.replace(place, labels={**place.labels, "condition": CLEAN})
            for place in places
        ]
        met = read_conditions(settings.condition, clean.conditions)
        places += [clean.under(name, severity) for name, severity in met]
    places = list({place.described: place for place in places}.values())  # without duplicates
    for name in DISTURBANCES:
        check_disturbance(places[0].world, name, name, max(getattr(settings, name)))
    if settings.backend == (TORCH,):
        return places
    backends = dict.fromkeys(settings.backend)
    for backend in backends:
        BACKENDS.find(backend.partition(":")[0])  # refuses unknown names before the work
    return [on_backend(place, backend) for backend in backends for place in places]


def place_to_film(places: Sequence[Place], settings: Evaluate, longest_s: float) -> Place:
    """Return the place to film: the first one; in LaneKeeping-v0, a drive of its first track.

    That drive is disturbed as asked if there is one place, and else undisturbed.

    Args:
        places: Places of the evaluation.
        settings: Settings of the job.
        longest_s: Longest duration of the film or the live episode [s].
    """
    world = places[0].world
    if world.name != DRIVING_WORLD:
        return places[0]
    assert places[0].options is not None
    observe = world.contract.world_options.get("observe", "full")
    track = places[0].options[0]["track"]
    shown = track_place(track, longest_s, settings.seed, observe, **_lane_changes(settings))
    if len(places) > 1:
        return shown
    return dataclasses.replace(shown, strengths=places[0].strengths, labels=places[0].labels)


def on_backend(place: Place, backend: str) -> Place:
    """Return a place for a back end; controllers act in one environment at a time."""
    return dataclasses.replace(
        place,
        labels={BACKEND: backend, **place.labels},
        described=f"{place.described} backend={backend}",
        parallel=place.parallel if backend == TORCH else 1,
    )


def _lane_changes(settings: Evaluate) -> dict[str, Any]:
    """Return the fields of `DriveSettings` that the settings change."""
    options = read_options(settings.world_options)
    if "camera" in options:
        raise ValueError(
            "`world_options` must leave out camera where LaneKeeping-v0 is measured, got"
            f" {options['camera']!r}. It is --camera."
        )
    return {"camera": settings.camera, **changes_of(options)}


def _drive(settings: Evaluate, observe: str, strengths: Mapping[str, float]) -> Place:
    """Return a place in LaneKeeping-v0 with disturbances; tracks are held out by default."""
    km = LANE_KM if settings.km is None else settings.km
    observed = settings.camera
    if observe == "numbers":
        refuse_changed(settings, ("camera",), "for a policy that sees no frames")
        observed = "numbers"
    where = drive_km(km, observe=observe, **_lane_changes(settings))
    others = {name: f"{x:g}" for name, x in strengths.items() if name != "noise"}
    is_plain = all(getattr(settings, name) == (0,) for name in others)
    words = [] if is_plain else [f"{name}={text}" for name, text in others.items()]
    usual = {"tracks": "held_out", "randomize_appearance": True}
    words += [
        f"{name}={getattr(where, name)}" for name in usual if getattr(where, name) != usual[name]
    ]
    noise = f"{strengths['noise']:g}"
    return dataclasses.replace(
        where.place(settings.seed),
        strengths=strengths,
        labels={"noise variance": noise} | ({} if is_plain else others),
        described=" ".join([observed, f"noise={noise}", *words, f"km={km:g}"]),
    )
