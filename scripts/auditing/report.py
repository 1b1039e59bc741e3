"""The page of an audit: every part that could be made, and a sentence for each that could not."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ncp_control import files
from ncp_control.learning.run import Run
from scripts.auditing.episode import Audited
from scripts.auditing.parts import Part
from scripts.markdown import json_block, markdown_table, plain, plain_sentence
from scripts.pictures import write_picture

Made = TypeVar("Made")


class AuditReport:
    """Collects parts and writes their files as they come.

    Args:
        folder: Where the files go.
        run: Whose report it is.
        audited: The first policy's episode.
    """

    def __init__(self, folder: Path, run: Run, audited: Audited) -> None:
        self.folder, self.run = folder, run
        seconds = audited.time_s[-1] - audited.time_s[0]
        self._lines = [
            f"# Audit of {plain(audited.name)}",
            f"{plain(audited.where)}, {seconds:.1f} s, {len(audited.time_s)} frames.",
            *(f"Note: {plain(note)}" for note in audited.notes),
        ]
        self._refused: list[str] = []

    @property
    def text(self) -> str:
        """The page so far."""
        return "\n\n".join(self._lines) + "\n"

    def say(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)

    def attempt(self, what: str, make: Callable[[], Made]) -> Made | None:
        """Return what is made; None, with its sentence in the report, if it cannot be."""
        try:
            return make()
        except ValueError as error:
            sentence = f"{what}: not made. {error}"
            if sentence not in self._refused:
                self._refused.append(sentence)
                print(sentence)
            return None

    def part(self, title: str, make: Callable[[], Part], *, prefix: str = "") -> None:
        """Make a part and write its files."""
        made = self.attempt(title, make)
        if made is None:
            return
        self._lines += [f"## {title}", *made.text]
        for name, figure in made.figures.items():
            for suffix in ("png", "svg"):
                write_picture(self.folder / f"{prefix}{name}.{suffix}", figure)
            self._lines.append(f"![{name.replace('_', ' ')}]({prefix}{name}.png)")
        for name, table in made.tables.items():
            file = f"{prefix}{name}.csv"
            files.write_file(self.folder / file, csv_text(table.header, table.rows))
            listed = range(len(table.rows)) if table.listed is None else table.listed
            cells = [[_cell(value) for value in table.rows[i]] for i in listed]
            self._lines.append(markdown_table([str(column) for column in table.header], cells))
            some = f", {table.choice} of {len(table.rows)} rows"
            self._lines.append(f"[{file}]({file}){some if len(listed) < len(table.rows) else ''}")

    def write(self) -> None:
        """Write report.md."""
        if self._refused:
            self._lines += [
                "## What does not apply",
                "\n".join(f"- {plain_sentence(x)}" for x in self._refused),
            ]
        config = json.loads((self.run.folder / "config.json").read_text(encoding="utf-8"))
        self._lines += ["## Settings and versions", json_block(config)]
        files.write_file(self.folder / "report.md", self.text)


def csv_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as CSV with all digits; what is not a number is an empty cell."""
    table = io.StringIO()
    cells = [["" if _is_nan(value) else value for value in row] for row in rows]
    csv.writer(table, lineterminator="\n").writerows([header, *cells])
    return table.getvalue()


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _cell(value: object) -> str:
    if _is_nan(value):
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
