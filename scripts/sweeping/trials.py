"""Trials of a sweep: each is one command with one folder.

    trials/0003/
        trial.json      values of the settings of this trial, and the words for train.py
        log.txt         output of the training run
        runs/<run>/     run folder of the training run
        outcome.json    how the trial ended; written last

A trial that was stopped is run again in the same folder. Its training resumes from the checkpoint,
or starts from scratch if there is none. A trial that failed is run again if the sweep is resumed.
"""

import csv
import itertools
import json
import math
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncp_control import files
from ncp_control.json_files import read_json
from ncp_control.learning.results import Row, read_header, read_table
from ncp_control.learning.run import training_files
from scripts.sweeping.settings import Sweep

Values = Mapping[str, Any]
"""Values of the settings of a trial, by name."""
DONE, PRUNED, FAILED = "done", "pruned", "failed"
OWN = ("runs", "resume", "results")
"""Settings of a training run that the sweep sets."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Column of metrics.csv by which training runs are compared, during training and after it."""

    name: str
    """Name of the column."""
    is_lowest: bool = False
    """Whether the lowest value is the best."""
    is_last: bool = False
    """Whether a training run keeps its last weights, not the best."""

    def best_so_far(self, rows: Sequence[Row]) -> list[float]:
        """Return the best value so far after each row that has a value in the column."""
        sign = 1.0 if self.is_lowest else -1.0
        values = [sign * float(row[self.name]) for row in rows if row.get(self.name)]
        return [sign * value for value in itertools.accumulate(values, min)]

    def score(self, rows: Sequence[Row]) -> float:
        """Return the value of the weights that a training run keeps; NaN if there is no value."""
        if self.is_last:
            rows = [row for row in rows if row.get(self.name)][-1:]
        return (self.best_so_far(rows) or [math.nan])[-1]

    def is_better(self, one: float, other: float) -> bool:
        """Return whether `one` is better than `other`. Any number is better than NaN."""
        if math.isnan(one) or math.isnan(other):
            return math.isnan(other) and not math.isnan(one)
        return one < other if self.is_lowest else one > other


CURVES = {
    "drive": Curve(name="score", is_lowest=True),
    "recorded": Curve(name="score", is_lowest=True),
    "imitate": Curve(name="score", is_lowest=True),
    "series": Curve(name="score", is_lowest=True),
    "distill": Curve(name="student_return"),
    "ppo": Curve(name="mean_return", is_last=True),
    "sac": Curve(name="mean_return", is_last=True),
    "teacher": Curve(name="mean_return"),
}
"""Column by which each job of `train.py` chooses its weights."""


def curve_of(settings: Sweep) -> Curve:
    """Return the column that the settings name, or that of the job."""
    of_job = CURVES[settings.job]
    if settings.by is None:
        return of_job
    return Curve(name=settings.by, is_lowest=settings.lowest, is_last=of_job.is_last)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run of a sweep."""

    number: int
    """Number of the trial, from 0."""
    values: Values
    """Values of the settings that distinguish this trial from the others."""
    folder: Path
    """Folder of the trial, an absolute path."""

    def begin(self, words: Sequence[str]) -> None:
        """Create the folder, and save the values and the words for `train.py` in trial.json.

        They stay if the training run fails so early that it leaves no run folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = {"values": dict(self.values), "words": list(words)}
        files.write_file(self.folder / "trial.json", json.dumps(saved))

    def end(self, state: str, reason: str = "", *, is_killed: bool = False) -> None:
        """Save how the trial ended in outcome.json.

        Args:
            state: `DONE`, `PRUNED` or `FAILED`.
            reason: Why it is not done.
            is_killed: Whether it failed because its process was killed, not by an error of its own.
        """
        outcome = {"state": state, "reason": reason, "is_killed": is_killed}
        files.write_file(self.folder / "outcome.json", json.dumps(outcome))

    def forget_end(self) -> None:
        """Let a trial that has ended run again.

        What a training run wrote before its own error is removed, since the code that made it may
        have been mended; one that was killed keeps its checkpoint.
        """
        if (self.outcome or {}).get("is_killed") is False:  # not told by older sweeps
            shutil.rmtree(self.folder / "runs", ignore_errors=True)
            self.log.unlink(missing_ok=True)
        (self.folder / "outcome.json").unlink()

    @property
    def log(self) -> Path:
        """Output of the training run."""
        return self.folder / "log.txt"

    @property
    def outcome(self) -> dict[str, Any] | None:
        """How the trial ended, see `end`; None if it has not ended."""
        path = self.folder / "outcome.json"
        return read_json(path, max_bytes=1_000_000) if path.is_file() else None

    @property
    def state(self) -> str | None:
        """`DONE`, `PRUNED` or `FAILED`; None if the trial has not ended."""
        return (self.outcome or {}).get("state")

    @property
    def is_done(self) -> bool:
        """Whether the training run completed."""
        return self.state == DONE

    @property
    def combination(self) -> Values:
        """Values without the seed; trials with the same ones are repetitions."""
        return {name: value for name, value in self.values.items() if name != "seed"}

    def best(self, curve: Curve) -> tuple[Path | None, float]:
        """Return the run folder with the best value, and the value; None and NaN without values.

        On a tie, return the first run folder.
        """
        best, best_value = None, math.nan
        for run in run_folders(self.folder):
            value = curve.score(read_metrics(run))
            if curve.is_better(value, best_value):
                best, best_value = run, value
        return best, best_value

    def curve(self) -> list[Row]:
        """Return the rows of metrics.csv so far; of the first run folder, if there are several."""
        return read_metrics(runs[0]) if (runs := run_folders(self.folder)) else []

    def rows(self) -> list[Row]:
        """Return the rows of results.csv of all run folders."""
        found = []
        for run in run_folders(self.folder):
            path = run / "results.csv"
            found += read_table(path, read_header(path))[0]
        return found

    def described(self) -> str:
        """Return the values in one line."""
        return described(self.values)

    def last_words(self) -> str:
        """Return the last line that the training run printed."""
        return (self._printed() or ["it printed nothing"])[-1]

    def warnings(self) -> list[str]:
        """Return the warnings that the training run printed, each once."""
        starts = [line.partition("warning: ") for line in self._printed()]
        return list(dict.fromkeys(text for before, _, text in starts if text and not before))

    def _printed(self) -> list[str]:
        text = self.log.read_text(errors="replace") if self.log.is_file() else ""
        return [line.strip() for line in text.splitlines() if line.strip()]


