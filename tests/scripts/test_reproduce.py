"""Tables on tiny data: what is measured, how a stopped table goes on, and a user's slips."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ncp_control.learning.forecasting import Sizes, Training, make_forecaster, predict
from ncp_control.learning.linear import persistence
from ncp_control.learning.results import ResultsFile
from scripts.reproduce import reproduce
from scripts.reproduction import (
    bounds,
    expressivity,
    forecasts,
    halfcheetah,
    walker2d_traces,
    xor,
)
from scripts.reproduction.completion import Job, Reproduce, complete
from scripts.reproduction.xor import streams


@pytest.fixture
def traces(tmp_path):
    """Twenty-five short traces of a rotation, noise-free, 17 dimensions."""
    folder = tmp_path / "traces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(17, 17)))[0]
    for i in range(25):
        trace = [rng.normal(size=17)]
        for _ in range(59):
            trace.append(rotation @ trace[-1])
        np.save(folder / f"trace_{i:04}.npy", np.stack(trace))
    return folder


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_halfcheetah_table_goes_on_where_it_was(traces, tmp_path, capsys):
    results = tmp_path / "results"

    def run(**settings):
        reproduce(
            Reproduce(table="halfcheetah", data=traces, results=results, epochs=1, **settings)
        )
        return read(results / "halfcheetah.csv")

    first = run(models=("lstm", "lstm"), seeds=1)
    assert [row["model"] for row in first] == [*forecasts.LINEAR, "lstm"]
    by_model = {row["model"]: row for row in first}
    # The next frame is a linear map of this one, so the linear rows are exact.
    assert float(by_model["linear regression"]["test_mse"]) < 1e-9
    assert float(by_model["training mean"]["test_normalised_mse"]) == pytest.approx(1.0, abs=0.2)
    assert len(by_model["lstm"]["test_mse_by_dimension"].split()) == 17
    assert "--models lstm" in by_model["lstm"]["command"]
    assert by_model["linear AR(8)"]["parameters"] == str(17 * (8 * 17 + 1))
    assert str(tmp_path) not in (results / "halfcheetah.csv").read_text()

    second = run(models=("lstm", "gru"), seeds=2)
    assert second[: len(first)] == first
    assert [(row["model"], row["seed"]) for row in second[len(first) :]] == [
        ("lstm", "1"),
        ("gru", "0"),
        ("gru", "1"),
    ]
    printed = capsys.readouterr().out
    assert "1 of 4 trainings are there" in printed and "2.500 ± 0.140" in printed

    for path in traces.glob("*.npy"):
        np.save(path, 3.0 * np.load(path))
    halfcheetah.load.cache_clear()
    third = run(models=("lstm",), seeds=1)[len(second) :]
    assert [row["model"] for row in third] == [*forecasts.LINEAR, "lstm"], "other traces, new rows"
    persisted = [float(row["test_mse"]) for row in (first[0], third[0])]
    assert persisted[1] == pytest.approx(9.0 * persisted[0], rel=1e-5)


def test_each_part_of_halfcheetah_has_traces_of_its_own(tmp_path):
    for i in range(25):  # the value is the number of the trace
        np.save(tmp_path / f"trace_{i:04}.npy", np.full((60, 17), i, np.float32))
    data = halfcheetah.load(tmp_path)
    seen = {name: sorted(set(part.inputs.flatten().tolist())) for name, part in vars(data).items()}
    assert seen == {
        "training": list(range(15, 25)),
        "validation": list(range(5)),
        "test": list(range(5, 15)),
    }


def test_the_published_ltc_takes_sub_steps_of_one_unit(traces):
    sizes = Sizes(num_inputs=17, num_units=8, num_outputs=17, frame_s=halfcheetah.FRAME_S)
    circuit = halfcheetah.published_ltc(sizes).circuit
    data = halfcheetah.with_times(halfcheetah.load(traces)).test[:3]
    p, wiring = circuit.cell.effective_parameters(), circuit.cell.wiring
    source, target = torch.tensor(wiring.sources), torch.tensor(wiring.targets) - 17
    v = torch.zeros(3, 8)
    for _ in range(6):  # algorithm 1, with C = 0.5, g = 1 and steps of 1
        seen = torch.cat([data.inputs[:, 0], v], dim=1)[:, source]
        opened = p.weight * torch.sigmoid(p.slope * (seen - p.threshold))
        drive = torch.zeros(3, 8).index_add(1, target, opened * p.reversal_potential)
        conductance = torch.zeros(3, 8).index_add(1, target, opened)
        v = (0.5 * v + p.leak_potential + drive) / (0.5 + 1.0 + conductance)
    _, state = circuit(data.inputs[:, :1], dt_s=data.dt_s[:, :1])
    torch.testing.assert_close(state, v, rtol=1e-4, atol=1e-5)


def test_a_part_serves_what_it_is_for(traces, monkeypatch):
    data, served = halfcheetah.load(traces), {}

    def train(model, training, validation, config, **options):
        served.update(training=training, validation=validation)
        return Training(epochs=1, best_epoch=1, validation_error=0.0, seconds_per_epoch=0.0)

    monkeypatch.setattr(forecasts, "train", train)
    job = Job("lstm", 0, "")
    measured = halfcheetah.train_model(traces, 1, "cpu", job, True)
    assert served["training"] is data.training and served["validation"] is data.validation
    torch.manual_seed(0)
    sizes = Sizes(num_inputs=17, num_units=32, num_outputs=17, frame_s=halfcheetah.FRAME_S)
    untrained = predict(make_forecaster("lstm", sizes), data.test)
    error = (untrained - data.test.targets).square().mean().item()
    assert measured["test_mse"] == pytest.approx(error, rel=1e-5)
    fitted_on = []

    def fit(*parts):
        fitted_on.extend(parts)
        return persistence(*parts)

    monkeypatch.setitem(forecasts.LINEAR, "persistence", fit)
    forecasts.add_linear_rows(ResultsFile(traces / "r.csv", forecasts.MEASURES), data, "", "")
    assert fitted_on[0] is data.training and fitted_on[1] is data.test


def test_xor_is_tested_on_streams_of_its_own(monkeypatch):
    drawn, served = [], {}

    def spy(encoding, count, seed, draw=xor.streams):
        drawn.append((seed, streams := draw(encoding, count, seed)))
        return streams

    def fit(model, training, validation, test, config, **options):
        served.update(validation=validation, test=test, lesson=training(0))
        return {}

    monkeypatch.setattr(xor, "NUM_TRAINING", 400)
    monkeypatch.setattr(xor, "NUM_VALIDATION", 100)
    monkeypatch.setattr(xor, "NUM_TEST", 100)
    monkeypatch.setattr(xor, "streams", spy)
    monkeypatch.setattr(xor, "fit_classifier", fit)
    xor.train_model(1, "cpu", Job("lstm", 0, "event-based"), True)
    (known_seed, known), (test_seed, test) = drawn
    assert known_seed != test_seed and served["test"] is test
    assert torch.equal(served["validation"].inputs, known.inputs[:100])


def test_traces_of_another_task_are_refused(traces):
    with pytest.raises(ValueError, match="`data` must be traces of Walker2d-v5 with their traces"):
        walker2d_traces.find_or_make(traces)
    (traces / "traces.json").write_text("{}")
    halfcheetah.load.cache_clear()
    with pytest.raises(ValueError, match="must be the LTC paper's HalfCheetah traces, got "):
        halfcheetah.load(traces)


def test_errors_are_in_units_of_the_test_targets(traces):
    data = halfcheetah.load(traces)
    forecast = persistence(data.training, data.test)
    measured = forecasts.measure_linear(forecast, data)
    error = (data.test.inputs - data.test.targets).square().mean(dim=(0, 1))
    assert measured["test_mse"] == pytest.approx(error.mean().item(), rel=1e-5)
    share = (error / data.test.targets.var(dim=(0, 1))).mean().item()
    assert measured["test_normalised_mse"] == pytest.approx(share, rel=1e-3)


def decoded(sample):
    """Rebuild the number of ones of an event-based stream from its frames."""
    end = int(sample.mask[0].nonzero())
    bits, dt = sample.inputs[0, : end + 1, 0], sample.dt_s[0, : end + 1] / xor.BIT_S
    # A frame's time is what the bit before it lasted; the first and the last bit add themselves.
    return bits[0] + sum(bits[i] * (dt[i + 1] - 1) + bits[i + 1] for i in range(end))


@pytest.mark.parametrize("encoding", xor.ENCODINGS)
def test_streams_carry_their_answer(encoding):
    drawn = streams(encoding, 300, 5)
    assert torch.equal(drawn.mask.sum(dim=1), torch.ones(300, dtype=torch.int64))
    assert 0.4 < drawn.targets.mean() < 0.6
    lasted = drawn.dt_s.sum(dim=1) / xor.BIT_S
    assert lasted.min() == 2 and lasted.max() == 31
    for i in range(300):
        end = int(drawn.mask[i].nonzero())
        if encoding == "dense":
            ones = drawn.inputs[i, : end + 1].sum()
        else:
            ones = decoded(drawn[i : i + 1])
        assert ones % 2 == drawn.targets[i, 0, 0]


def test_event_based_streams_have_a_frame_a_change():
    drawn = streams("event-based", 100, 6)
    for i in range(100):
        end = int(drawn.mask[i].nonzero())
        bits = drawn.inputs[i, :end, 0]
        assert (bits[1:] != bits[:-1]).all()


@pytest.mark.parametrize(("length", "grown"), [("bits", 4), ("frames", 5)])
def test_short_streams_come_first_and_all_in_the_end(length, grown):
    known = streams("event-based", 5000, 3)
    lesson = xor.short_first(known, length, epochs=10, seed=0)
    lessons = [lesson(epoch) for epoch in range(10)]
    lengths = {
        "bits": [int(drawn.dt_s.sum(dim=1).max()) for drawn in lessons],
        "frames": [int(drawn.mask.float().argmax(dim=1).max()) + 1 for drawn in lessons],
    }[length]
    # The limit rises from 4 to 32 over the first part of the training.
    limits = [xor.FIRST_LENGTH + 28 * min(1.0, epoch / grown) for epoch in range(10)]
    assert all(limit - 3 < n <= limit for n, limit in zip(lengths[:4], limits, strict=False))
    assert min(lengths[grown:]) > max(lengths[:3])
    # Few frames may hold long runs.
    assert (lessons[0].dt_s.max() > 8.0) == (length == "frames")


def test_long_runs_are_drawn_more_often():
    known = streams("event-based", 5000, 3)
    drawn = xor.short_first(known, "frames", epochs=1, seed=0)(1)
    shares = [(s.dt_s.amax(dim=1) >= 6.0).double().mean().item() for s in (known, drawn)]
    assert shares[1] > 2.0 * shares[0] > 0.0


def test_xor_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(xor, "NUM_TRAINING", 400)
    monkeypatch.setattr(xor, "NUM_VALIDATION", 100)
    monkeypatch.setattr(xor, "STREAMS_PER_EPOCH", 256)
    monkeypatch.setattr(xor, "NUM_TEST", 100)
    reproduce(Reproduce(table="xor", models=("lstm",), seeds=1, epochs=1, results=tmp_path))
    torch.set_flush_denormal(False)  # the job switches it on for its process
    rows = read(tmp_path / "xor.csv")
    assert [row["settings"].split()[0] for row in rows] == list(xor.ENCODINGS)
    assert 0.0 < float(rows[0]["test_accuracy"]) < 100.0
    assert "89.71" in capsys.readouterr().out


def test_a_path_that_only_follows_the_circle_is_as_long():
    times = np.linspace(0.0, 2 * np.pi, 2000)
    circle = np.stack([np.sin(times), np.cos(times)], axis=1)
    turned = circle @ np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0][:2]
    plane = expressivity.principal_plane(turned + 5.0)
    assert expressivity.path_length(plane) == pytest.approx(2 * np.pi, rel=1e-5)


def test_expressivity_table(tmp_path, monkeypatch):
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


def test_slips_are_answered_with_one_sentence(traces, tmp_path):
    def run(table, **settings):
        reproduce(Reproduce(table=table, results=tmp_path, **settings))

    with pytest.raises(
        ValueError, match="`table` must be one of .*, got 'halfcheeta'. Did you mean"
    ):
        run("halfcheeta")
    with pytest.raises(ValueError, match="got 'XOR'. Did you mean 'xor'?"):
        run("XOR")
    with pytest.raises(ValueError, match="got 'CT-RNN'. Did you mean 'ctrnn'?"):
        run("xor", models=("CT-RNN",))
    with pytest.raises(ValueError, match="`models` must be one of .* Did you mean 'lstm'?"):
        run("halfcheetah", data=traces, models=("lsmt",))
    with pytest.raises(ValueError, match="`data` must be the folder of the HalfCheetah traces"):
        run("halfcheetah")
    with pytest.raises(ValueError, match="`seeds` must be a whole number of at least 1, got 0"):
        run("xor", seeds=0)
    with pytest.raises(ValueError, match="`tasks` must be left out with halfcheetah, got"):
        run("halfcheetah", data=traces, tasks=("drive",))
    with pytest.raises(ValueError, match="`steps` must be left out with xor, got 5. It is of use"):
        run("xor", steps=5)
    with pytest.raises(ValueError, match="`data` must be the folder of the HalfCheetah traces"):
        run("wiring", tasks=("forecast",))
    (traces / "trace_0000.npy").unlink()
    with pytest.raises(ValueError, match="at least 25 traces of 17 dimensions, got 24 of 17"):
        run("halfcheetah", data=traces)


def trained(job, is_silent):
    """Stand for a training; the first seed's breaks. Importable, for another process runs it."""
    if job.seed == 0:
        raise RuntimeError("out of luck")
    return {"error": job.seed}


