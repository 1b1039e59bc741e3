"""Bit streams that carry their answer, drawn short ones first, and the table of them."""

import pytest
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import xor
from scripts.reproduction.completion import Job, Reproduce
from scripts.reproduction.xor import streams


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


def test_xor_table(tmp_path, monkeypatch, capsys, read):
    monkeypatch.setattr(xor, "NUM_TRAINING", 400)
    monkeypatch.setattr(xor, "NUM_VALIDATION", 100)
    monkeypatch.setattr(xor, "STREAMS_PER_EPOCH", 256)
    monkeypatch.setattr(xor, "NUM_TEST", 100)
    reproduce(Reproduce(table="xor", models=("lstm",), seeds=1, epochs=1, results=tmp_path))
    rows = read(tmp_path / "xor.csv")
    assert [row["settings"].split()[0] for row in rows] == list(xor.ENCODINGS)
    assert 0.0 < float(rows[0]["test_accuracy"]) < 100.0
    assert "89.71" in capsys.readouterr().out


def test_xor_is_tested_on_streams_of_its_own(monkeypatch):
    drawn, served = [], {}

    def spy(encoding, count, seed, draw=xor.streams):
        drawn.append((seed, streams := draw(encoding, count, seed)))
        return streams

    def fit(model, data, *options, lesson):
        served.update(validation=data.validation, test=data.test, lesson=lesson(0))
        return {}

    monkeypatch.setattr(xor, "NUM_TRAINING", 400)
    monkeypatch.setattr(xor, "NUM_VALIDATION", 100)
    monkeypatch.setattr(xor, "NUM_TEST", 100)
    monkeypatch.setattr(xor, "streams", spy)
    monkeypatch.setattr(xor, "fit_measured", fit)
    xor.train_model(1, "cpu", Job("lstm", 0, "event-based"), True)
    (known_seed, known), (test_seed, test) = drawn
    assert known_seed != test_seed and served["test"] is test
    assert torch.equal(served["validation"].inputs, known.inputs[:100])
