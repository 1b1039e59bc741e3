"""Equal synapses are equal, and both tasks end in a table."""

import csv

import numpy as np
import pytest
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import ablation
from scripts.reproduction.ablation import TASKS, WIRINGS, make_cell
from scripts.reproduction.completion import Reproduce


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_wirings_are_of_a_size(task, seed):
    base = TASKS[task](seed)
    wirings = {name: make(base, seed) for name, make in WIRINGS.items()}
    assert wirings["random"].num_synapses == base.num_synapses
    assert wirings["random"].num_sensory_synapses == base.num_sensory_synapses
    assert wirings["random"].synapses != base.synapses
    assert wirings["dense_equal"].num_synapses == pytest.approx(base.num_synapses, rel=0.12)
    assert wirings["dense_wide"].num_neurons == wirings["random"].num_neurons == base.num_neurons


def test_the_circuit_to_drive_is_the_papers():
    wiring = TASKS["drive"](5)
    assert (wiring.num_neurons, wiring.num_sensory_synapses) == (19, 192)


def test_integrators_share_a_wiring_and_its_initial_parameters():
    cells = []
    for model in ("ncp", "ncp_layered_midpoint"):
        torch.manual_seed(1)
        cells.append(make_cell(model, "drive", 1, frame_s=1 / 30))
    assert [cell.integrator for cell in cells] == ["semi_implicit_euler", "layered_midpoint"]
    assert cells[0].wiring == cells[1].wiring
    for first, second in zip(cells[0].parameters(), cells[1].parameters(), strict=True):
        assert torch.equal(first, second)


def read(folder):
    with (folder / "ablation.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_forecast_table(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "traces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(25):
        np.save(folder / f"trace_{i:04}.npy", rng.normal(size=(50, 17)).cumsum(axis=0))
    monkeypatch.setattr(ablation, "TASKS", {"forecast": TASKS["forecast"]})
    reproduce(
        Reproduce(
            table="wiring",
            data=folder,
            models=("ncp", "dense_equal"),
            seeds=1,
            epochs=1,
            results=tmp_path,
        )
    )
    rows = {row["model"]: row for row in read(tmp_path)}
    assert rows["ncp"]["neurons"] == "48" and float(rows["ncp"]["test_mse"]) > 0.0
    assert "| dense_equal | 1 " in capsys.readouterr().out
    settings = {"data": folder, "seeds": 1, "epochs": 1, "results": tmp_path}
    reproduce(Reproduce(table="integrators", **settings))
    assert len(read(tmp_path)) == 3  # the NCP was not trained again
    assert "| ncp_layered_midpoint | 1 " in capsys.readouterr().out


@pytest.mark.slow
def test_drive_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # demonstrations and runs are kept beside the results
    for name, value in (("TRACKS", 2), ("DAGGER_TRACKS", 1), ("DAGGER_EPOCHS", (1,))):
        monkeypatch.setattr(ablation, name, value)
    monkeypatch.setattr(ablation, "EVALUATION_KM", 0.05)
    monkeypatch.setattr(ablation, "SECONDS_PER_TRACK", 4.0)
    settings = {"table": "wiring", "models": ("random",), "seeds": 1, "results": tmp_path}
    reproduce(Reproduce(epochs=2, **settings))
    (row,) = read(tmp_path)
    assert float(row["cross_track_m"]) > 0.0 and row["test_mse"] == ""
    assert "forecasting is left out" in capsys.readouterr().out
    assert torch.isfinite(torch.tensor(float(row["noisy_crashes_per_km"])))
