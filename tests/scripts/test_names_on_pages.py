"""A policy's name comes from a folder: on every page and in every table it is a name alone."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from envs.driving.metrics import LaneMetrics
from ncp_control.learning.run import Run, policy_name
from ncp_control.markdown import plain
from scripts.auditing.audit_figures import largest_steps
from scripts.auditing.audit_job import open_report
from scripts.evaluation import report as report_module
from scripts.evaluation.tables import Measured, of_returns, results_table
from scripts.evaluation.worlds import WorldSettings
from scripts.reporting import Part, Report, Table

METRICS = LaneMetrics(
    driven_km=2.0,
    crashes=3,
    crashes_per_km=1.5,
    crashes_per_km_low=0.31,
    crashes_per_km_high=4.38,
    mean_cross_track_m=0.1,
    mean_cross_track_m_halfwidth=0.01,
    roughness_radps=0.05,
)
FOLDER = "a|b `c` <script>alert(1)<∕script>\n# [x](y)"
NAME = policy_name(Path(FOLDER))


@dataclass(frozen=True)
class Settings:
    policy: str = FOLDER
    log: str = "``` <b>"


@pytest.fixture
def run(tmp_path):
    return Run.create("evaluate", NAME, Settings(), root=tmp_path)


def check(page):
    """See that nothing of the name means anything, and that it is there."""
    assert "<" not in page
    assert page.count("```") == 3, "the block of settings, and the name of a recording inside it"
    assert not any(line.startswith("# [x]") for line in page.splitlines())
    assert plain(NAME) in page.splitlines()[0] and plain(NAME) in page.split("\n\n")[1]


def test_a_name_has_one_line():
    assert NAME == FOLDER.replace("\n", "␊")


def test_the_page_of_a_drive(run):
    report = Report(run.folder, run, run.folder.name)
    report.say(results_table([Measured(model=NAME, labels={}, measures=vars(METRICS))]))
    report.write()
    check(report.text)


def test_the_page_of_a_walk(run, monkeypatch):
    skipped = "No film: OpenGL failed (<class 'X'>)."
    monkeypatch.setattr(report_module, "film", lambda *_, **__: (None, skipped))
    for name in ("with_activity", "_draw"):
        monkeypatch.setattr(report_module, name, lambda *_: None)
    place, returns = WorldSettings(env="walker2d", episodes=2).place, np.array([1.0, 2.0])
    row = Measured(model=NAME, labels=place.labels, measures=of_returns(returns), returns=returns)
    report_module.write_report(run, None, [row], place, seconds=1.0)
    check((run.report / "report.md").read_text())


def test_the_page_of_an_audit(run, tmp_path):
    audited = SimpleNamespace(name=NAME, where=f"recording {NAME}", notes=["<b>"])
    audited.time_s, audited.duration_s = np.array([0.0, 1.0]), 2.0
    report = open_report(tmp_path, run, audited)

    def refuse():
        raise ValueError(f"`states` must be finite, got {NAME!r}. Look.")

    report.part("What", refuse)
    report.part("Else", lambda: Part(text=[], tables={"t": Table(header=["|r|"], rows=[[NAME]])}))
    report.write()
    page = (tmp_path / "report.md").read_text()
    check(page)
    assert "- What: not made. `states` must be finite, got 'a\\|b" in page
    assert r"| \|r\|" in page


@pytest.mark.parametrize("name", ["a$b", "$\\frac$", "$x$"])
def test_a_name_in_a_legend_is_no_formula(name):
    figure = largest_steps({name: np.array([1.0, 2.0])})
    figure.canvas.draw()
    (label,) = figure.axes[0].get_legend().get_texts()
    assert label.get_text().replace(r"\$", "$") == name
