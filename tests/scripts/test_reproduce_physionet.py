"""PhysioNet 2012: files as the challenge has them, times at their rows, and the table."""

import csv

import numpy as np
import pytest
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import physionet
from scripts.reproduction.completion import Reproduce

PATIENT = b"""Time,Parameter,Value
00:00,RecordID,7
00:00,Age,54
00:00,Height,-1
00:07,HR,70
00:07,HR,80
02:07,HR,90
02:07,Temp,36.5
05:07,Temp,37.5
"""


def write(folder, num_patients=60):
    """Write patients of whom every third dies, with a fast heart at the end."""
    generator = np.random.default_rng(0)
    outcomes = ["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"]
    (folder / "set-a").mkdir(parents=True)
    for number in range(100, 100 + num_patients):
        died = int(number % 3 == 0)
        rows = ["Time,Parameter,Value", f"00:00,RecordID,{number}", "00:00,Age,60"]
        hours = np.sort(generator.choice(40, 5, replace=False)) + 1
        for k, hour in enumerate(hours):
            rate = 120 if died and k == 4 else generator.integers(60, 90)
            rows.append(f"{hour:02}:30,HR,{rate}")
        (folder / "set-a" / f"{number}.txt").write_text("\n".join(rows) + "\n")
        outcomes.append(f"{number},{generator.integers(5, 20)},1,5,-1,{died}")
    (folder / "Outcomes-a.txt").write_text("\n".join(outcomes) + "\n")
    return folder


def test_a_patient_is_rows_of_what_was_measured_and_when():
    patient = physionet.read_patient("7.txt", PATIENT)
    assert patient.hours.tolist() == pytest.approx([0.0, 0.112, 2.112, 5.12])
    age, rate, height = (
        patient.values[:, physionet.VARIABLES.index(name)] for name in ("Age", "HR", "Height")
    )
    assert age[0] == 54.0 and np.isnan(height).all()
    np.testing.assert_array_equal(rate, [np.nan, 75.0, 90.0, np.nan])
    filled = physionet.filled(patient.values, np.full(41, -5.0))
    assert filled[:, physionet.VARIABLES.index("HR")].tolist() == [-5.0, 75.0, 90.0, 90.0]
    assert filled[:, physionet.VARIABLES.index("Temp")].tolist() == [-5.0, -5.0, 36.5, 37.5]
    summary = physionet.summary(patient.values).reshape(41, 4)
    assert summary[physionet.VARIABLES.index("Temp")].tolist() == [37.5, 37.0, 36.5, 37.5]


def test_elapsed_times_stand_at_their_rows_and_never_run_back(tmp_path):
    data = physionet.load(write(tmp_path))
    for part in vars(data).values():
        assert part.dt_s.min() >= 0.0
        ends = part.mask.int().argmax(dim=1)
        hours = part.dt_s.double().cumsum(dim=1)
        for sample, end in enumerate(ends.tolist()):
            assert hours[sample, end] > 4.0
            assert not part.dt_s[sample, end + 1 :].any(), "padding takes no time"
            assert part.inputs[sample, end].any()
            assert not part.inputs[sample, end + 1 :].any()
    assert [len(part) for part in vars(data).values()] == [42, 6, 12]
    assert (data.training.mask.sum(dim=1) == 1).all()


@pytest.mark.slow
def test_all_patients_are_there_as_published(recordings):
    patients, died, _ = physionet.read(recordings / "physionet2012")
    assert (len(patients), died.sum()) == (4000, 554)
    assert {name: len(part) for name, part in physionet.split(4000).items()} == {
        "training": 2800,
        "validation": 400,
        "test": 800,
    }
    assert not any(
        np.isfinite(p.values[:, physionet._COLUMNS["Height"]]).sum() > 2 for p in patients
    )


def test_the_table_has_models_and_rules(tmp_path, capsys):
    settings = Reproduce(
        table="physionet",
        data=write(tmp_path / "data"),
        models=("gru",),
        seeds=1,
        epochs=2,
        results=tmp_path,
    )
    reproduce(settings)
    with (tmp_path / "physionet.csv").open(newline="") as file:
        rows = {row["model"]: float(row["test_auc"]) for row in csv.DictReader(file)}
    assert set(rows) == {"gru", "SAPS-I score", "logistic regression on four numbers a variable"}
    assert rows["logistic regression on four numbers a variable"] == 1.0, "the fast hearts"
    assert all(0.0 <= value <= 1.0 for value in rows.values())
    assert "SAPS-I score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("set-a/100.txt", ":30", ".30", "100.txt must have times such as 07:30, got"),
        ("set-a/100.txt", ",HR,", ",HX,", "must have the challenge's variables, got 'HX'"),
        ("set-a/100.txt", "60\n", "old\n", "100.txt, Value must hold numbers .*, got 'old'"),
        ("set-a/100.txt", "Parameter", "Name", r"must have the columns \['Parameter'\]"),
        ("Outcomes-a.txt", "100,", "99,", r"must tell of all patients, got nothing of \[100\]"),
    ],
)
def test_damaged_files_are_refused(tmp_path, file, old, new, message):
    write(tmp_path, num_patients=3)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        physionet.read(tmp_path)


def test_missing_outcomes_are_told(tmp_path):
    write(tmp_path, num_patients=3)
    (tmp_path / "Outcomes-a.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"physionet\.org.*got no outcomes"):
        physionet.read(tmp_path)


def test_a_circuit_is_told_the_hours(tmp_path):
    data = physionet.load(write(tmp_path)).test
    times = data.dt_s[data.dt_s > 0.0]
    assert torch.all(times < 48.0) and times.mean() > 1.0
