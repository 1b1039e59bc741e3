"""The trainer on tasks whose answers are known."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from ncp_control.cells import CELLS, CellSizes
from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.forecasters import TIME_BLIND, make_forecaster
from ncp_control.learning.forecasting import (
    OBJECTIVES,
    TrainingConfig,
    mean_error,
    predict,
    train,
)
from ncp_control.learning.linear import persistence
from ncp_control.learning.sequences import Sequences, forecasting_windows

SIZES = CellSizes(num_inputs=1, num_units=8, num_outputs=1, frame_s=0.1)


def sines(seed):
    phases = np.random.default_rng(seed).uniform(0.0, 2 * np.pi, 12)
    times = np.arange(40)[:, None] * 0.5
    return forecasting_windows(
        [np.sin(times + phase).astype(np.float32) for phase in phases], 16, 8
    )


@pytest.mark.parametrize("model", ["lstm", "cfc", "ltc"])
def test_a_sine_is_learned_better_than_persistence(model):
    torch.manual_seed(1)
    forecaster = make_forecaster(model, SIZES)
    training, validation, test = sines(1), sines(2), sines(3)
    rate = 3e-2 if model == "ltc" else 2e-2
    config = TrainingConfig(epochs=20, batch_size=8, learning_rate=rate)
    report = train(forecaster, training, validation, config, is_silent=True)
    repeated = persistence(training, test).predicted - test.targets.numpy()
    assert mean_error(forecaster, test) < 0.5 * float((repeated**2).mean())
    assert report.validation_error == pytest.approx(mean_error(forecaster, validation))
    assert report.seconds_per_epoch > 0.0


def test_the_best_checkpoint_is_kept():
    forecaster, data = make_forecaster("gru", SIZES), sines(1)
    config = TrainingConfig(epochs=6, learning_rate=0.3)  # so high that it does not only get better
    report = train(forecaster, data, sines(2), config, is_silent=True)
    assert mean_error(forecaster, sines(2)) == pytest.approx(report.validation_error)
    assert 1 <= report.best_epoch <= 6


def test_the_last_weights_are_kept_where_asked_for():
    trained = {}
    for keeps, epochs in (("last", 6), ("best", 6), ("last", 5)):
        torch.manual_seed(0)
        forecaster = make_forecaster("gru", SIZES)
        config = TrainingConfig(epochs=epochs, learning_rate=0.3, keeps=keeps)
        report = train(forecaster, sines(1), sines(2), config, is_silent=True)
        assert mean_error(forecaster, sines(2)) == pytest.approx(report.validation_error)
        trained[keeps, epochs] = report
    assert trained["last", 6].best_epoch == 6
    assert trained["last", 5].best_epoch == 5
    errors = {report.validation_error for report in trained.values()}
    assert len(errors) >= 2 and trained["best", 6].validation_error == min(errors)


def test_each_epoch_may_bring_its_own_sequences():
    asked = []
    forecaster = make_forecaster("gru", SIZES)

    def lesson(epoch):
        asked.append(epoch)
        return sines(epoch)

    train(forecaster, lesson, sines(9), TrainingConfig(epochs=3), is_silent=True)
    assert asked == [0, 1, 2]


def test_same_seed_same_numbers():
    errors = []
    for _ in range(2):
        torch.manual_seed(4)
        forecaster = make_forecaster("cfc", SIZES)
        config = TrainingConfig(epochs=2, seed=5)
        errors.append(train(forecaster, sines(1), sines(2), config, is_silent=True))
    assert errors[0].validation_error == errors[1].validation_error


@pytest.mark.parametrize("has_lessons", [False, True])
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    tmp_path, stopped_trainings, has_lessons
):
    data, validation = sines(1)[:24], sines(2)
    config = TrainingConfig(epochs=2, batch_size=8, final_rate_fraction=0.1, gradient_clip=0.1)

    def train_at(checkpoint):
        torch.manual_seed(9 if checkpoint.exists() else 0)
        forecaster = make_forecaster("gru", SIZES)
        generator = torch.Generator().manual_seed(4)

        def lesson(epoch):
            noise = torch.randn(data.inputs.shape, generator=generator)  # goes on with each epoch
            return dataclasses.replace(data, inputs=data.inputs + 0.1 * noise)

        training = lesson if has_lessons else data
        report = train(
            forecaster, training, validation, config, is_silent=True, checkpoint=checkpoint
        )
        return forecaster.state_dict(), dataclasses.replace(report, seconds_per_epoch=0.0)

    weights, report = train_at(tmp_path / "whole")
    assert report.best_epoch > 1
    stopped = list(stopped_trainings(train_at))
    for checkpoint in [*stopped, tmp_path / "whole"]:
        found, found_report = train_at(checkpoint)
        assert found_report == report
        assert all(torch.equal(found[name], value) for name, value in weights.items())
    assert len(stopped) == 2 * (3 + 1), "at each step, and at the end of each epoch"


def test_only_frames_under_the_mask_count():
    inputs = torch.randn(6, 5, 1)
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, -1] = True
    targets = torch.where(mask[..., None], 0.5, torch.nan)
    forecaster = make_forecaster("lstm", SIZES)
    sequences = Sequences(inputs=inputs, targets=targets, mask=mask)
    report = train(forecaster, sequences, sequences, TrainingConfig(epochs=2), is_silent=True)
    expected = (predict(forecaster, sequences)[:, -1] - 0.5).square().mean().item()
    assert report.validation_error == pytest.approx(expected)


def test_a_classifier_learns_the_sign_of_a_sum():
    inputs = torch.randn(256, 6, 1)
    targets = (inputs.cumsum(dim=1) > 0.0).float()
    data = Sequences(inputs=inputs, targets=targets)
    config = TrainingConfig(epochs=15, learning_rate=2e-2, objective="classify")
    report = train(make_forecaster("lstm", SIZES), data[:200], data[200:], config, is_silent=True)
    assert report.validation_error < 0.1


def test_a_training_without_an_error_left_ends():
    seen = []
    torch.manual_seed(0)
    inputs = torch.ones(64, 3, 1)
    easy = Sequences(inputs=inputs, targets=torch.ones(64, 3, 1))
    sizes = CellSizes(num_inputs=1, num_units=4, num_outputs=1, frame_s=1.0)
    config = TrainingConfig(epochs=50, learning_rate=1e-2, objective="classify")
    report = train(
        make_forecaster("gru", sizes),
        lambda epoch: seen.append(epoch) or easy,
        easy,
        config,
        is_silent=True,
    )
    assert report.validation_error == 0.0
    assert len(seen) == report.epochs == report.best_epoch < 50


@pytest.mark.parametrize("model", TIME_BLIND)
def test_cells_blind_to_time_are_told_it_where_steps_vary(model):
    sizes = {"num_inputs": 3, "num_units": 4, "num_outputs": 2, "frame_s": 0.5}
    inputs, dt_s = torch.randn(2, 5, 3), torch.rand(2, 5)
    blind = make_forecaster(model, CellSizes(**sizes))
    torch.testing.assert_close(blind(inputs, dt_s), blind(inputs))
    told = make_forecaster(model, CellSizes(**sizes, sees_time=True))
    assert not torch.allclose(told(inputs, dt_s), told(inputs))
    torch.testing.assert_close(told(inputs), told(inputs, torch.full((2, 5), 0.5)))
    per_sample = torch.rand(5)  # as many samples as frames: a time of each, not of each frame
    inputs = torch.randn(5, 5, 3)
    torch.testing.assert_close(
        told(inputs, per_sample), told(inputs, per_sample[:, None].expand(5, 5))
    )


def test_categories_are_learned():
    inputs = torch.randn(256, 4, 2)
    angle = torch.atan2(*inputs.sum(dim=1).unbind(-1))
    quadrant = ((angle + torch.pi) / (torch.pi / 2)).long().clamp(0, 3)
    targets = torch.nn.functional.one_hot(quadrant, 4).float()[:, None].expand(-1, 4, -1)
    mask = torch.zeros(256, 4, dtype=torch.bool)
    mask[:, -1] = True
    data = Sequences(inputs=inputs, targets=targets, mask=mask)
    sizes = CellSizes(num_inputs=2, num_units=16, num_outputs=4, frame_s=0.1)
    config = TrainingConfig(epochs=15, learning_rate=2e-2, objective="categories")
    report = train(make_forecaster("gru", sizes), data[:200], data[200:], config, is_silent=True)
    assert report.validation_error < 0.25


@pytest.mark.parametrize("model", CELLS)
def test_every_model_makes_outputs_of_the_width_asked_for(model):
    sizes = CellSizes(num_inputs=3, num_units=6, num_outputs=2, frame_s=0.1)
    outputs = make_forecaster(model, sizes)(torch.randn(4, 5, 3), torch.rand(4, 5))
    assert outputs.shape == (4, 5, 2)


def test_learning_rate_falls_along_half_a_cosine():
    config = TrainingConfig(epochs=11, learning_rate=1.0, final_rate_fraction=0.2)
    rates = [config.rate_share(epoch) for epoch in (0, 5, 10)]
    assert rates == pytest.approx([1.0, 0.6, 0.2])
    config = TrainingConfig(epochs=11, learning_rate=1.0, epoch_decay=0.9)
    assert [config.rate_share(epoch) for epoch in (0, 1, 3)] == pytest.approx([1.0, 0.9, 0.729])


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="got 'lsmt'. Did you mean 'lstm'?"):
        make_forecaster("lsmt", SIZES)
    for epochs in (0, 2.5):
        with pytest.raises(ValueError, match=f"`epochs` must be a whole number .*, got {epochs}"):
            TrainingConfig(epochs=epochs)
    with pytest.raises(ValueError, match="`objective` must be one of .*, got 'forcast'"):
        TrainingConfig(objective="forcast")
    with pytest.raises(ValueError, match="`keeps` must be one of .*, got 'lsat'"):
        TrainingConfig(keeps="lsat")
    config = TrainingConfig(epochs=1)
    broken = sines(1)
    broken.targets.fill_(torch.nan)
    with pytest.raises(ValueError, match="`validation` must be finite, got NaN"):
        train(make_forecaster("gru", SIZES), sines(1), broken, config, is_silent=True)


def test_data_that_do_not_fit_the_model_are_refused():
    forecaster, config = make_forecaster("lstm", SIZES), TrainingConfig(epochs=1)
    data = sines(1)
    wide = Sequences(inputs=data.inputs, targets=data.targets.expand(-1, -1, 5))
    with pytest.raises(ValueError, match="`model` must give outputs of the targets' shape"):
        train(forecaster, wide, wide, config, is_silent=True)
    double = Sequences(inputs=data.inputs.double(), targets=data.targets)
    with pytest.raises(ValueError, match="`training` must hold torch.float32 as the model does"):
        train(forecaster, double, data, config, is_silent=True)
    for parts, name in (((data[:0], data), "training"), ((data, data[:0]), "validation")):
        with pytest.raises(ValueError, match=f"`{name}` must hold at least one sequence, got 0"):
            train(forecaster, *parts, config, is_silent=True)
    nothing_counts = dataclasses.replace(data, mask=torch.zeros(data.inputs.shape[:2]).bool())
    with pytest.raises(ValueError, match="`validation` must have a frame that counts, got none"):
        train(forecaster, data, nothing_counts, config, is_silent=True)


def test_lessons_drawn_for_an_epoch_are_checked_as_well():
    forecaster, config, data = make_forecaster("lstm", SIZES), TrainingConfig(epochs=1), sines(1)
    broken = dataclasses.replace(data, inputs=torch.full_like(data.inputs, torch.nan))
    for lesson, message in (
        (broken, "`training` must be finite, got NaN"),
        (data[:0], "`training` must hold at least one sequence"),
        (None, "`training` must be Sequences, got None"),
    ):
        with pytest.raises(ValueError, match=message):
            train(forecaster, lambda epoch, given=lesson: given, data, config, is_silent=True)


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="`objective` must be one of .*, got 'mse'"):
        mean_error(make_forecaster("lstm", SIZES), sines(1), "mse")


def spoil(monkeypatch, step, *, what="weight"):
    """Let the given optimizer step of a training end in a weight or a gradient that is NaN."""
    take, taken = torch.optim.Adam.step, []

    def step_of(optimizer, *arguments):
        taken.append(1)
        weights = optimizer.param_groups[0]["params"]
        if what == "gradient" and len(taken) == step:
            weights[0].grad.fill_(torch.nan)
        take(optimizer, *arguments)
        if what == "weight" and len(taken) == step:
            weights[0].data.fill_(torch.inf)

    monkeypatch.setattr(torch.optim.Adam, "step", step_of)
    return taken


@pytest.mark.parametrize("objective", ["forecast", "classify"])
@pytest.mark.parametrize("what", ["weight", "gradient"])
@pytest.mark.parametrize("step", [5, 6])  # three steps an epoch
def test_a_training_that_diverges_ends_with_the_best_before_it(
    monkeypatch, capfd, objective, what, step
):
    data = sines(1)[:24]
    if objective == "classify":
        data = dataclasses.replace(data, targets=(data.targets > 0).float())
    forecaster = make_forecaster("gru", SIZES)
    taken = spoil(monkeypatch, step, what=what)
    config = TrainingConfig(epochs=9, batch_size=8, objective=objective)
    report = train(forecaster, data, data, config, description="gru", is_silent=True)
    assert report.best_epoch == 1 and report.epochs == 2 and len(taken) == step
    assert all(bool(torch.isfinite(weight).all()) for weight in forecaster.parameters())
    assert mean_error(forecaster, data, objective) == pytest.approx(report.validation_error)
    # A spoiled weight shows in the next loss, in the last step of an epoch in the weights.
    message = (
        "gru diverged in step 3 of epoch 2, with a loss of nan: the best before it, of epoch 1"
    )
    assert message in capfd.readouterr().out


@pytest.mark.parametrize("step", [1, 3])
def test_a_training_that_diverges_at_once_leaves_the_model_as_it_was(monkeypatch, step):
    data, forecaster = sines(1)[:24], make_forecaster("gru", SIZES)
    before = {name: value.clone() for name, value in forecaster.state_dict().items()}
    spoil(monkeypatch, step)
    config = TrainingConfig(epochs=9, batch_size=8)
    with pytest.raises(
        DivergenceError,
        match=f"must stay finite, but diverged in step {min(step + 1, 3)} of epoch 1, .* Lower the",
    ):
        train(forecaster, data, data, config, is_silent=True)
    for name, value in forecaster.state_dict().items():
        assert torch.equal(value, before[name])


def test_too_high_a_learning_rate_is_told():
    config = TrainingConfig(epochs=3, learning_rate=1e30)
    with pytest.raises(DivergenceError, match="must stay finite, but diverged in step 2 .* Lower"):
        train(make_forecaster("gru", SIZES), sines(1), sines(1), config, is_silent=True)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_output_that_is_no_number_has_no_error(objective):
    data, forecaster = sines(1), make_forecaster("gru", SIZES)
    data = dataclasses.replace(data, targets=(data.targets > 0).float())
    assert mean_error(forecaster, data, objective) >= 0.0
    next(iter(forecaster.parameters())).data.fill_(torch.nan)
    assert math.isnan(mean_error(forecaster, data, objective))
