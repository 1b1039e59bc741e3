import dataclasses
import re

import pytest
import torch

from ncp_control import Policy
from ncp_control.learning.divergence import DivergenceError, has_diverged
from ncp_control.learning.imitation import (
    ImitationConfig,
    imitate,
    imitation_error,
)
from ncp_control.learning.run import Run


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
        DivergenceError,
        match="must stay finite, but diverged in step 1 of epoch 1, .* Lower the learning rate.$",
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
