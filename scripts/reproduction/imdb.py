"""Classification of film reviews as good or bad: IMDB (CfC paper).

There are 25,000 training and 25,000 test reviews, half of each good. The input is the numbers of a
review's last 200 words, padded with zeros in front: the 20,000 most frequent words of the training
reviews have a number each, all others share one. The circuit gets the embedding of one word per
frame, without elapsed times; the class is the target at the last word. The table also has a
logistic regression on which words occur, regardless of their order.

Source: Hasani et al. 2022, Nature Machine Intelligence 4:992, table 4, and the code published with
it. Differs: words are counted only in the training reviews; a random tenth of these chooses the
checkpoint, where the paper tests the last epoch; all models have the same width, embedding and
learning rate, with Adam.
"""

import re
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells import CELLS, CellSizes
from ncp_control.learning.forecasters import Forecaster, make_forecaster
from ncp_control.learning.forecasting import TrainingConfig
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.sequences import Sequences
from scripts.reproduction.completion import Job, Measured, Reproduce
from scripts.reproduction.data_files import find_files
from scripts.reproduction.forecasts import WindowParts
from scripts.reproduction.measures import ACCURACY, classifier_table, fit_measured

PAPER = {
    "cfc": "85.9",
    "cfc_no_gate": "87.5",
    "cfc_pure": "81.7",
    "mixed_cfc": "88.3",
    "ltc": "61.8",
    "lstm": "87.3",
}
"""Accuracies in percent."""
DEFAULT_MODELS = ("cfc_no_gate", "cfc", "mixed_cfc", "lstm", "gru")
NUM_WORDS, LENGTH, OTHER, FIRST_WORD = 20_000, 200, 1, 2
"""Size of the vocabulary, words per review, number of rare words, number of the most frequent word;
0 is padding."""
UNITS, WIDTH, DROPOUT, BATCH_SIZE, EPOCHS = 64, 64, 0.5, 64, 5
LEARNING_RATE, DECAY, GRADIENT_CLIP, VALIDATION_SHARE = 2e-3, 0.6, 1.0, 0.1
RULE = "logistic regression on words"
_SETTINGS = f"words={NUM_WORDS} last={LENGTH}"
_REVIEW = re.compile(r"(?:^|/)(train|test)/(pos|neg)/[^/]+\.txt$")
_WORD = re.compile(r"[a-z0-9']+")
_WHAT = "the Large Movie Review Dataset, aclImdb (ai.stanford.edu/~amaas/data/sentiment)"


class Reviews(NamedTuple):
    """Reviews of the training or the test part."""

    words: list[list[str]]
    """The last words of each review, in order."""
    is_good: list[bool]


class ReviewReader(Forecaster):
    """Forecaster with an embedding of word numbers.

    Args:
        inner: Circuit and readout, for inputs as wide as the embedding.
        num_words: Number of rows of the embedding.
        dropout: Dropout rate of the embedding in training.
    """

    def __init__(self, inner: Forecaster, num_words: int, dropout: float) -> None:
        super().__init__(inner.circuit)
        self.readout = inner.readout
        self.embedding = nn.Embedding(num_words, inner.circuit.cell.input_size)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)

    def forward(
        self, inputs: Float[Tensor, "batch time 1"], dt_s: Tensor | None = None
    ) -> Float[Tensor, "batch time output"]:
        """Return the output after every word; the inputs are word numbers."""
        return super().forward(self.dropout(self.embedding(inputs[..., 0].long())), dt_s)


def reproduce_imdb(settings: Reproduce) -> None:
    """Run the missing trainings and print the table."""
    models = settings.chosen("models", CELLS, DEFAULT_MODELS)
    load(settings.data)  # raises before a run folder is made
    epochs = settings.epochs or EPOCHS
    described = {model: training_settings(model, epochs) for model in models}
    run = partial(train_model, settings.data, epochs, settings.device)
    classifier_table(settings, ACCURACY, add_rule, described, run, paper=PAPER, rules=_SETTINGS)


def training_settings(model: str, epochs: int) -> str:
    """Return the training settings of a model as one cell of the results file."""
    return (
        f"{_SETTINGS} units={UNITS} embedding={WIDTH} dropout={DROPOUT:g} batch={BATCH_SIZE}"
        f" lr={learning_rate(model):g} decay={DECAY:g} epochs={epochs}"
    )


def learning_rate(model: str) -> float:
    """Return the learning rate: higher for an LTC."""
    return 1e-2 if "ltc" in model else LEARNING_RATE


