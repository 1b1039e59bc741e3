"""Report of a run: a page with texts, tables, figures and films, and the files that it shows.

report/
    report.md        the page; a part that cannot be made says why
    *.csv            the tables with all digits
    *.png, *.svg     the figures
"""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ncp_control import files
from ncp_control.learning.run import Run
from ncp_control.markdown import json_block, markdown_table, plain, plain_sentence
from scripts.pictures import write_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: all rows for the CSV file, and the indices of those that the page lists."""

    header: Sequence[str]
    """Names of the columns."""
    rows: Sequence[Sequence[object]]
    """All rows."""
    listed: Sequence[int] | None = None
    """Indices of the rows listed on the page; None for all of them."""
    choice: str = ""
    """Description of the listed rows, e.g. "the 20 strongest"."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Words on the page for names in the CSV file, such as those of columns."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Content of one part of a report."""

    text: Sequence[str]
    """Paragraphs."""
    tables: dict[str, Table] = field(default_factory=dict)
    """Tables by file name."""
    figures: "dict[str, Figure]" = field(default_factory=dict)
    """Figures by file name."""


class Report:
    """Collects the parts of a report, and writes the files of each part at once.

    Args:
        folder: Folder for the files.
        run: The run that is reported.
        title: Heading of the page, as plain text.
    """

    def __init__(self, folder: Path, run: Run, title: str) -> None:
        self.folder, self.run = folder, run
        self._lines = [f"# {plain(title)}"]
        self._refused: list[str] = []

    @property
    def text(self) -> str:
        """The page so far."""
        return "\n\n".join(self._lines) + "\n"

    def say(self, *lines: str) -> None:
        """Add paragraphs."""
        self._lines += lines

    def attempt(self, what: str, make: Callable[[], Made]) -> Made | None:
        """Return the result of `make`; on a ValueError report its message and return None."""
        try:
            return make()
        except ValueError as error:
            sentence = f"{what}: not made. {error}"
            if sentence not in self._refused:
                self._refused.append(sentence)
                print(sentence)
            return None

    def part(self, title: str, make: Callable[[], Part], *, prefix: str = "") -> None:
        """Make a part, add it to the page, and write its files with `prefix` in their names."""
        made = self.attempt(title, make)
        if made is None:
            return
        self.say(f"## {title}", *made.text)
        for name, figure in made.figures.items():
            for suffix in ("png", "svg"):
                write_picture(self.folder / f"{prefix}{name}.{suffix}", figure)
            self.say(f"![{name.replace('_', ' ')}]({prefix}{name}.png)")
        for name, table in made.tables.items():
            file = f"{prefix}{name}.csv"
            self.table(file, table.header, table.rows)
            num_listed = len(table.rows if table.listed is None else table.listed)
            some = f", {table.choice} of {len(table.rows)} rows"
            self.say(
                _on_page(table),
                f"[{file}]({file}){some if num_listed < len(table.rows) else ''}",
            )

    def figure(self, name: str, figure: "Figure", caption: str) -> None:
        """Write a figure as PNG, and add it to the page with its caption."""
        write_picture(self.folder / f"{name}.png", figure)
        self.say(f"![{caption}]({name}.png)\n\n{caption}")

    def table(self, file: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write a table as CSV, see `csv_text`."""
        files.write_file(self.folder / file, csv_text(header, rows))

    def write(self) -> None:
        """Write report.md, with the parts that could not be made, settings and versions."""
        if self._refused:
            sentences = "\n".join(f"- {plain_sentence(x)}" for x in self._refused)
            self.say("## What does not apply", sentences)
        config = json.loads((self.run.folder / "config.json").read_text(encoding="utf-8"))
        self.say("## Settings and versions", json_block(config))
        files.write_file(self.folder / "report.md", self.text)


def _on_page(table: Table) -> str:
    """Return the listed rows as Markdown, without columns that are empty in all of them."""
    listed = range(len(table.rows)) if table.listed is None else table.listed
    cells = [[_cell(value) for value in table.rows[i]] for i in listed]
    filled = [
        k
        for k in range(len(table.header))
        if not all(table.rows[i][k] == "" or _is_nan(table.rows[i][k]) for i in listed)
    ]
    header, *cells = (
        [table.words.get(row[k], row[k]) for k in filled]
        for row in ([str(column) for column in table.header], *cells)
    )
    return markdown_table(header, cells)


def csv_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as CSV with all digits; NaN becomes an empty cell."""
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
