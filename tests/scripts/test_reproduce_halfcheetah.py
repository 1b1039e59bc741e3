"""The LTC paper's forecasts on traces made in a moment: which part serves what, and the errors."""

import numpy as np
import pytest
import torch

from ncp_control.cells import CellSizes
from ncp_control.learning.forecasters import make_forecaster
from ncp_control.learning.forecasting import Training, predict
from ncp_control.learning.linear import persistence
from ncp_control.learning.results import ResultsFile
from scripts.reproduce import reproduce
from scripts.reproduction import forecasts, halfcheetah, walker2d_traces
from scripts.reproduction.completion import Job, Reproduce


def test_halfcheetah_table_goes_on_where_it_was(traces, tmp_path, capsys, read):
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
    sizes = CellSizes(num_inputs=17, num_units=8, num_outputs=17, frame_s=halfcheetah.FRAME_S)
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
    sizes = CellSizes(num_inputs=17, num_units=32, num_outputs=17, frame_s=halfcheetah.FRAME_S)
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
