"""Digits as events: nothing of the picture is lost, and the table holds what it says."""

import csv
import gzip
import struct

import numpy as np
import pytest
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
    shown = digits.pictures("digits")
    assert sorted(np.concatenate(list(shown.parts.values())).tolist()) == list(range(1797))
    data = digits.load()
    assert [len(data.test), len(data.validation), len(data.training)] == [359, 180, 1258]
    assert torch.equal(data.test.targets.sum(dim=-1), torch.ones(data.test.mask.shape))


def test_digits_table(tmp_path, capsys):
    settings = Reproduce(table="digits", models=("gru",), seeds=1, epochs=1, results=tmp_path)
    reproduce(settings)
    with (tmp_path / "digits.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert float(rows["linear on 17 grey levels"]["test_accuracy"]) > 94.0
    assert 0.0 < float(rows["gru"]["test_accuracy"]) < 100.0
    assert "| gru " in capsys.readouterr().out


def write_idx(path, values):
    """Write an array of bytes as an IDX file, packed."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    with gzip.open(path, "wb") as file:
        file.write(header + values.astype(np.uint8).tobytes())


def write_mnist(folder, num_training=60, num_test=20):
    """Write pictures with as many bars as their class says."""
    folder.mkdir(exist_ok=True)
    for part, number in (("train", num_training), ("t10k", num_test)):
        classes = np.arange(number) % 10
        images = np.zeros((number, 28, 28), np.uint8)
        for i, bars in enumerate(classes):
            images[i, 2 : 2 + 2 * bars : 2, 5:20] = 129  # the darkest that is still white is 128
            images[i, 0] = 128
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", classes)
    return folder


def test_mnist_is_a_frame_for_each_change_of_colour(tmp_path):
    data = digits.load("mnist", write_mnist(tmp_path))
    assert [len(part) for part in vars(data).values()] == [54, 6, 20]
    frames = data.test.mask.int().argmax(dim=1) + 1
    assert frames.tolist() == [1 + 2 * (i % 10) for i in range(20)], "none at the end"
    assert data.test.dt_s[1, :3].tolist() == [1.0, 2 * 28 + 5, 15.0]
    assert data.test.inputs[1, :3, 0].tolist() == [0.0, 1.0, 0.0]
    classes = data.test.targets[data.test.mask].argmax(dim=-1)
    assert classes.tolist() == [i % 10 for i in range(20)]


def test_mnist_table(tmp_path, capsys):
    settings = Reproduce(
        table="mnist",
        data=write_mnist(tmp_path / "data", 120, 40),
        models=("gru",),
        seeds=1,
        epochs=2,
        results=tmp_path,
    )
    reproduce(settings)
    with (tmp_path / "mnist.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"gru", "linear on black and white", "linear on 256 grey levels"}
    assert float(rows["linear on black and white"]["test_accuracy"]) == 100.0
    assert "| gru " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"\0\0\x0d\x01\0\0\0\0", "an IDX file of bytes, got"),
        ("train-images-idx3-ubyte", b"\0\0\x08\x01\0\0\0\x05ab", r"hold \(5,\) bytes .*, got 2"),
        ("train-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x02\0\x01", r"shapes \(2,\) and \(60, 28"),
        ("t10k-labels-idx1-ubyte", None, "got none of t10k-labels-idx1-ubyte"),
    ],
)
def test_damaged_mnist_is_refused(tmp_path, name, content, message):
    write_mnist(tmp_path)
    (tmp_path / f"{name}.gz").unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError if content else FileNotFoundError, match=message):
        digits.read_mnist(tmp_path)


def test_rows_of_pixels_are_frames_and_the_last_pictures_validate(tmp_path, capsys):
    folder = write_mnist(tmp_path / "data")
    data = digits.load("smnist", folder)
    assert [tuple(part.inputs.shape) for part in vars(data).values()] == [
        (54, 28, 28), (6, 28, 28), (20, 28, 28),
    ]  # fmt: skip
    shown = digits.pictures("smnist", folder).pixels
    np.testing.assert_array_equal(
        data.validation.inputs.flatten(1), (shown[54:60] / 255).astype(np.float32)
    )
    assert data.test.dt_s is None and (data.test.mask.sum(dim=1) == 1).all()
    assert data.test.mask[:, -1].all() and data.test.targets[3].argmax(dim=-1).tolist() == [3] * 28
    settings = Reproduce(
        table="smnist", data=folder, models=("lstm",), seeds=1, epochs=1, results=tmp_path
    )
    reproduce(settings)
    with (tmp_path / "smnist.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"lstm", "linear on 256 grey levels"}
    assert rows["lstm"]["settings"] == "split=0 units=32 frame=1 batch=16 lr=0.001 epochs=1"
    assert "98.41" in capsys.readouterr().out


@pytest.mark.slow
def test_mnist_has_as_many_events_as_published(recordings):
    data = digits.load("mnist", recordings / "mnist")
    assert [len(part) for part in vars(data).values()] == [54_000, 6_000, 10_000]
    frames = [part.mask.int().argmax(dim=1) + 1 for part in vars(data).values()]
    assert torch.cat(frames).max() == 105
    assert torch.cat(frames).double().mean().item() == pytest.approx(53.0, abs=1.0)
