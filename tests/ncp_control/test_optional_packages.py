"""What the package does where its optional packages are missing."""

import builtins
import csv
import sys
from dataclasses import dataclass

import pytest

from ncp_control import NCP19
from ncp_control.learning.run import Run


@dataclass
class Settings:
    seed: int = 0


@pytest.fixture
def without(monkeypatch):
    """Make packages look as if they were not installed."""
    really = builtins.__import__

    def hide(*names):
        def refuse(name, *rest):
            if name.partition(".")[0] in names:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return really(name, *rest)

        monkeypatch.delitem(sys.modules, "ncp_control.drawing", raising=False)
        monkeypatch.setattr(builtins, "__import__", refuse)

    return hide


def test_a_wiring_that_cannot_be_drawn_says_what_to_install(without):
    without("networkx")
    with pytest.raises(ModuleNotFoundError, match=r"networkx is missing.*ncp-control\[plot\]"):
        NCP19.draw()


def test_without_tensorboard_a_run_has_its_metrics_all_the_same(without, tmp_path):
    without("tensorboard")
    run = Run.create("task", "model", Settings(), root=tmp_path)
    run.log(1, loss=0.5)
    with (run.folder / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss"]) == 0.5
    assert not list(run.folder.glob("events.*"))
