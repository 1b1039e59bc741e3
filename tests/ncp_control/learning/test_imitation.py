import csv
import dataclasses
import re

import numpy as np
import pytest
import torch

from ncp_control import LSTM, Policy
from ncp_control.learning.demonstrations import (
    Batch,
    Demonstrations,
    DemonstrationWriter,
    windows,
)
from ncp_control.learning.divergence import DivergenceError, has_diverged
from ncp_control.learning.imitation import (
    ImitationConfig,
    imitate,
    imitation_error,
    predict,
    predict_episode,
    weighted_squared_error,
)
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import TrainingState, epochs_done
from ncp_control.policy import VectorPolicy


def train(policy, store, root, **settings):
    config = ImitationConfig(**({"epochs": 3, "window": 20, "batch_size": 8} | settings))
    run = Run.create("test", "tiny", config, root=root)
    best = imitate(
        policy, [store], config, run, validate=lambda p: {"score": imitation_error(p, store)}
    )
    return best, run


def rows(run):
    with open(run.folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def test_circuit_learns_what_only_a_memory_can_know(tiny_policy, delayed_store, tmp_path):
    best, run = train(tiny_policy, delayed_store, tmp_path, epochs=15, circuit_learning_rate=0.03)
    error = imitation_error(best, delayed_store)
    # The best memoryless answer is linear in the present input.
    x, y = np.array(delayed_store.observations[:, 0]), delayed_store.actions[:, 0]
    memoryless = np.polyval(np.polyfit(x, y, 1), x)
    assert error < 0.5 * float(np.mean((memoryless - y) ** 2))
    scores = [float(row["score"]) for row in rows(run)]
    assert error == pytest.approx(min(scores), rel=1e-6), "the best checkpoint is returned"


def test_same_seed_same_curve_to_the_last_digit(delayed_store, tiny_policy, tmp_path):
    start = {k: v.clone() for k, v in tiny_policy.state_dict().items()}
    curves = []
    for _ in range(2):
        tiny_policy.load_state_dict(start)
        _, run = train(tiny_policy, delayed_store, tmp_path, seed=7)
        curves.append((run.folder / "metrics.csv").read_text())
    assert curves[0] == curves[1]
    tiny_policy.load_state_dict(start)
    _, run = train(tiny_policy, delayed_store, tmp_path, seed=8)
    assert (run.folder / "metrics.csv").read_text() != curves[0]


def test_loss_is_the_weighted_mean_of_the_frames_that_count():
    predicted = torch.tensor([[[1.0], [2.0], [9.0]]])
    wanted = torch.tensor([[[0.0], [1.0], [0.0]]])
    mask = torch.tensor([[True, True, False]])
    loss = weighted_squared_error(predicted, wanted, mask, turn_weight=2.0)
    assert loss.item() == pytest.approx(1.0)
    predicted = torch.tensor([[[1.0], [1.0], [9.0]]])
    loss = weighted_squared_error(predicted, wanted, mask, turn_weight=2.0)
    assert loss.item() == pytest.approx(1.0 / (1.0 + np.exp(2.0)))


def test_entries_of_the_action_count_as_they_are_told():
    predicted, wanted = torch.tensor([[[1.0, 2.0]]]), torch.zeros(1, 1, 2)
    mask = torch.ones(1, 1, dtype=torch.bool)
    for weights, loss in (((), 2.5), ((1.0, 1.0), 2.5), ((3.0, 1.0), (3.0 + 4.0) / 4.0)):
        assert weighted_squared_error(predicted, wanted, mask, 0.0, weights).item() == loss
    with pytest.raises(ValueError, match="`action_weights` must be one for each of the 2 entries"):
        weighted_squared_error(predicted, wanted, mask, 0.0, (1.0,))
    with pytest.raises(ValueError, match="`action_weights` must be"):
        ImitationConfig(action_weights=(0.0, 1.0))


def test_what_is_learned_is_what_the_policy_does():
    cell = LSTM(4, 8, 2)
    with torch.no_grad():
        cell.output.weight *= 20.0
    policy = VectorPolicy(cell, observation_size=4, squash="tanh")
    batch = Batch(
        observations=torch.randn(3, 5, 4),
        actions=torch.zeros(3, 5, 2),
        dt_s=torch.full((3, 5), 0.03),
        mask=torch.ones(3, 5, dtype=torch.bool),
    )
    predicted = predict(policy, batch)
    torch.testing.assert_close(predicted, policy(batch.observations, dt_s=batch.dt_s)[0])
    assert predicted.abs().max() < 1.0


def test_learning_and_judging_go_by_the_elapsed_time(tiny_policy, tmp_path):
    torch.nn.init.constant_(tiny_policy.circuit.cell.raw_capacitance, 1.0)  # slow enough to see it
    observations, dt_s = torch.randn(3, 9, 2), torch.rand(3, 9) * 0.3
    still = torch.zeros(3, 9, 1)
    batch = Batch(observations=observations, actions=still, dt_s=dt_s, mask=still[..., 0] == 0.0)
    expected, _ = tiny_policy(observations, dt_s=dt_s)
    assert (expected - tiny_policy(observations)[0]).abs().max() > 1e-3
    torch.testing.assert_close(predict(tiny_policy, batch), expected)
    with DemonstrationWriter(tmp_path / "store", (2,), np.float32, 1) as writer:
        for sample in zip(observations.numpy(), still.numpy(), dt_s.numpy(), strict=True):
            writer.append_episode(*sample)
    store = Demonstrations.open(tmp_path / "store")
    along = np.stack([predict_episode(tiny_policy, store, i, chunk=4) for i in range(3)])
    torch.testing.assert_close(torch.from_numpy(along), expected.detach())


def test_learning_rates_reach_their_groups(tiny_policy, delayed_store, tmp_path):
    before = {k: v.clone() for k, v in tiny_policy.state_dict().items()}
    train(tiny_policy, delayed_store, tmp_path, epochs=1, circuit_learning_rate=1e-9)
    for name, after in tiny_policy.state_dict().items():
        torch.testing.assert_close(after, before[name], rtol=0, atol=1e-6)


def test_head_and_circuit_learn_at_their_own_rates(delayed_store, tmp_path):
    torch.manual_seed(0)
    policy = VectorPolicy(LSTM(3, 4, 1), observation_size=2, encoder=(3,))
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    settings = {"epochs": 1, "precision": "bfloat16", "head_learning_rate": 1e-9}
    train(policy, delayed_store, tmp_path, **settings)
    after = policy.state_dict()
    torch.testing.assert_close(
        after["encoder.0.weight"], before["encoder.0.weight"], atol=1e-6, rtol=0
    )
    name = "circuit.cell.output.weight"
    assert (after[name] - before[name]).abs().max() > 1e-3


def test_the_average_of_the_weights_is_what_is_kept(delayed_store, tmp_path):
    torch.manual_seed(0)
    policy = VectorPolicy(LSTM(2, 4, 1), observation_size=2)
    steps = []

    def note(batch, _):
        steps.append(policy.circuit.cell.output.bias.item())  # before the step
        return batch

    config = ImitationConfig(epochs=1, window=20, batch_size=8, weight_average=0.5)
    run = Run.create("test", "tiny", config, root=tmp_path)
    best = imitate(
        policy, [delayed_store], config, run, validate=lambda p: {"score": 0.0}, augment=note
    )
    steps.append(policy.circuit.cell.output.bias.item())
    average = steps[1]  # the first step's weights, then half of each next one's
    for value in steps[2:]:
        average = 0.5 * average + 0.5 * value
    assert len(steps) > 3
    assert best.circuit.cell.output.bias.item() == pytest.approx(average, rel=1e-5)


def test_what_does_not_fit_is_refused_before_it_is_learned(tiny_policy, delayed_store, tmp_path):
    two = VectorPolicy(LSTM(2, 4, 2), observation_size=2)
    with pytest.raises(ValueError, match="`policy` must have the 1 actions that were demonstrated"):
        imitation_error(two, delayed_store)
    with pytest.raises(ValueError, match="`policy` must have the 1 actions that were demonstrated"):
        weighted_squared_error(torch.zeros(2, 3, 2), torch.zeros(2, 3, 1), torch.ones(2, 3), 1.0)

    def learn(validate=lambda p: {"score": 0.0}, store=delayed_store, **settings):
        config = ImitationConfig(epochs=1, window=20, batch_size=8, **settings)
        run = Run.create("test", "tiny", config, root=tmp_path)
        imitate(tiny_policy, [store], config, run, validate=validate)

    with pytest.raises(ValueError, match="`dagger_epochs` must be empty without `aggregate`"):
        learn(dagger_epochs=(0,))
    for measured in ({"mse": 1.0}, {"score": 1.0, "loss": 2.0}):
        with pytest.raises(ValueError, match="`validate` must measure a `score` and no `loss`"):
            learn(lambda p, measured=measured: measured)
    degrees = dataclasses.replace(delayed_store, actions=60.0 + delayed_store.actions)
    with pytest.raises(ValueError, match="`turn_weight` times the largest action must be at most"):
        learn(store=degrees)


def test_predicting_in_chunks_equals_predicting_at_once(tiny_policy, delayed_store):
    whole = predict_episode(tiny_policy, delayed_store, 2)
    chunked = predict_episode(tiny_policy, delayed_store, 2, chunk=7)
    np.testing.assert_allclose(chunked, whole, atol=1e-6)


def test_dagger_adds_what_the_learner_met(tiny_policy, delayed_store, tmp_path):
    asked, seen = [], []

    def aggregate(policy, epoch):
        asked.append(epoch)
        return delayed_store

    config = ImitationConfig(epochs=4, window=20, batch_size=8, dagger_epochs=(1, 3))
    run = Run.create("test", "tiny", config, root=tmp_path)
    imitate(
        tiny_policy,
        [delayed_store],
        config,
        run,
        validate=lambda p: {"score": 0.0},
        augment=lambda batch, _: (seen.append(int(batch.mask.sum())), batch)[1],
        aggregate=aggregate,
    )
    assert asked == [1, 3]
    assert sum(seen) == len(delayed_store) * (1 + 2 + 2 + 3)


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
    batch = next(iter(windows(delayed_store, 20, 2, 0)))
    assert torch.equal(kept(batch.observations)[0], tiny_policy(batch.observations)[0])


def test_diverged_training_is_reported(tiny_policy, delayed_store, tmp_path):
    config = ImitationConfig(epochs=1, window=20, batch_size=8)
    run = Run.create("test", "tiny", config, root=tmp_path)
    with pytest.raises(ValueError, match="`score` must become finite in some epoch, got none in 1"):
        imitate(
            tiny_policy,
            [delayed_store],
            config,
            run,
            validate=lambda p: {"score": float("nan")},
        )


def test_a_training_that_diverges_ends_with_the_best_before_it(
    tiny_policy, delayed_store, tmp_path, capsys
):
    """Worlds refuse an action that is no number, so a diverged policy must not be validated."""
    broken = 2

    def augment(batch, _):
        if len(run.rows) == broken - 1:
            tiny_policy.circuit.cell.slope.data.fill_(torch.nan)
        return batch

    def validate(policy):
        assert all(torch.isfinite(weight).all() for weight in policy.parameters())
        return {"score": imitation_error(policy, delayed_store)}

    config = ImitationConfig(epochs=4, window=20, batch_size=8)
    run = Run.create("test", "tiny", config, root=tmp_path)
    best = imitate(tiny_policy, [delayed_store], config, run, validate=validate, augment=augment)
    printed = capsys.readouterr().out
    assert re.search(
        "diverged in step 1 of epoch 2, .*: the best before it, of epoch 1, is", printed
    )
    assert not has_diverged(Policy.load(run.checkpoints / "last"))
    assert imitation_error(best, delayed_store) == pytest.approx(run.rows[-1]["score"], rel=1e-6)
    broken = 1
    run = Run.create("test", "tiny", config, root=tmp_path)
    with pytest.raises(
        DivergenceError, match="must stay finite, but diverged in step 1 of epoch 1, .* Lower"
    ):
        imitate(tiny_policy, [delayed_store], config, run, validate=validate, augment=augment)


def test_a_loss_that_is_not_finite_ends_the_training_before_its_step(
    tiny_policy, delayed_store, tmp_path
):
    def augment(batch, _):
        if len(run.rows) == 1:
            return dataclasses.replace(batch, observations=batch.observations * torch.nan)
        return batch

    config = ImitationConfig(epochs=3, window=20, batch_size=8)
    run = Run.create("test", "tiny", config, root=tmp_path)
    best = imitate(
        tiny_policy,
        [delayed_store],
        config,
        run,
        validate=lambda p: {"score": imitation_error(p, delayed_store)},
        augment=augment,
    )
    assert len(run.rows) == 1
    assert not has_diverged(tiny_policy) and not has_diverged(best)


def test_actions_that_are_not_finite_are_noticed_before_a_world_meets_them(
    tiny_policy, delayed_store, tmp_path
):
    """Weights can be finite and too large to act with."""

    def augment(batch, _):
        tiny_policy.circuit.cell.output_scale.data.fill_(1e38)
        tiny_policy.circuit.cell.output_offset.data.fill_(3e38)
        return dataclasses.replace(batch, mask=torch.zeros_like(batch.mask))  # no gradient

    def validate(policy):
        pytest.fail("it must not be validated")

    config = ImitationConfig(epochs=1, window=20, batch_size=800)
    run = Run.create("test", "tiny", config, root=tmp_path)
    with pytest.raises(DivergenceError, match="diverged in step 1 of epoch 1, with a loss of"):
        imitate(tiny_policy, [delayed_store], config, run, validate=validate, augment=augment)
    assert not run.checkpoints.exists()


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_score_that_is_not_finite_is_never_the_best(tiny_policy, delayed_store, tmp_path, bad):
    config = ImitationConfig(epochs=3, window=20, batch_size=8)
    run = Run.create("test", "tiny", config, root=tmp_path)
    scores, kept = iter([bad, 2.0, bad]), []

    def validate(policy):
        kept.append(policy.circuit.cell.threshold.detach().clone())
        return {"score": next(scores)}

    best = imitate(tiny_policy, [delayed_store], config, run, validate=validate)
    assert torch.equal(best.circuit.cell.threshold, kept[1])


def test_a_diverged_policy_is_not_saved_when_the_user_stops(tiny_policy, delayed_store, tmp_path):
    config = ImitationConfig(epochs=1, window=20, batch_size=8, weight_average=0.5)
    run = Run.create("test", "tiny", config, root=tmp_path)
    batches = 0

    def stop(batch, _):
        nonlocal batches
        batches += 1
        if batches == 2:
            raise KeyboardInterrupt
        return batch

    # In the backward pass of the first batch, so that its loss is finite.
    slope = tiny_policy.circuit.cell.slope
    slope.register_hook(lambda _: slope.data.fill_(torch.inf))
    settings = {"validate": lambda p: {"score": 0.0}, "augment": stop}
    with pytest.raises(KeyboardInterrupt):
        imitate(tiny_policy, [delayed_store], config, run, **settings)
    assert not run.checkpoints.exists()


@pytest.mark.parametrize("name", ["head_learning_rate", "circuit_learning_rate"])
@pytest.mark.parametrize("value", [0.0, -1e-3, 1e30, float("nan"), float("inf")])
def test_impossible_learning_rates_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be positive and at most 1000, got"):
        ImitationConfig(**{name: value})


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="`epochs` must be a whole number of at least 1, got 0"):
        ImitationConfig(epochs=0)
    with pytest.raises(ValueError, match="`precision` must be float32 or bfloat16, got 'fp8'"):
        ImitationConfig(precision="fp8")
    with pytest.raises(ValueError, match="`turn_weight` must be finite and >= 0, got nan"):
        ImitationConfig(turn_weight=float("nan"))
    with pytest.raises(ValueError, match="`device` must be auto, cpu or a device of this machine"):
        ImitationConfig(device="abacus")
    for epoch in (-1, 2):
        with pytest.raises(ValueError, match="`dagger_epochs` must be from 0 to below `epochs`"):
            ImitationConfig(epochs=2, dagger_epochs=(1, epoch))


