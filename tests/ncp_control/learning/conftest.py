"""A task whose answer is known: report the input of three frames ago."""

import itertools

import numpy as np
import pytest

from ncp_control.learning import trainer
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.learning.training_state import TrainingState


@pytest.fixture(scope="session")
def delayed_store(tmp_path_factory):
    """Actions follow a smoothed past input, which only a memory can know."""
    folder = tmp_path_factory.mktemp("store") / "delayed"
    generator = np.random.default_rng(0)
    with DemonstrationWriter(folder, (2,), np.float32, 1) as writer:
        for _ in range(8):
            signal = np.cumsum(generator.standard_normal(80)) * 0.3
            signal = np.clip(signal, -1, 1).astype(np.float32)
            observations = np.stack([signal, np.ones_like(signal)], axis=1)
            actions = 0.8 * np.concatenate([np.zeros(3, np.float32), signal[:-3]])[:, None]
            writer.append_episode(observations, actions, np.full(80, 1 / 30, np.float32))
    return Demonstrations.open(folder)


class Stopped(Exception):
    """What ends a training in a test."""


@pytest.fixture(params=["before", "after"])
def stopped_trainings(request, monkeypatch, tmp_path):
    """Yield a folder for each checkpoint of a training that was stopped before or after it.

    `train`, given a folder, trains with a checkpoint after every step.
    """

    def stopped(train):
        save = TrainingState.save
        monkeypatch.setattr(trainer, "CHECKPOINT_S", 0.0)
        for number in itertools.count(1):
            count = 0

            def save_or_stop(state, path, number=number):
                nonlocal count
                count += 1
                if count != number or request.param == "after":
                    save(state, path)
                if count == number:
                    raise Stopped

            folder = tmp_path / f"stopped-{number}"
            with monkeypatch.context() as patch:
                patch.setattr(TrainingState, "save", save_or_stop)
                try:
                    train(folder)
                    return
                except Stopped:
                    pass
            yield folder

    return stopped
