"""The acceptance on a GPU: keeps its time, tells what is missing, and compares as it should."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ncp_control import LTC, NCP19
from ncp_control.cells import Cell
from scripts import accept_gpu
from scripts.accept_gpu import AcceptGPU
from scripts.acceptance import bodies, cars, parts

BARE = """
import sys
for name in "tyro gymnasium mujoco scipy matplotlib cv2 safetensors PIL networkx sklearn".split():
    sys.modules[name] = None  # as on a machine where it is not installed
"""
SCRIPT = Path(accept_gpu.__file__)
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.slow
@needs_no_gpu
def test_without_a_gpu_the_interpreter_is_checked_and_nothing_is_timed(tmp_path):
    pytest.importorskip("triton", reason="Triton is missing: pip install ncp-control[cuda]")
    (tmp_path / "sitecustomize.py").write_text(BARE)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert (
        "measured on a GPU: torch sees no GPU." in done.stdout
        and "sitecustomize" not in done.stderr
    )
    report = json.loads((tmp_path / "acceptance" / "acceptance.json").read_text())
    states = {name: part["state"] for name, part in report["parts"].items()}
    assert states == {
        "machine": "passed",
        "interpreter": "passed",
        "correctness": "skipped",
        "sanitizer": "skipped",
        "speed": "skipped",
        "learning": "skipped",
        "worlds": "skipped",
    }
    (table,) = report["parts"]["interpreter"]["tables"]
    assert len(table["rows"]) == 20 and all(row[-1] == "yes" for row in table["rows"])
    page = (tmp_path / "acceptance" / "acceptance.md").read_text()
    assert "| speed" in page and "torch sees no GPU" in page


@pytest.mark.slow
def test_what_runs_on_a_gpu_runs_on_the_processor(monkeypatch):
    """The same functions with the kernel for processors, since most machines have no GPU."""
    monkeypatch.setenv("NCP_CONTROL_KERNELS", "auto")
    monkeypatch.setattr(parts, "SHAPES", ((2, 3),))
    monkeypatch.setattr(parts, "ROUNDS", 1)
    compared = parts.compare("cpu", small=False)
    assert compared["state"] == "passed", compared["summary"]
    assert len(compared["tables"][0]["rows"]) == 42
    timed, learned = parts.time_models("cpu"), parts.learn_twice("cpu")
    assert learned["state"] == "passed", learned["tables"]
    kernel, plain = learned["tables"][0]["rows"]
    assert float(kernel[3]) == pytest.approx(float(plain[3]), rel=1e-3)  # after 30 steps
    for table in (*timed["tables"], *learned["tables"]):
        assert all(len(row) == len(table["header"]) for row in table["rows"])


@pytest.mark.slow
def test_bodies_on_a_device_are_compared_with_mujocos_c(monkeypatch):
    pytest.importorskip("mujoco_warp", reason="mujoco-warp is missing: pip install -e .[gpu]")
    monkeypatch.setattr(bodies, "TIMED_S", 0.1)
    result = bodies.simulate("cpu", ["HalfCheetah-v5"], [2, 4])
    assert result["state"] == "passed", result["tables"]
    assert [row[1] for row in result["tables"][2]["rows"]] == ["2", "4", "2", "4"]
    for table in result["tables"]:
        assert all(len(row) == len(table["header"]) for row in table["rows"])
    monkeypatch.setitem(bodies.ERRORS, "median", 1e-9)
    assert bodies.compare_with_c("HalfCheetah-v5", "cpu")[1] is False
    monkeypatch.setitem(cars.ERRORS, "numbers", 1e-9)
    assert cars.compare_cars("cpu")[1] is False


def test_errors_are_seen():
    """A wrong gradient, a wrong output and a NaN are errors beyond what is allowed."""
    cell = LTC(NCP19, unfolds=1).double()
    given = parts._sequence(cell, 2, 3, "cpu")
    weight = torch.randn(2, 3, cell.state_size, dtype=torch.float64)

    def by_torch(cell, wrong=1.0, **given):
        states = Cell.unroll(cell, **given)
        return states, wrong * cell.readout(states)

    exact = parts._values(by_torch, cell, given, weight, torch.float64)
    assert len(exact) == 2 + 3 + 11
    again = parts._values(by_torch, cell, given, weight, torch.float64)
    assert all(parts._error(again[k], exact[k]) == 0.0 for k in exact)
    wrong = parts._values(
        lambda cell, **g: by_torch(cell, 1.01, **g), cell, given, weight, torch.float64
    )
    errors = {k for k in exact if parts._error(wrong[k], exact[k]) > parts.TOLERANCES["float64"]}
    assert {"outputs", "gradient of output_scale"} <= errors and "states" not in errors
    assert parts._error(torch.tensor([torch.nan]), torch.tensor([1.0])) == float("inf")


def test_a_part_that_hangs_or_crashes_is_told_and_the_time_is_kept(tmp_path, monkeypatch):
    (tmp_path / "scripts" / "acceptance").mkdir(parents=True)
    fake = "import sys, time\nif sys.argv[1] == 'speed': time.sleep(60)\nsys.exit('it broke')\n"
    (tmp_path / "scripts" / "acceptance" / "parts.py").write_text(fake)
    for folder in (tmp_path / "scripts", tmp_path / "scripts" / "acceptance"):
        (folder / "__init__.py").touch()
    monkeypatch.setattr(accept_gpu, "ROOT", tmp_path)
    monkeypatch.setattr(accept_gpu, "LEAST_S", 0.1)
    monkeypatch.chdir(tmp_path)
    crashed = accept_gpu.run_part("machine", 30.0)
    assert (crashed["state"], crashed["summary"]) == ("failed", "it ended with status 1: it broke")
    began = time.monotonic()
    assert accept_gpu.run_part("speed", 0.5)["state"] == "stopped"
    assert time.monotonic() - began < 30.0
    assert accept_gpu.run_part("speed", 0.05)["state"] == "skipped"
    with pytest.raises(SystemExit) as stop:
        accept_gpu.accept_gpu(AcceptGPU(parts=("machine",), results=tmp_path / "out"))
    assert stop.value.code == 1
    assert json.loads((tmp_path / "out" / "acceptance.json").read_text())["status"] == 1


def test_what_kept_the_parts_from_a_gpu_is_told(tmp_path, capsys):
    settings = AcceptGPU(minutes=0.01, parts=("speed",), results=tmp_path)
    with pytest.raises(SystemExit) as stop:
        accept_gpu.accept_gpu(settings)
    assert stop.value.code == 3
    told = "Nothing was checked or measured on a GPU: no time was left for it."
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"machine": "passed", "interpreter": "passed", "speed": "skipped"}, 3),
        ({"machine": "passed", "correctness": "passed", "sanitizer": "skipped"}, 0),
        ({"correctness": "passed", "speed": "stopped"}, 1),
        ({"correctness": "failed"}, 1),
    ],
)
def test_the_status_says_what_was_found(states, status):
    assert (
        accept_gpu.status_of({name: {"state": state} for name, state in states.items()}) == status
    )
