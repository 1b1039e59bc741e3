"""Run the episodes of an evaluation in this process, or in several workers that share them.

A worker builds policy and places from the settings. It gets a share of the episodes at a time and
computes them exactly as a single process would, so the results depend neither on the number of
workers nor on their order. One of them makes the film meanwhile.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ncp_control.acting.closed_loop import Pilot
from ncp_control.acting.shares import Share
from ncp_control.command_line import use_threads
from ncp_control.deploy.backends import ControllerPilot, make_controller
from ncp_control.episode import Episode
from ncp_control.policy import Policy, load
from ncp_control.workers import Workers
from scripts.evaluation.asked import BACKEND, TORCH, find_places, place_to_film
from scripts.evaluation.film import MakeFilm, film
from scripts.evaluation.moments import Moment, watch_crashes, worst_of
from scripts.evaluation.places import ROAD_WORLD, Place, threads_for
from scripts.evaluation.settings import Evaluate


@dataclass(frozen=True, kw_only=True)
class _Film:
    """Task of a worker: make the film."""

    path: Path
    seconds: float
    longest_s: float


def threads_of(policy: Policy, settings: Evaluate) -> int | None:
    """Return the number of PyTorch threads of each process; None for all cores."""
    return threads_for(policy, settings.threads or (1 if settings.workers > 1 else None))


class Actors:
    """Runs a policy in this process or in workers.

    Args:
        policy: The policy that acts.
        settings: Settings of the evaluation, with back ends and number of workers.
        workers: Workers started by `begin_worker` with the same settings; None for this process.
    """

    def __init__(self, policy: Policy, settings: Evaluate, workers: Workers | None) -> None:
        self._policy, self._settings, self._workers = policy, settings, workers

    def act_in(
        self, places: Sequence[Place], worst: list[Moment]
    ) -> Iterator[tuple[Place, list[Episode]]]:
        """Let the policy act in each place, and yield the place with its episodes.

        Args:
            places: Places from `find_places`.
            worst: List that is filled with the worst crashes in RoadDriving-v0. Only episodes that
                are yielded count.
        """
        descriptions = [
            ", ".join(f"{k} {text}" for k, text in place.labels.items()) for place in places
        ]
        actors = _make_actors(self._policy, self._settings) if self._workers is None else {}
        for i, (place, description) in enumerate(zip(places, descriptions, strict=True)):
            crashes: list[Moment] = []
            if self._workers is None:
                actor = actors[_backend_of(place)]
                episodes = _watched(place, crashes).run(actor, description=description)
            else:
                episodes = self._shared(self._workers, i, place, description, crashes)
            counted = place.seeds[: len(episodes)]
            worst[:] = worst_of([*worst, *(moment for moment in crashes if moment.seed in counted)])
            yield place, episodes

    def _shared(
        self, workers: Workers, number: int, place: Place, description: str, crashes: list[Moment]
    ) -> list[Episode]:
        """Return the episodes of a place from the workers, and add their crashes to `crashes`."""
        tasks = ((number, share) for share in place.shares(self._settings.workers))
        bar = tqdm(desc=description, total=len(place.seeds), unit="episode", leave=False)
        with contextlib.closing(bar):
            return place.enough_of(_gathered(workers.map(tasks), crashes, bar))

    def film(self, film_place: Place, seconds: float, longest_s: float, draft: Path) -> MakeFilm:
        """Start the film in a worker; without workers, the returned function makes it.

        Args:
            film_place: Place from `place_to_film`.
            seconds: Length of the film [s].
            longest_s: `longest_s` of the call of `place_to_film` [s].
            draft: File that the worker writes.

        Returns:
            Function that waits for the film and moves it to a path.
        """
        if self._workers is None:
            return partial(film, policy=self._policy, place=film_place, seconds=seconds)
        wait = self._workers.begin(_Film(path=draft, seconds=seconds, longest_s=longest_s))

        def make(path: Path) -> tuple[Episode, str | None]:
            made = wait()
            if draft.exists():
                shutil.move(draft, path)
            return made

        return make


def begin_worker(fields: Mapping[str, Any]) -> Callable[[tuple[int, Share] | _Film], Any]:
    """Return the function by which a worker does its tasks.

    A task is the number of a place with a share of its episodes, or the film.

    Args:
        fields: The settings by name.
    """
    settings = Evaluate(**fields)
    policy = load(settings.policy)
    use_threads(threads_of(policy, settings))
    places, actors = find_places(policy, settings), _make_actors(policy, settings)

    def work(task: tuple[int, Share] | _Film) -> Any:
        if isinstance(task, _Film):
            film_place = place_to_film(places, settings, task.longest_s)
            return film(task.path, policy, film_place, seconds=task.seconds)
        number, share = task
        crashes: list[Moment] = []
        place = places[number]
        return _watched(place, crashes).run_share(actors[_backend_of(place)], share), crashes

    return work


def _gathered(
    finished: Iterable[tuple[list[Episode], list[Moment]]], crashes: list[Moment], bar: tqdm
) -> Iterator[Episode]:
    """Yield the episodes that workers have finished, and add their crashes to `crashes`."""
    for episodes, of_share in finished:
        crashes += of_share
        bar.update(len(episodes))
        yield from episodes


def _make_actors(policy: Policy, settings: Evaluate) -> dict[str, Policy | Pilot]:
    """Return the policy itself, or a controller of it, for each back end."""
    return {
        name: policy if name == TORCH else ControllerPilot(make_controller(policy, name))
        for name in settings.backend
    }


def _backend_of(place: Place) -> str:
    return place.labels.get(BACKEND, TORCH)


def _watched(place: Place, crashes: list[Moment]) -> Place:
    """Return a place whose crashes are added to `crashes`, if it is in RoadDriving-v0."""
    if place.world.name != ROAD_WORLD:
        return place
    world = watch_crashes(place.disturbed, crashes, place.disturbed_by)
    return dataclasses.replace(place, world=world, strengths={})
