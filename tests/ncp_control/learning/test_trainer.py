"""The trainer on a model of two weights, whose steps are known."""

import math

import pytest
import torch
from torch import nn

from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.trainer import Lessons, Trainer, TrainerConfig
from ncp_control.learning.training_state import TrainingState


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(()))
        self.b = nn.Parameter(torch.zeros(()))


class Falling(Lessons):
    """A loss that falls with both weights; three batches an epoch, each one number."""

    def __init__(self, scores=(0.0,) * 9):
        self.scores, self.kept, self.drawn = scores, [], []

    def begin_epoch(self, epoch, kept, generator):
        assert not kept.training
        return (torch.rand((), generator=generator) + 0.5 for _ in range(3)), 3

    def loss(self, model, batch):
        if torch.is_grad_enabled():
            self.drawn.append(batch.item())
        return -batch * (model.a + model.b)

    def judge(self, kept, epoch):
        assert not kept.training
        self.kept.append(kept.a.item())
        return self.scores[epoch], {"score": self.scores[epoch]}


def make(epochs=3, **settings):
    defaults = {"learning_rates": (0.1,), "rate_share": lambda epoch, step: 1.0}
    return Trainer(Pair(), TrainerConfig(epochs=epochs, **defaults | settings), is_silent=True)


def test_each_group_learns_at_its_rate_times_the_share_of_the_step():
    model = Pair()
    config = TrainerConfig(
        epochs=2,
        learning_rates=(0.1, 0.2),
        rate_share=lambda epoch, step: 1.0 / (1.0 + 3.0 * epoch + step),
    )
    trainer = Trainer(model, config, groups=([model.a], [model.b]), is_silent=True)
    rates = []

    class Seen(Falling):
        def loss(self, model, batch):
            rates.append([group["lr"] for group in trainer.state.optimizer.param_groups])
            return super().loss(model, batch)

    trainer.learn(Seen())
    del rates[3]  # the look at the last batch of an epoch
    expected = [[0.1 / k, 0.2 / k] for k in (1, 2, 3, 4, 5, 6)]
    assert rates[:6] == [pytest.approx(pair) for pair in expected]
    # With gradients of one sign, a step of Adam is about its learning rate.
    assert model.b.item() == pytest.approx(2.0 * model.a.item(), rel=1e-5)


def test_the_same_seed_draws_the_same_batches():
    drawn = []
    for seed in (1, 1, 2):
        lessons = Falling()
        make(seed=seed).learn(lessons)
        drawn.append(lessons.drawn)
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 9, "each epoch draws new ones"


def test_the_best_weights_are_kept():
    lessons, trainer = Falling([3.0, 1.0, math.nan, 2.0, -math.inf]), make(epochs=5)
    trainer.learn(lessons)
    state = trainer.state
    assert (state.best_epoch, state.best_score, state.epoch) == (2, 1.0, 5)
    assert state.best["a"].item() == lessons.kept[1]
    assert trainer.state.model.a.item() == lessons.kept[-1] != lessons.kept[1]


def test_the_average_of_the_weights_is_judged_and_kept():
    lessons, trainer = Falling([1.0]), make(epochs=1, weight_average=0.5)
    trainer.learn(lessons)
    steps = torch.tensor([0.1, 0.2, 0.3])  # nearly: Adam's step is that of its learning rate
    average = (steps[0] + steps[1]) / 2
    expected = ((average + steps[2]) / 2).item()
    assert trainer.state.model.a.item() == pytest.approx(0.3, rel=0.1)
    assert lessons.kept == [pytest.approx(expected, rel=0.1)]
    assert trainer.state.best["a"].item() == lessons.kept[0]


def test_a_step_is_clipped_over_all_groups():
    model = Pair()
    config = TrainerConfig(
        epochs=1, learning_rates=(1.0, 1.0), rate_share=lambda *_: 1.0, gradient_clip=1e-3
    )
    norms = []

    class Seen(Falling):
        def loss(self, model, batch):
            grads = [weight.grad for weight in model.parameters()]
            norms.extend([torch.stack(grads).norm().item()] if grads[0] is not None else [])
            return super().loss(model, batch)

    Trainer(model, config, groups=([model.a], [model.b]), is_silent=True).learn(Seen())
    assert norms == [pytest.approx(1e-3, rel=1e-3)] * 3


