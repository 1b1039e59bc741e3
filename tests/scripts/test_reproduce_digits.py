"""Digits as events: nothing of the picture is lost, and the table holds what it says."""

import csv

import numpy as np
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import digits
from scripts.reproduction.completion import Reproduce
from scripts.reproduction.events import encode_events


def test_events_tell_the_whole_row():
    bits = np.random.default_rng(0).integers(0, 2, (50, 12))
    num_bits = np.random.default_rng(1).integers(1, 13, 50)
    events = encode_events(bits, num_bits, bit_s=0.5)
    for i in range(50):
        end = int(events.is_last[i].nonzero())
        at = (events.dt_s[i, : end + 1].cumsum(0) / 0.5).round().int().tolist()
        values = events.inputs[i, : end + 1, 0].int().tolist()
        # Each frame's bit holds until the next frame; the last is at the end of the row.
        row = [
            v
            for v, t, n in zip(values, at, [*at[1:], at[-1] + 1], strict=True)
            for _ in range(n - t)
        ]
        assert row == bits[i, : num_bits[i]].tolist()


def test_parts_share_no_digit_and_hold_all():
    pixels, _, parts = digits.digits()
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(pixels)))
    data = digits.load()
    assert [len(data.test), len(data.validation), len(data.training)] == [359, 180, 1258]
    assert torch.equal(data.test.targets.sum(dim=-1), torch.ones(359, 64))


def test_digits_table(tmp_path, capsys):
    settings = Reproduce(table="digits", models=("gru",), seeds=1, epochs=1, results=tmp_path)
    reproduce(settings)
    with (tmp_path / "digits.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert float(rows["linear on 17 grey levels"]["test_accuracy"]) > 94.0
    assert 0.0 < float(rows["gru"]["test_accuracy"]) < 100.0
    assert "| gru " in capsys.readouterr().out
