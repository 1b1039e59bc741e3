"""The UCI sets: files read or refused, windows as published or without overlap, rules, measures."""

import csv
import gzip
import io
import tarfile
import zipfile
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from ncp_control.learning.sequences import Sequences
from scripts.reproduce import reproduce
from scripts.reproduction import uci
from scripts.reproduction.completion import Reproduce
from scripts.reproduction.data_files import find_files
from scripts.reproduction.measures import auc_error, f1_error
from scripts.reproduction.uci_data import (
    ACTIVITIES,
    GESTURE_FILES,
    OCCUPANCY_FILES,
    POWER_FILE,
    READERS,
    TAGS,
)

GENERATOR = np.random.default_rng(0)
HAR_FOLDER = "UCI HAR Dataset"


def gesture(folder):
    """Seven files of 400 rows; one has the line ends of an old Macintosh."""
    for k, name in enumerate(GESTURE_FILES):
        rows = [",".join([*map(str, range(1, 33)), "Phase"])]
        for i in range(400):
            numbers = GENERATOR.normal(size=32).round(4)
            rows.append(",".join([*map(str, numbers), "DPSHR"[i // 80]]))
        (folder / f"{name}.csv").write_bytes(("\r" if k == 1 else "\n").join(rows).encode())


def occupancy(folder):
    """Three files whose light tells all; rows have their number in front."""
    for name in OCCUPANCY_FILES:
        rows = ['"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"']
        for i in range(200):
            light, is_there = (400.0, 1) if i % 20 < 5 else (1.5, 0)
            rows.append(f'"{i + 1}","2015-02-02 14:19:00",23.7,26.2,{light},749.2,0.004,{is_there}')
        (folder / name).write_text("\n".join(rows) + "\n")


def traffic(folder):
    """400 hours of a motorway; every tenth hour has two rows. The volume is the hour's."""
    rows = [
        "holiday,temp,rain_1h,snow_1h,clouds_all,weather_main,weather_description,date_time,"
        "traffic_volume"
    ]
    for i in range(400):
        when = datetime(2012, 10, 2, 9) + timedelta(hours=i)
        holiday = "Labor Day" if i == 15 else "None"
        row = f"{holiday},288.{i % 10},0.0,0.0,40,Clouds,broken clouds,{when},{100 * when.hour}"
        rows += [row] * (2 if i % 10 == 0 else 1)
    with gzip.open(folder / "Metro_Interstate_Traffic_Volume.csv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")


def ozone(folder):
    """400 days, of which every tenth has ozone and every fifth lacks a measurement."""
    rows = []
    for i in range(400):
        cells = [f"{value:.2f}" for value in GENERATOR.normal(size=72)]
        if i % 5 == 0:
            cells[3] = "?"
        rows.append(",".join(["1/1/1998", *cells, f"{int(i % 10 == 0)}."]))
    (folder / "eighthr.data").write_text("\n".join(rows) + "\n")


def har(folder, num_people=(6, 3)):
    """People of 40 rows each, in the folders of the download; one feature tells the class."""
    people = iter(range(1, 31))
    for part, num in zip(("train", "test"), num_people, strict=True):
        place = folder / "UCI HAR Dataset" / part
        place.mkdir(parents=True)
        classes = np.arange(40 * num) // 5 % 6 + 1
        features = GENERATOR.uniform(-1, 1, (len(classes), 561))
        features[:, 7] = classes / 6
        rows = [" " + " ".join(f"{value: .7e}" for value in row) for row in features]
        (place / f"X_{part}.txt").write_text("\n".join(rows) + "\n")
        (place / f"y_{part}.txt").write_text("".join(f"{one}\n" for one in classes))
        who = [next(people) for _ in range(num)]
        (place / f"subject_{part}.txt").write_text("".join(f"{p}\n" * 40 for p in who))


def person(folder):
    """Five people with two recordings of 100 rows each; the height tells the class."""
    rows, ticks = [], 633790226051280329
    for who in "ABCDE":
        for take in ("01", "02"):
            for i in range(100):
                activity = [*ACTIVITIES][i // 10 % 11]
                ticks += 270000 * (1 + i % 3)
                place = f"4.0{i},1.8{i % 7},{0.1 * ACTIVITIES[activity] + 1e-3:.17f}"
                rows.append(f"{who}{take},{TAGS[i % 4]},{ticks},27.05.2009 14:03:25:127,{place},"
                            f"{activity}")  # fmt: skip
    (folder / "ConfLongDemo_JSI.txt").write_text("\n".join(rows) + "\n")


def power(folder):
    """1,000 minutes from a Saturday on; every hundredth, and one stretch, is not measured."""
    rows = [
        "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
        "Sub_metering_1;Sub_metering_2;Sub_metering_3"
    ]
    for i in range(1000):
        when = datetime(2006, 12, 16, 17, 24) + timedelta(minutes=i)
        kw = 1.0 + 0.5 * np.sin(i / 50) + 0.01 * (i % 7)
        numbers = f"{kw:.3f};0.418;23{i % 9}.840;{kw / 0.24:.3f};0.000;1.000;{i % 18}.000"
        is_missing = i % 100 == 50 or 300 <= i < 330
        numbers = "?;?;?;?;?;?;" if is_missing else numbers
        rows.append(f"{when.day}/{when.month}/{when.year};{when:%H:%M:%S};{numbers}")
    (folder / "household_power_consumption.txt").write_text("\r\n".join(rows) + "\r\n")


WRITERS = {
    "gesture": gesture,
    "occupancy": occupancy,
    "traffic": traffic,
    "ozone": ozone,
    "har": har,
    "person": person,
    "power": power,
}
CLEAN = ("power",)
"""Sets whose published parts share no row, either."""


@pytest.fixture
def write(tmp_path):
    """Write a made-up data set of some form and return its folder."""

    def write_set(name):
        folder = tmp_path / name
        folder.mkdir()
        WRITERS[name](folder)
        return folder

    return write_set


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("gesture", [(455, 32, 32), (60, 32, 32), (90, 32, 32)]),
        ("occupancy", [(7315, 16, 5), (812, 16, 5), (1549, 16, 5)]),
        ("traffic", [(9033, 32, 7), (1204, 32, 7), (1806, 32, 7)]),
        ("ozone", [(25, 626, 72), (3, 626, 72), (4, 626, 72)]),
    ],
)
def test_the_papers_windows_are_reproduced(recordings, name, sizes):
    parts = uci.load(name, recordings / name, "published")
    assert [tuple(part.inputs.shape) for part in vars(parts).values()] == sizes


@pytest.mark.parametrize("name", WRITERS)
def test_only_the_corrected_parts_share_no_row(write, name):
    folder = write(name)
    for split, is_clean in (("published", False), ("corrected", True)):
        prepared = uci.prepare(name, folder, split)
        rows = [set(np.unique(windows).tolist()) for windows in prepared.rows.values()]
        assert all(rows)
        is_apart = sum(map(len, rows)) == len(set.union(*rows))
        assert is_apart == (is_clean or name in CLEAN)
    training, validation, test = prepared.rows.values()
    assert len(np.unique(test)) == test.size, "test windows do not overlap"
    if name in ("traffic", "ozone", "power"):
        assert training.max() < validation.min() <= validation.max() < test.min()
    inputs = prepared.inputs[np.unique(training)]
    np.testing.assert_allclose(inputs.mean(axis=0), 0.0, atol=0.1)
    assert np.isfinite(prepared.inputs).all()


def test_repeated_hours_and_holidays_are_mended(write):
    folder = write("traffic")
    published, corrected = (uci.prepare("traffic", folder, split) for split in uci.SPLITS)
    assert not published.inputs[:, 0].any() and corrected.inputs[:, 0].any()
    hours = uci.read("traffic", folder).aside
    for windows in corrected.rows.values():
        assert set(np.diff(hours[windows], axis=1).flatten() % 168) == {1.0}
    assert 0.0 in np.diff(hours[published.rows["training"]], axis=1)


def test_ozone_runs_over_windows_as_published_and_over_days_as_corrected(write):
    folder = write("ozone")
    published, corrected = (uci.prepare("ozone", folder, split) for split in uci.SPLITS)
    assert (np.diff(published.rows["training"], axis=1) == 4).all()
    assert (np.diff(corrected.rows["training"], axis=1) == 1).all()
    assert published.rows["training"].shape == (25, (400 - 32 + 3) // 4)


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_is_trained_and_its_rules_stand_beside(write, name, tmp_path, capsys):
    rules = {
        "gesture": ("commonest class", 0.0),
        "occupancy": ("light above 365", 100.0),
        "traffic": ("mean of the hour of the week", 0.0),
        "ozone": ("always an ozone day", 2 * 0.1 / 1.1),
        "har": ("commonest class", 0.0),
        "person": ("linear in this row", 0.0),
        "power": ("mean of the hour of the week", 0.0),
    }
    settings = Reproduce(
        table=name, data=write(name), models=("gru",), seeds=1, epochs=1, results=tmp_path
    )
    reproduce(settings)
    with (tmp_path / f"{name}.csv").open(newline="") as file:
        rows = {(row["model"], row["settings"].split()[0]): row for row in csv.DictReader(file)}
    column = f"test_{uci.PROTOCOLS[name].measure.name}"
    assert {("gru", "split=published"), ("gru", "split=corrected")} <= set(rows)
    rule, value = rules[name]
    if name in ("occupancy", "traffic", "ozone"):
        told = float(rows[rule, "split=corrected"][column])
        assert told == pytest.approx(value, abs=0.05)
    printed = capsys.readouterr().out
    assert uci.PROTOCOLS[name].paper["ltc"] not in printed, "only of models that were trained"
    assert rule in printed
    reproduce(settings)
    assert "2 of 2 trainings are there" in capsys.readouterr().out


def test_nobody_is_in_two_corrected_parts(write):
    parts = {"har": [[1, 2, 3, 4, 5], [6], [7, 8, 9]], "person": [["A", "B", "C"], ["D"], ["E"]]}
    for name, wanted in parts.items():
        folder = write(name)
        table, prepared = uci.read(name, folder), uci.prepare(name, folder, "corrected")
        who = np.empty(len(table.inputs), dtype=object)
        for piece, group in zip(table.pieces, table.groups, strict=True):
            who[piece] = group
        for windows, people in zip(prepared.rows.values(), wanted, strict=True):
            assert sorted(set(who[windows].ravel())) == sorted(map(str, people))
            assert all(len(set(row)) == 1 for row in who[windows].tolist())
        published = uci.prepare(name, folder, "published").rows["training"]
        assert any(len(set(row)) > 1 for row in who[published].tolist()) == (name == "har")


def test_windows_of_people_are_those_of_the_published_code(write):
    har, person = (uci.prepare(name, write(name), "published") for name in ("har", "person"))
    num = 240 - 16
    order = np.random.RandomState(893429).permutation(num)
    np.testing.assert_array_equal(har.rows["validation"][:, 0], order[: num // 10])
    np.testing.assert_array_equal(har.rows["test"][:, 0], 240 + np.arange(0, 120 - 16, 8))
    starts = np.concatenate([100 * i + np.arange(0, 68, 16) for i in range(9)])
    order = np.random.RandomState(27731).permutation(len(starts))
    np.testing.assert_array_equal(person.rows["validation"][:, 0], starts[order[:4]])
    np.testing.assert_array_equal(person.rows["test"][:, 0], starts[order[4:10]])
    assert sorted(np.concatenate([*person.rows.values()])[:, 0]) == starts.tolist()
    assert person.inputs.shape == (1000, 7) and (person.inputs[:, :4].sum(axis=1) == 1.0).all()
    assert person.inputs[1, :4].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_minute_that_was_not_measured_stays_or_is_left_out(write):
    folder = write("power")
    published, corrected = (uci.prepare("power", folder, split) for split in uci.SPLITS)
    assert published.targets[50] == published.targets[49] != published.targets[51]
    assert len(set(published.targets[300:330])) == 1 and np.isfinite(published.inputs).all()
    assert published.inputs.std(axis=0)[2] == pytest.approx(1.0)
    missing = {*range(50, 1000, 100), *range(300, 330)}
    for windows in corrected.rows.values():
        assert not missing & set(windows.ravel().tolist())
        assert (np.diff(windows, axis=1) == 1).all()
    assert not corrected.inputs[:, 2].any(), "the current is left out"
    hours = uci.read("power", folder).aside
    assert hours[[0, 36, 400, 999]].tolist() == [5 * 24 + 17, 5 * 24 + 18, 6 * 24, 6 * 24 + 10]
    told = uci.rules("power", folder, "published")["linear in this row"][1]
    error = np.square(told - published.targets[published.rows["test"]]).mean()
    assert error < 0.1, "the current tells the power"


def test_weights_of_days_count_in_the_loss_alone(write):
    targets = uci.load("ozone", write("ozone"), "corrected").training.targets
    assert sorted(targets.sum(dim=-1).unique().tolist()) == pytest.approx([0.1, 1.6])


def test_f1_and_area_under_the_curve_are_those_of_another_library():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(30, 4, 2, generator=generator).round(decimals=1)  # with ties
    is_second = torch.rand(30, 4, generator=generator) < 0.2
    mask = torch.rand(30, 4, generator=generator) < 0.7
    targets = torch.stack([~is_second, is_second], dim=-1).float()
    data = Sequences(inputs=torch.zeros(30, 4, 1), targets=targets, mask=mask)
    margin = (outputs[..., 1].double() - outputs[..., 0].double())[mask]
    wanted = is_second[mask]
    assert 1.0 - f1_error(outputs, data) == pytest.approx(f1_score(wanted, margin > 0.0))
    assert 1.0 - auc_error(outputs, data) == pytest.approx(roc_auc_score(wanted, margin))
    outputs[mask] = torch.nan
    assert np.isnan([f1_error(outputs, data), auc_error(outputs, data)]).all()


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        ("gesture", "b3_va3.csv", "Phase", "Word", "must have 32 columns and Phase"),
        ("gesture", "b3_va3.csv", ",D\n", ",X\n", r"phases of DPSHR, got \['X'\]"),
        ("occupancy", "datatest.txt", "Light", "Night", r"must have the columns \['Light'\]"),
        (
            "occupancy",
            "datatest.txt",
            "23.7",
            "warm",
            "numbers of size at most 1e.18, got 'warm' in row 1",
        ),
        ("occupancy", "datatest.txt", ",23.7", "", "must have 7 cells a row, got 7 in row 2"),
        ("ozone", "eighthr.data", "1/1/1998,", "1/1/1998,1e99", "got .1e99"),
        ("ozone", "eighthr.data", "0.\n", "2.\n", "must have the classes 0 and 1"),
        ("har", f"{HAR_FOLDER}/train/y_train.txt", "1\n", "7\n", "must have the classes 1 to 6"),
        ("har", f"{HAR_FOLDER}/test/y_test.txt", "1\n", "", "a class and a person each"),
        ("har", f"{HAR_FOLDER}/test/X_test.txt", "e-01", "e-x1", "a table of numbers: could not"),
        ("har", f"{HAR_FOLDER}/test/X_test.txt", "e-01", "e+21", "of size at most"),
        ("person", "ConfLongDemo_JSI.txt", "walking", "flying", r"as activity, got \['flying'\]"),
        ("person", "ConfLongDemo_JSI.txt", "020-000", "020-009", r"known cells as tag, got"),
        ("power", POWER_FILE, ";Voltage", ";Tension", "must have the columns"),
        ("power", POWER_FILE, "0.418", "o.418", "must hold a table of numbers: could not convert"),
        ("power", POWER_FILE, ";0.418", "", "must hold a table of numbers"),
        ("power", POWER_FILE, "17/12/", "17/13/", "must have dates such as"),
    ],
)
def test_damaged_files_are_refused(write, name, file, old, new, message):
    folder = write(name)
    text = (folder / file).read_text()
    assert old in text
    first = text.index(old, 1)
    if message.endswith("row 2"):
        first = text.index(old, first + 1)
    (folder / file).write_text(text[:first] + new + text[first + len(old) :])
    with pytest.raises(ValueError, match=message):
        READERS[name](folder)


def test_missing_files_say_where_they_are_to_be_had(write, tmp_path, refuse):
    with pytest.raises(ValueError, match="the folder of UCI Ozone Level Detection.*, got None"):
        READERS["ozone"](None)
    with pytest.raises(FileNotFoundError, match=r"archive\.ics\.uci\.edu.*which is not there"):
        READERS["ozone"](tmp_path / "nothing")
    folder = write("gesture")
    (folder / "c1_va3.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"got none of c1_va3\.csv"):
        READERS["gesture"](folder)
    with pytest.raises(FileNotFoundError, match="which has none"):
        READERS["traffic"](folder)
    refuse(reproduce, Reproduce, ["gesture"], "`data` must be the folder of UCI Gesture")
    assert not (tmp_path / "runs").exists()


def test_an_archive_is_read_where_it_lies(write, tmp_path):
    folder = write("ozone")
    wanted = READERS["ozone"](folder)
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "ozone.tar.xz", "w:xz") as archive:
        archive.add(folder / "eighthr.data", "some/where/eighthr.data")
        archive.addfile(tarfile.TarInfo("../other"), io.BytesIO())
    for data in (packed, packed / "ozone.tar.xz"):
        assert np.array_equal(READERS["ozone"](data).targets, wanted.targets)
    content = (packed / "ozone.tar.xz").read_bytes()
    (packed / "ozone.tar.xz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="a whole archive, got ozone"):
        READERS["ozone"](packed)


def test_a_zip_is_read_and_one_in_it(write, tmp_path):
    """As the UCI repository hands out the telephones: a zip in a zip, and a Macintosh's files."""
    folder = write("har")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.txt")):
            name = path.relative_to(folder).as_posix()
            archive.writestr(f"__MACOSX/{HAR_FOLDER}/._{path.name}", b"something")
            archive.write(path, name)
    outer = tmp_path / "human+activity.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("UCI HAR Dataset.names", "words")
        archive.writestr("UCI HAR Dataset.zip", inner.getvalue())
    wanted = READERS["har"](folder)
    (tmp_path / "plain.zip").write_bytes(inner.getvalue())
    for data in (outer, tmp_path / "plain.zip"):
        assert np.array_equal(READERS["har"](data).inputs, wanted.inputs)
    outer.write_bytes(outer.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a whole archive, got human\+activity\.zip"):
        READERS["har"](outer)


def test_a_damaged_packed_file_is_refused(tmp_path):
    packed = tmp_path
    (packed / "plain.data.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=r"whole files, got plain\.data\.gz"):
        list(find_files(packed, lambda name: name == "plain.data", "something"))