def test_a_training_with_nothing_left_to_gain_ends():
    lessons, trainer = Falling([2.0, 1.0, 0.5]), make(ends_at=1.0)
    trainer.learn(lessons)
    assert (trainer.state.epoch, trainer.state.best_epoch, len(lessons.kept)) == (2, 2, 2)


def test_a_training_without_a_finite_score_is_refused():
    with pytest.raises(ValueError, match="`score` must become finite in some epoch, got none in 3"):
        make().learn(Falling([math.nan, math.inf, -math.inf]))


@pytest.mark.parametrize("broken", [1, 2])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.model.a.data.fill_(torch.nan),
        lambda state: state.averaged.module.a.data.fill_(torch.inf),
        lambda state: state.optimizer.state[state.model.a]["exp_avg_sq"].fill_(torch.inf),
    ],
    ids=["weight", "average", "moment"],
)
def test_what_is_not_finite_ends_a_training_before_it_is_judged(capsys, spoil, broken):
    trainer = make(weight_average=0.5)
    state = trainer.state

    class Spoilt(Falling):
        def loss(self, model, batch):
            loss = super().loss(model, batch)
            if (state.epoch + 1, state.step) == (broken, 2):
                spoil(state)
            return loss

    lessons = Spoilt()
    if broken == 1:
        with pytest.raises(DivergenceError, match="must stay finite, but diverged in step 3 of ep"):
            trainer.learn(lessons)
    else:
        trainer.learn(lessons)
        told = "diverged in step 3 of epoch 2, with a loss of nan: the best before it, of epoch 1,"
        assert told in capsys.readouterr().out
    assert len(lessons.kept) == broken - 1
    assert all(map(torch.isfinite, state.best.values()))


@pytest.mark.parametrize("weight_average", [0.0, 0.5])
def test_a_training_that_was_stopped_goes_on_with_all_that_is_random(
    stopped_trainings, tmp_path, weight_average
):
    """Batches from the trainer's generator, and a loss with noise from torch's own."""

    class Noisy(Falling):
        def loss(self, model, batch):
            return super().loss(model, batch) + torch.randn(()) * (model.a - model.b) ** 2 + model.b

    def train(checkpoint):
        torch.manual_seed(3)
        config = TrainerConfig(
            epochs=3,
            learning_rates=(0.1,),
            rate_share=lambda epoch, step: 0.5**step,
            weight_average=weight_average,
        )
        trainer = Trainer(Pair(), config, checkpoint=checkpoint, is_silent=True)
        trainer.learn(Noisy([2.0, 1.0, 3.0]))
        return [*trainer.state.model.parameters(), *trainer.state.best.values(), torch.randn(())]

    expected = train(tmp_path / "whole")
    for checkpoint in stopped_trainings(train):
        assert all(map(torch.equal, train(checkpoint), expected))


def test_a_training_on_a_gpu_goes_on_with_the_numbers_that_the_gpu_would_have_drawn(
    gpu_generator, monkeypatch, stopped_trainings, tmp_path
):
    monkeypatch.setattr(TrainingState, "device", torch.device("cuda", 0))

    class Noisy(Falling):
        def loss(self, model, batch):
            noise = torch.rand((), generator=gpu_generator) if model.training else 1.0
            return super().loss(model, batch * noise)

    def train(folder):
        gpu_generator.manual_seed(9 if folder.exists() else 0)  # another process begins anew
        folder.mkdir(exist_ok=True)
        config = TrainerConfig(epochs=2, learning_rates=(0.1,), rate_share=lambda epoch, step: 1.0)
        trainer = Trainer(Pair(), config, checkpoint=folder / "checkpoint", is_silent=True)
        trainer.learn(Noisy())
        return trainer.state.model.a.item(), torch.rand((), generator=gpu_generator).item()

    expected, stopped = train(tmp_path / "whole"), 0
    for folder in stopped_trainings(train):
        is_begun = (folder / "checkpoint").exists()
        assert not is_begun or train(folder) == expected
        stopped += is_begun
    assert stopped >= 6
