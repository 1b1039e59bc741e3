"""IMDB: reviews as numbers of words, and circuits that read them."""

import csv

import pytest
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import imdb
from scripts.reproduction.completion import Reproduce
from scripts.reproduction.imdb import Reviews


def write(folder, num_reviews=20):
    """Write reviews that say at the beginning whether they are good."""
    for part in ("train", "test"):
        for kind, word in (("pos", "Fine"), ("neg", "Dull")):
            place = folder / "aclImdb" / part / kind
            place.mkdir(parents=True)
            for i in range(num_reviews):
                (place / f"{i}_7.txt").write_text(f"{word} film.<br /><br />It's the {i}th one")
    (folder / "aclImdb" / "train" / "unsup").mkdir()
    (folder / "aclImdb" / "train" / "unsup" / "0_0.txt").write_text("not read")
    return folder


def test_words_are_numbered_by_how_often_they_are_there(monkeypatch):
    monkeypatch.setattr(imdb, "NUM_WORDS", 5)
    numbers = imdb.number_words(Reviews([["b", "b", "a", "c"], ["c", "d", "b"]], [True, False]))
    assert numbers == {"b": 2, "c": 3, "a": 4}


def test_a_review_is_its_last_words_with_zeros_in_front():
    data = imdb.encode(Reviews([["b", "x", "a"], []], [True, False]), {"a": 3, "b": 2})
    assert data.inputs[0, -4:, 0].tolist() == [0.0, 2.0, 1.0, 3.0]
    assert not data.inputs[0, :-3].any() and not data.inputs[1].any()
    assert data.targets[:, -1].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert data.mask.sum().item() == 2 and data.mask[:, -1].all()


def test_reviews_are_read_without_marks_and_their_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(imdb, "LENGTH", 5)
    reviews = imdb.read(write(tmp_path))["train"]
    assert len(reviews.words) == 40 and sum(reviews.is_good) == 20
    assert reviews.words[0] == ["film", "it's", "the", "0th", "one"]
    with pytest.raises(FileNotFoundError, match=r"stanford\.edu.*which has none"):
        imdb.read(tmp_path / "aclImdb" / "train" / "unsup")
    for path in (tmp_path / "aclImdb" / "test" / "pos").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no good and bad reviews in 'test'"):
        imdb.read(tmp_path)


def test_a_circuit_learns_to_tell_reviews_apart(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(imdb, "LENGTH", 8)
    monkeypatch.setattr(imdb, "NUM_WORDS", 60)
    monkeypatch.setattr(imdb, "BATCH_SIZE", 4)
    monkeypatch.setattr(imdb, "LEARNING_RATE", 2e-2)
    settings = Reproduce(
        table="imdb", data=write(tmp_path), models=("gru",), seeds=1, epochs=12, results=tmp_path
    )
    reproduce(settings)
    with (tmp_path / "imdb.csv").open(newline="") as file:
        rows = {row["model"]: float(row["test_accuracy"]) for row in csv.DictReader(file)}
    assert rows[imdb.RULE] == 100.0
    assert rows["gru"] >= 80.0  # it ends once the four validation reviews are told right
    assert "| gru " in capsys.readouterr().out


def test_every_word_has_its_own_embedding():
    inner = imdb.make_forecaster(
        "lstm", imdb.CellSizes(num_inputs=3, num_units=4, num_outputs=2, frame_s=1.0)
    )
    reader = imdb.ReviewReader(inner, 7, 0.5).eval()
    words = torch.tensor([[0.0, 6.0], [6.0, 6.0]])[..., None]
    outputs = reader(words)
    assert outputs.shape == (2, 2, 2) and not torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs, inner(reader.embedding(words[..., 0].long())))


@pytest.mark.slow
def test_all_reviews_are_there(recordings):
    reviews = imdb.read(recordings / "imdb")
    assert {part: len(several.words) for part, several in reviews.items()} == {
        "train": 25_000,
        "test": 25_000,
    }
    assert all(sum(several.is_good) == 12_500 for several in reviews.values())
