"""Summarise recordings, as tables in the terminal and as an HTML page."""

from envs.recorded.overview import look_over
from envs.recorded.several import load_each
from ncp_control import files
from ncp_control.keyword_options import read_options
from ncp_control.learning.run import Run
from ncp_control.markdown import markdown_table
from ncp_control.names import one_line
from scripts.curating.loading import find_all, load_one
from scripts.curating.page import write_page
from scripts.curating.settings import Inspect
from scripts.curating.tables import (
    NUMBERS,
    cells_of,
    damage_rows,
    draw_bars,
    facts,
    numbers_row,
)
from scripts.reporting import csv_text


def inspect(settings: Inspect) -> None:
    """Load recordings, print a summary of each, and write the page."""
    options = read_options(settings.log_options, "log_options")
    loaded = load_each(
        find_all(settings.log), options, lambda path, own: load_one(path, own, settings.actions)
    )
    looked = [(look_over(recording, whole), notes) for recording, whole, notes in loaded]
    first = one_line(looked[0][0].recording.folder.resolve().name)
    more = f"-and-{len(looked) - 1}-more" if len(looked) > 1 else ""
    run = Run.create("inspect", f"{first}{more}", settings, root=settings.runs)
    rows = []
    for overview, notes in looked:
        name = one_line(overview.recording.folder.resolve().name)
        print(f"{name}\n")
        print(markdown_table(("what", "found"), facts(overview)), end="\n\n")
        table = [numbers_row(one) for one in overview.numbers]
        shapes = [draw_bars(one) for one in overview.numbers]
        cells = [[*cells_of(row), bars] for row, bars in zip(table, shapes, strict=True)]
        if cells:
            print(markdown_table((*NUMBERS, "lowest to highest"), cells), end="\n\n")
        if damage := damage_rows(overview):
            print(markdown_table(("not as it should be", "frames"), damage), end="\n\n")
        for sentence in (*notes, *overview.doubts):
            print(f"note: {sentence}\n")
        rows += [[name, *row] for row in table]
    header = ("recording", *NUMBERS)
    files.write_file(run.report / "numbers.csv", csv_text(header, rows))
    page = run.report / "recordings.html"
    write_page(page, looked)
    print(f"page: {page}")
