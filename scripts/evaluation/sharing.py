"""Who acts in the places of an evaluation: one process, or several workers that share the episodes.

A worker finds policy and places anew, from the settings. It gets a share of the episodes at a time
and treats them as the one process would, so the numbers do not depend on how many workers there
are, nor on which is first.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from ncp_control.command_line import use_threads
from ncp_control.deploy.backends import ControllerPilot, make_controller
from ncp_control.episode import Episode
from ncp_control.learning.closed_loop import Pilot
from ncp_control.policy import Policy, load
from ncp_control.shares import Share
from ncp_control.workers import Workers
from scripts.evaluate import Evaluate
from scripts.evaluation.moments import Moment, Moments
from scripts.evaluation.places import ROAD_WORLD, Place, threads_for

TORCH, BACKEND = "torch", "back end"
"""The back end of a policy itself, and the column of a table that tells back ends apart."""
FindPlaces = Callable[[Policy, Evaluate], list[Place]]


def threads_of(policy: Policy, settings: Evaluate) -> int | None:
    """Return the torch threads of each process; None for all cores."""
    return threads_for(policy, settings.threads or (1 if settings.workers > 1 else None))


def on_backend(place: Place, backend: str) -> Place:
    """Return a place in which a back end acts; controllers act in one environment at a time."""
    return dataclasses.replace(
        place,
        labels={BACKEND: backend, **place.labels},
        described=f"{place.described} backend={backend}",
        parallel=place.parallel if backend == TORCH else 1,
    )


def acted_in(
    find_places: FindPlaces,
    places: Sequence[Place],
    policy: Policy,
    settings: Evaluate,
    moments: Moments,
) -> Iterator[tuple[Place, list[Episode]]]:
    """Let the policy act in each place, and yield the place with what happened there.

    Args:
        find_places: A function of a module, which workers call.
        places: What it found.
        policy: Who acts.
        settings: Back ends and workers.
        moments: Gathers the crashes on the road.
    """
    told = [", ".join(f"{k} {text}" for k, text in place.labels.items()) for place in places]
    if settings.workers == 1:
        actors = _make_actors(policy, settings)
        for place, description in zip(places, told, strict=True):
            actor, watched = actors[_backend_of(place)], _watched(place, moments)
            yield place, watched.run(actor, description=description)
        return
    fields = {one.name: getattr(settings, one.name) for one in dataclasses.fields(settings)}
    with Workers(settings.workers, begin_worker, find_places, fields) as workers:
        for i, (place, description) in enumerate(zip(places, told, strict=True)):
            tasks = ((i, share) for share in place.shares(settings.workers))
            bar = tqdm(desc=description, total=len(place.seeds), unit="episode", leave=False)
            with contextlib.closing(bar):
                yield place, place.enough_of(_gathered(workers.map(tasks), moments, bar))


def begin_worker(
    find_places: FindPlaces, fields: Mapping[str, Any]
) -> Callable[[tuple[int, Share]], tuple[list[Episode], list[Moment]]]:
    """Return what a worker does: a share of the place of a number.

    Args:
        find_places: Finds the places.
        fields: The settings by name.
    """
    settings = Evaluate(**fields)
    policy = load(settings.policy)
    use_threads(threads_of(policy, settings))
    places, actors = find_places(policy, settings), _make_actors(policy, settings)

    def work(task: tuple[int, Share]) -> tuple[list[Episode], list[Moment]]:
        number, share = task
        moments, place = Moments(), places[number]
        episodes = _watched(place, moments).run_share(actors[_backend_of(place)], share)
        return episodes, list(moments.found.values())

    return work


def _gathered(
    finished: Iterable[tuple[list[Episode], list[Moment]]], moments: Moments, bar: tqdm
) -> Iterator[Episode]:
    """Yield the episodes that workers have finished, and gather their moments."""
    for episodes, seen in finished:
        for moment in seen:
            moments.add(moment)
        bar.update(len(episodes))
        yield from episodes


def _make_actors(policy: Policy, settings: Evaluate) -> dict[str, Policy | Pilot]:
    """Return who acts for a policy on each back end."""
    return {
        name: policy if name == TORCH else ControllerPilot(make_controller(policy, name))
        for name in settings.backend
    }


def _backend_of(place: Place) -> str:
    return place.labels.get(BACKEND, TORCH)


def _watched(place: Place, moments: Moments) -> Place:
    """Return a place whose crashes are gathered, if it is on the road."""
    if place.world.name != ROAD_WORLD:
        return place
    return dataclasses.replace(place, world=moments.watch(place.world))