def read(data: Path | None) -> dict[str, Reviews]:
    """Read the reviews of both parts, in the order of their names.

    Raises:
        FileNotFoundError: If a part lacks good or bad reviews.
    """
    found: dict[str, list[tuple[str, list[str]]]] = {"train": [], "test": []}
    for name, content in find_files(data, lambda name: bool(_REVIEW.search(name)), _WHAT):
        match = _REVIEW.search(name)
        assert match is not None
        text = content.decode(errors="replace").lower().replace("<br />", " ")
        words = _WORD.findall(text)[-LENGTH:]
        found[match[1]].append((f"{match[2]}/{name.rsplit('/', 1)[-1]}", words))
    reviews = {}
    for part, several in found.items():
        several.sort()
        is_good = [name.startswith("pos") for name, _ in several]
        if len(set(is_good)) < 2:
            raise FileNotFoundError(
                f"`data` must hold {_WHAT}, got no good and bad reviews in {part!r}."
            )
        reviews[part] = Reviews([words for _, words in several], is_good)
    return reviews


def number_words(reviews: Reviews) -> dict[str, int]:
    """Return the number of each frequent word; equally frequent words are in alphabetical order."""
    counts = Counter(word for words in reviews.words for word in words)
    frequent = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: FIRST_WORD + i for i, word in enumerate(frequent[: NUM_WORDS - FIRST_WORD])}


def encode(reviews: Reviews, numbers: dict[str, int]) -> Sequences:
    """Return reviews as word numbers padded in front, with the class as target at the end."""
    inputs = np.zeros((len(reviews.words), LENGTH, 1), np.float32)
    for i, words in enumerate(reviews.words):
        if words:
            inputs[i, -len(words) :, 0] = [numbers.get(word, OTHER) for word in words]
    wanted = nn.functional.one_hot(torch.tensor(reviews.is_good).long(), 2).float()
    mask = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    mask[:, -1] = True
    return Sequences(
        inputs=torch.from_numpy(inputs),
        targets=wanted[:, None].expand(-1, LENGTH, -1),
        mask=mask,
    )


@cache
def load(data: Path | None) -> WindowParts:
    """Return the reviews of each part."""
    reviews = read(data)
    numbers = number_words(reviews["train"])
    rest, test = (encode(reviews[part], numbers) for part in ("train", "test"))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(rest)))
    num_validation = max(1, int(VALIDATION_SHARE * len(rest)))
    return WindowParts(
        training=rest[order[num_validation:]],
        validation=rest[order[:num_validation]],
        test=test,
    )


def train_model(data: Path | None, epochs: int, device: str, job: Job, is_silent: bool) -> Measured:
    """Train one model with one seed and measure it on the test reviews."""
    torch.set_flush_denormal(True)
    parts = load(data)
    model, config = set_up(parts.training, epochs, device, job)
    return fit_measured(model, parts, config, job, is_silent)


def set_up(
    data: Sequences, epochs: int, device: str, job: Job
) -> tuple[Forecaster, TrainingConfig]:
    """Return an untrained model for the sequences, and its training settings."""
    torch.manual_seed(job.seed)
    sizes = CellSizes(
        num_inputs=WIDTH,
        num_units=UNITS,
        num_outputs=data.targets.shape[2],
        frame_s=1.0,
        seed=job.seed,
        activation="silu",
    )
    config = TrainingConfig(
        device=device,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=learning_rate(job.model),
        epoch_decay=DECAY,
        gradient_clip=GRADIENT_CLIP,
        objective="categories",
        seed=job.seed,
    )
    return ReviewReader(make_forecaster(job.model, sizes), NUM_WORDS, DROPOUT), config


def add_rule(results: ResultsFile, settings: Reproduce) -> None:
    """Append the row of the logistic regression if the results file lacks it."""
    if results.has(RULE, 0, _SETTINGS):
        return
    from sklearn.linear_model import LogisticRegression

    parts = load(settings.data)
    model = LogisticRegression(C=0.05, max_iter=500)
    model.fit(*_which_words(parts.training))
    accuracies = {
        f"{name}_accuracy": 100.0 * float(model.score(*_which_words(part)))
        for name, part in (("validation", parts.validation), ("test", parts.test))
    }
    results.append(
        RULE, 0, _SETTINGS, {"parameters": NUM_WORDS + 1, **accuracies}, settings.command()
    )


def _which_words(part: Sequences) -> tuple[Any, np.ndarray]:
    """Return which words occur in each review, as a sparse matrix, and the classes."""
    from scipy.sparse import csr_matrix

    words = part.inputs[..., 0].numpy().astype(int)
    rows = np.broadcast_to(np.arange(len(words))[:, None], words.shape)
    is_word = words > 0
    pairs = np.unique(rows[is_word] * NUM_WORDS + words[is_word])  # each word of a review once
    ones = np.ones(len(pairs), dtype=np.float32)
    place = pairs // NUM_WORDS, pairs % NUM_WORDS
    features = csr_matrix((ones, place), shape=(len(words), NUM_WORDS))
    return features, part.targets[:, -1].argmax(dim=-1).numpy()
