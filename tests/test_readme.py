"""The examples do what they say, whatever the seed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
POLE = (ROOT / "examples" / "balance_pole.py").read_text()
SEEDS = (0, 1, 2)


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def replaced(code, old, new):
    assert code.count(old) == 1
    return code.replace(old, new)


def test_every_example_is_run():
    assert len(EXAMPLES) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ten_lines_print_every_neurons_time_constant(tmp_path, seed):
    seeded = replaced(EXAMPLES[0], "import torch\n", f"import torch\ntorch.manual_seed({seed})\n")
    printed = run(seeded, tmp_path)
    values = re.search(r"tensor\((\[[\d.e,\s+-]+\])", printed)
    assert values, printed
    timescales_s = [float(value) for value in values[1].strip("[]").split(",")]
    assert len(timescales_s) == 19
    assert all(0.0 < tau_s < 10.0 for tau_s in timescales_s)


def test_the_pole_example_runs(tmp_path):
    printed = run(replaced(POLE, "60_000", "2_048"), tmp_path)
    assert re.search(r"balanced for \d+ of 1000 steps", printed)
    assert (tmp_path / "balance" / "config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_pole_stays_up(tmp_path, seed):
    printed = run(replaced(POLE, "\nseed = 0\n", f"\nseed = {seed}\n"), tmp_path)
    assert "balanced for 1000 of 1000 steps" in printed
