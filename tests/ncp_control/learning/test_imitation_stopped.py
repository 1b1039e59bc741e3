import dataclasses

import numpy as np
import pytest
import torch

from ncp_control import LSTM, Policy
from ncp_control.learning.demonstrations import (
    Demonstrations,
    DemonstrationWriter,
    Windows,
)
from ncp_control.learning.imitation import (
    ImitationConfig,
    imitate,
    imitation_error,
    predict_episode,
)
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import TrainingState, epochs_done
from ncp_control.policy import VectorPolicy
from tests.ncp_control.learning.imitating import train


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    delayed_store, tmp_path, stopped_trainings
):
    """DAgger, an average of the weights, and augmentation that draws random numbers included."""
    config = ImitationConfig(
        epochs=2, window=40, batch_size=16, weight_average=0.8, dagger_epochs=(0, 1)
    )
    asked = []

    def augment(batch, generator):
        noise = torch.randn(batch.observations.shape, generator=generator)
        return dataclasses.replace(batch, observations=batch.observations + 0.1 * noise)

    def train(folder):
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        step = epochs_done(folder)
        run = Run(folder) if is_new else Run.reopen(folder, step=step)
        torch.manual_seed(0 if is_new or step < 0 else 9)
        policy = VectorPolicy(LSTM(2, 4, 1), observation_size=2)

        def aggregate(policy, epoch):
            asked.append((folder.name, epoch))
            actions = np.concatenate([predict_episode(policy, delayed_store, 0), np.ones((9, 1))])
            with DemonstrationWriter(folder / str(epoch), (2,), np.float32, 1) as writer:
                writer.append_episode(
                    delayed_store.observations[: len(actions)], actions, np.full(len(actions), 0.03)
                )
            return Demonstrations.open(folder / str(epoch))

        best = imitate(
            policy,
            [delayed_store],
            config,
            run,
            validate=lambda p: {"score": imitation_error(p, delayed_store)},
            augment=augment,
            aggregate=aggregate,
            recall=lambda epoch: (
                Demonstrations.open(folder / str(epoch)) if (folder / str(epoch)).is_dir() else None
            ),
        )
        return [*best.state_dict().values(), *policy.state_dict().values()]

    expected = train(tmp_path / "whole")
    metrics = (tmp_path / "whole" / "metrics.csv").read_text()
    stopped = list(stopped_trainings(train))
    for folder in stopped:
        assert all(map(torch.equal, train(folder), expected))
        assert (folder / "metrics.csv").read_text() == metrics
    assert len(stopped) == 2 * (2 + 1), "at each step, and at the end of each epoch"
    assert len(asked) == len(set(asked)), "what was recorded is not recorded again"


def test_a_run_that_goes_on_needs_what_was_demonstrated_in_it(tiny_policy, delayed_store, tmp_path):
    config = ImitationConfig(epochs=2, window=20, batch_size=8, dagger_epochs=(0,))
    run = Run.create("test", "tiny", config, root=tmp_path)

    def learn(validate):
        options = {"validate": validate, "aggregate": lambda policy, epoch: delayed_store}
        imitate(tiny_policy, [delayed_store], config, run, **options)

    with pytest.raises(ZeroDivisionError):
        learn(lambda p: {"score": 1.0 / (1 - len(run.rows))})
    with pytest.raises(ValueError, match="`recall` must return the demonstrations of epoch 0"):
        learn(lambda p: {"score": 0.0})


def test_stopping_leaves_the_last_checkpoint(tiny_policy, delayed_store, tmp_path):
    config = ImitationConfig(epochs=3, window=20, batch_size=8)
    run = Run.create("test", "tiny", config, root=tmp_path)

    def stop(batch, _):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imitate(
            tiny_policy,
            [delayed_store],
            config,
            run,
            validate=lambda p: {"score": 0.0},
            augment=stop,
        )
    kept = Policy.load(run.checkpoints / "last")
    batch = next(iter(Windows(delayed_store, 20, 2, 0)))
    assert torch.equal(kept(batch.observations)[0], tiny_policy(batch.observations)[0])


def test_a_training_that_was_stopped_within_an_epoch_of_steps_takes_the_same_ones(
    delayed_store, tiny_policy, tmp_path, monkeypatch
):
    start = {k: v.clone() for k, v in tiny_policy.state_dict().items()}
    whole, _ = train(tiny_policy, delayed_store, tmp_path / "whole", epochs=2, epoch_steps=5)
    tiny_policy.load_state_dict(start)
    config = ImitationConfig(window=20, batch_size=8, epochs=2, epoch_steps=5)
    run = Run.create("test", "tiny", config, root=tmp_path / "stopped")
    saves = []

    def save_or_stop(state, path, save=TrainingState.save):
        save(state, path)
        saves.append(state.step)
        if len(saves) == 7:
            raise KeyboardInterrupt

    def learn(run):
        return imitate(
            tiny_policy,
            [delayed_store],
            config,
            run,
            validate=lambda p: {"score": imitation_error(p, delayed_store)},
        )

    with monkeypatch.context() as patch:
        patch.setattr("ncp_control.learning.trainer.CHECKPOINT_S", 0.0)
        patch.setattr(TrainingState, "save", save_or_stop)
        with pytest.raises(KeyboardInterrupt):
            learn(run)
    assert saves[-1] == 1, "within the second epoch"
    tiny_policy.load_state_dict(start)
    resumed = learn(Run.reopen(run.folder, step=epochs_done(run.folder)))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
