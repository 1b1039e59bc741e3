"""The memory table: what is asked for follows from the past alone, and a stopped table goes on."""

import csv
import math

import pytest
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import memory
from scripts.reproduction.completion import Reproduce


def read(folder):
    with (folder / "memory.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_only_the_first_frames_tell_the_bit():
    inputs, wanted = memory.draw_bits(20, 200, torch.Generator().manual_seed(0))
    assert torch.equal(inputs[:, 0, 0], wanted[:, -1, 0]) and not inputs[:, 2:, 0].any()
    assert set(wanted.unique().tolist()) == {-1.0, 1.0}


def test_velocities_are_those_of_the_positions():
    positions, velocities = memory.draw_sines(32, 50, torch.Generator().manual_seed(0))
    middle = (positions[:, 2:, :4] - positions[:, :-2, :4]) / 2.0 / 0.25
    assert (middle - velocities[:, 1:-1]).abs().max() < 0.3**3 / 6.0 * 1.4 / 0.25 * 1.05
    assert positions.var() == pytest.approx(1.0, abs=0.05)


def test_a_table_that_was_stopped_goes_on(tmp_path, capsys, monkeypatch):
    short = {name: task._replace(steps=20) for name, task in memory.TASKS.items()}
    monkeypatch.setattr(memory, "TASKS", short)
    told = {"table": "memory", "models": ("ncp",), "tasks": ("bit-20",), "results": tmp_path}
    reproduce(Reproduce(**told, seeds=1))
    before = read(tmp_path)
    reproduce(Reproduce(**(told | {"tasks": ("bit-20", "velocity")}), seeds=1))
    rows = read(tmp_path)
    assert (
        rows[:2] == before and [row["settings"].split()[0] for row in rows[2:]] == ["velocity"] * 3
    )
    assert all(0.0 <= float(row["accuracy"]) <= 100.0 for row in before)
    assert all(math.isfinite(float(row["error"])) for row in rows[2:])
    assert "| velocity | ncp   | spread " in capsys.readouterr().out


def test_a_spread_circuit_holds_a_bit_and_is_told_when(tmp_path):
    job = memory.Job("ncp", 0, memory.training_settings("bit-20", "ncp", "spread"))
    row = memory.train_model(job, True)
    assert row["accuracy"] == 100.0 and row["steps"] <= 100
