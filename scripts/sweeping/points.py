"""The trials of a sweep: every combination of a grid, for each point of a search if there is one.

A search asks Optuna for points and reports the mean score of the trials of each point. The points
are saved in the folders of the trials, so a resumed sweep repeats them first.
"""

import contextlib
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.sweeping.settings import Sweep
from scripts.sweeping.trials import Curve, Trial, Values, combinations, read_grid


class Points:
    """The trials of a sweep, in order.

    Args:
        settings: Settings of the sweep, with grid and search.
        folder: Folder with the folders of the trials.
        curve: Column by which a search judges trials.

    Raises:
        ValueError: If grid or search cannot be parsed, or Optuna is needed and not installed.
    """

    def __init__(self, settings: Sweep, folder: Path, curve: Curve) -> None:
        self._folder, self._curve = folder, curve
        self._grid = combinations(read_grid(settings.grid))
        self._search = Search(settings, curve) if settings.search else None
        twice = self._grid[0].keys() & (self._search.names if self._search is not None else ())
        if twice:
            raise ValueError(
                f"`search` must name settings that the grid does not name, got {sorted(twice)} in"
                " both. Leave them out of one."
            )
        self._num_points = settings.trials if settings.search else 1
        self._left: dict[int, dict[int, Trial]] = {}
        """Trials of each point that have not ended, by number."""
        self.trials: list[Trial] = []
        """Trials returned by `next` so far."""
        self._next = self._all()

    def __len__(self) -> int:
        return self._num_points * len(self._grid)

    def next(self) -> Trial | None:
        """Return the next trial; None if there are no more."""
        return next(self._next, None)

    def ends(self) -> list[dict[str, Any]]:
        """Return values at both ends of all ranges, to check the settings before training."""
        points = [{}] if self._search is None else self._search.ends()
        return [{**point, **values} for point in points for values in self._grid]

    def end(self, trial: Trial) -> None:
        """Mark a trial as ended; after the last trial of a point, report the point's mean score."""
        point = trial.number // len(self._grid)
        self._left[point].pop(trial.number)
        if not self._left[point] and self._search is not None:
            first = point * len(self._grid)
            self._search.tell(point, self.trials[first : first + len(self._grid)])

    def rivals(self, trial: Trial) -> list[Trial]:
        """Return the other trials so far with which a trial is compared before it is pruned.

        In a search these are trials of other points with the same values of the grid, e.g. with the
        same seed: the combinations of a grid do not compete, since a point is judged by their mean.
        """
        others = [other for other in self.trials if other.number != trial.number]
        if self._search is None:
            return others
        return [x for x in others if (x.number - trial.number) % len(self._grid) == 0]

    def _all(self) -> Iterator[Trial]:
        for point in range(self._num_points):
            first = point * len(self._grid)
            searched = {}
            if self._search is not None:
                searched = self._search.ask(_known(self._path(first), self._search.names))
            trials = [
                Trial(number=first + i, values={**searched, **values}, folder=self._path(first + i))
                for i, values in enumerate(self._grid)
            ]
            self._left[point] = {trial.number: trial for trial in trials}
            for trial in trials:
                self.trials.append(trial)
                yield trial

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:04d}"


def _known(trial: Path, names: Sequence[str]) -> Values | None:
    """Return the saved values of a trial of a resumed sweep; None if the trial is new."""
    path = trial / "trial.json"
    if not path.is_file():
        return None
    values = json.loads(path.read_text())["values"]
    return {name: values[name] for name in names}


class Search:
    """Search by Optuna, which chooses points from earlier results.

    Args:
        settings: Settings of the sweep, with search and seed.
        curve: Column by which trials are judged.
    """

    def __init__(self, settings: Sweep, curve: Curve) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise ValueError(
                "`search` needs Optuna, which is not installed. Run `pip install"
                " ncp-control[scale]`, or give a `grid`."
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ranges = {
            name: _range(name, values)
            for name, values in read_grid(settings.search, "search").items()
        }
        self.names = list(self._ranges)
        self._optuna, self._curve = optuna, curve
        self._study = optuna.create_study(
            direction="minimize" if curve.is_lowest else "maximize",
        )
        self._seed = settings.seed
        self._asked: list[Any] = []

    def ask(self, known: Values | None) -> dict[str, Any]:
        """Return the values of the next point; `known` are its values in a resumed sweep.

        Each point has its own random numbers, since a known point draws none.
        """
        seed = np.random.SeedSequence((self._seed, len(self._asked))).generate_state(1)
        self._study.sampler = self._optuna.samplers.TPESampler(seed=int(seed[0]))
        if known is not None:
            self._study.enqueue_trial(dict(known))
        self._asked.append(self._study.ask(self._ranges))
        return dict(self._asked[-1].params)

    def tell(self, point: int, trials: Sequence[Trial]) -> None:
        """Report the mean score of a point if all its trials completed, else that it failed."""
        scores = [trial.best(self._curve)[1] for trial in trials]
        is_whole = all(trial.is_done for trial in trials) and all(map(math.isfinite, scores))
        if is_whole:
            self._study.tell(self._asked[point], statistics.fmean(scores))
        else:
            states = self._optuna.trial.TrialState
            is_pruned = any((trial.outcome or {}).get("state") == "pruned" for trial in trials)
            state = states.PRUNED if is_pruned else states.FAIL
            self._study.tell(self._asked[point], state=state)

    def ends(self) -> list[dict[str, Any]]:
        """Return points at both ends of all ranges that include every choice at least once."""
        ends: dict[str, list[Any]] = {
            name: list(getattr(one, "choices", ())) or [one.low, one.high]
            for name, one in self._ranges.items()
        }
        most = max(len(values) for values in ends.values())
        return [{name: v[min(i, len(v) - 1)] for name, v in ends.items()} for i in range(most)]


def _range(name: str, values: Sequence[str]) -> Any:
    """Return the Optuna distribution of 16..64, 0.1..0.5, log:1e-4..1e-2 or a list of choices.

    Raises:
        ValueError: If a range is not one of these.
    """
    from optuna import distributions

    text, is_log = values[0].removeprefix("log:"), values[0].startswith("log:")
    if len(values) > 1 or ".." not in text:
        return distributions.CategoricalDistribution(values)
    low, _, high = text.partition("..")
    with contextlib.suppress(ValueError):
        return distributions.IntDistribution(int(low), int(high), log=is_log)
    with contextlib.suppress(ValueError):
        return distributions.FloatDistribution(float(low), float(high), log=is_log)
    raise ValueError(
        f"`search` must give a range such as 16..64 or log:1e-4..1e-2, or choices, got"
        f" {values[0]!r} for {name!r}."
    )