def described(values: Values) -> str:
    """Return values in one line, such as seed=0 cell=ltc."""
    return " ".join(f"{name}={shortened(value)}" for name, value in values.items())


def shortened(value: object, digits: int = 4) -> str:
    """Return a value as text; a number that a search has drawn with so many significant digits."""
    text = str(value)
    is_drawn = re.fullmatch(r"\d*\.\d{6,}(e-\d+)?", text)
    return f"{float(text):.{digits}g}" if is_drawn else text


def told_apart(values: Iterable[str]) -> dict[str, str]:
    """Return the `shortened` text of each value, with as many digits as tell all of them apart."""
    values, texts = set(values), dict[str, str]()
    for digits in range(4, 18):  # 17 tell any two floats apart
        texts = {value: shortened(value, digits) for value in values}
        if len(set(texts.values())) == len(values):
            break
    return texts


def run_folders(trial: Path) -> list[Path]:
    """Return the run folders in the folder of a trial; some jobs make several."""
    return sorted(path.parent for path in trial.glob("runs/*/config.json"))


def read_metrics(run: Path) -> list[Row]:
    """Return the rows of a run's metrics.csv; an empty list if there is no file yet."""
    path = run / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def words_of(settings: Sweep, values: Values) -> list[str]:
    """Return the words for `train.py` that start a trial, without --runs and --import.

    Raises:
        ValueError: If the words contain a setting that the sweep sets (`OWN`).
    """
    words = [settings.job, *shlex.split(settings.fixed)]
    for name, value in values.items():
        option, texts = name.replace("_", "-"), str(value).split(" ")
        if texts in (["yes"], ["no"]):
            group, dot, last = option.rpartition(".")
            words.append(f"--{group}{dot}{'no-' if texts == ['no'] else ''}{last}")
        else:
            words += [f"--{option}", *texts]
    for word in words:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and name in OWN:
            raise ValueError(f"`{name}` must be left out: a sweep decides it for each training.")
    if not any(word.partition("=")[0] == "--threads" for word in words):
        words += ["--threads", str(settings.threads)]
    return words


def command_of(words: Sequence[str], trial: Path) -> list[str]:
    """Return the words for `train.py` that resume the run in a trial's folder, or start it.

    A run folder that was killed before its first checkpoint is removed.
    """
    begun = [run for run in run_folders(trial) if training_files(run)]
    if begun:
        return [words[0], "--resume", str(begun[0])]
    shutil.rmtree(trial / "runs", ignore_errors=True)
    return [*words, "--runs", str(trial / "runs")]


def read_grid(words: Sequence[str], setting: str = "grid") -> dict[str, list[str]]:
    """Parse settings and their values: `seed=0,1,2 cell=ltc,lstm`.

    A comma in brackets belongs to a value.

    Raises:
        ValueError: If a word has no equals sign, a value is empty, or a setting or value occurs
            twice.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        name, _, text = word.partition("=")
        name = name.replace("-", "_")
        values = _split(text)
        if not name or not all(values) or len(set(values)) < len(values) or name in found:
            raise ValueError(
                f"`{setting}` must be settings with values, each once, such as seed=0,1,2, got"
                f" {word!r}."
            )
        found[name] = values
    return found


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values of a grid, the last name varying fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _split(text: str) -> list[str]:
    """Split a text at the commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[({") - (character in "])}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
