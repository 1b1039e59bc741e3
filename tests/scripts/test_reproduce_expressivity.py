"""Paths of known length, and the bounds that no input leaves."""

import numpy as np
import pytest

from scripts.reproduce import reproduce
from scripts.reproduction import bounds, expressivity
from scripts.reproduction.completion import Reproduce


def test_a_path_that_only_follows_the_circle_is_as_long():
    times = np.linspace(0.0, 2 * np.pi, 2000)
    circle = np.stack([np.sin(times), np.cos(times)], axis=1)
    turned = circle @ np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0][:2]
    plane = expressivity.principal_plane(turned + 5.0)
    assert expressivity.path_length(plane) == pytest.approx(2 * np.pi, rel=1e-5)


def test_expressivity_table(tmp_path, monkeypatch, read):
    monkeypatch.setattr(expressivity, "WIDTHS", (5, 10))
    monkeypatch.setattr(expressivity, "SCALES", (1.0, 2.0))
    monkeypatch.setattr(expressivity, "DEFAULT_WIDTH", 10)
    reproduce(Reproduce(table="expressivity", seeds=2, results=tmp_path))
    rows = read(tmp_path / "expressivity.csv")
    assert len(rows) == 3 * 2 * 3
    assert all(float(row["stretch"]) > 0.0 for row in rows)
    assert (tmp_path / "expressivity.png").stat().st_size > 1000
    assert (tmp_path / "bounds.png").stat().st_size > 1000


@pytest.mark.parametrize("inputs", bounds.COLOURS)
def test_potentials_and_time_constants_stay_within_the_theorems_bounds(inputs):
    circuit = bounds.make_circuit(seed=3)
    allowed = bounds.bounds(circuit.cell)
    found = bounds.reached(circuit, inputs, seed=4)
    for (low, high), (least, most) in zip(allowed, found, strict=True):
        room = 1e-5 * (high - low)
        assert (least >= low - room).all() and (most <= high + room).all()
        # Bounds a circuit comes nowhere near would say little.
        assert ((most - least) / (high - low)).max() > 0.5