def test_a_training_that_fails_costs_no_other_its_row(tmp_path, capsys):
    results = ResultsFile(tmp_path / "table.csv", ["error"])
    jobs = [Job("ltc", seed, "none") for seed in range(3)]
    settings = Reproduce(table="table", parallel=2)
    with pytest.raises(RuntimeError, match="out of luck"):
        complete(results, jobs, trained, settings)
    assert sorted(row["seed"] for row in results.rows()) == ["1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["all", "parent"])
def test_after_ctrl_c_nothing_more_is_begun(tmp_path, whom):
    (tmp_path / "table.py").write_text(
        """
import signal, time
from pathlib import Path
from ncp_control.learning.results import ResultsFile
from scripts.reproduction.completion import Job, Reproduce, complete

def train(job, is_silent):
    Path(f"begun_{job.seed}").touch()
    time.sleep(0.0 if job.seed == 0 else 60.0)
    return {"error": 0.0}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jobs = [Job("ltc", seed, "none") for seed in range(6)]
    complete(ResultsFile("table.csv", ["error"]), jobs, train, Reproduce(table="t", parallel=2))
"""
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "table.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120.0
    while not ((tmp_path / "begun_2").exists() and (tmp_path / "table.csv").exists()):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    (os.killpg if whom == "all" else os.kill)(process.pid, signal.SIGINT)
    assert process.wait(timeout=30.0) != 0
    assert {path.name for path in tmp_path.glob("begun_*")} == {"begun_0", "begun_1", "begun_2"}
    assert [row["seed"] for row in read(tmp_path / "table.csv")] == ["0"]