def test_the_expert_is_asked_by_default_if_the_training_lasts():
    asked = [ImitationConfig(epochs=n, dagger_epochs=None).asked_epochs for n in (2, 3, 4, 6)]
    assert asked == [(), (), (3,), (3,)]


def test_an_epoch_of_steps_goes_over_the_demonstrations_as_often_as_it_takes(
    tiny_policy, delayed_store, tmp_path, monkeypatch
):
    whole = len(windows(delayed_store, 20, 8, 0))
    seen = []

    def spy(policy, batch, precision):
        seen.append(batch.observations[0, 0, 0].item())
        return predict(policy, batch, precision)

    monkeypatch.setattr("ncp_control.learning.imitation.predict", spy)
    steps = 2 * whole + 1
    train(tiny_policy, delayed_store, tmp_path, epochs=2, epoch_steps=steps)
    judged = 1  # the last batch of an epoch is looked at once more
    assert len(seen) == 2 * (steps + judged)
    first, second = seen[:steps], seen[steps + judged : -judged]
    assert first != second, "each epoch is shuffled anew"
    assert first[:whole] != first[whole : 2 * whole], "and so is each pass"


def test_a_training_ends_when_its_patience_does(tiny_policy, delayed_store, tmp_path):
    scores = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    config = ImitationConfig(epochs=9, window=20, batch_size=8, patience=2)
    run = Run.create("test", "tiny", config, root=tmp_path)
    imitate(tiny_policy, [delayed_store], config, run, validate=lambda _: {"score": next(scores)})
    assert [float(row["score"]) for row in rows(run)] == [3.0, 2.0, 2.5, 2.0]


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
