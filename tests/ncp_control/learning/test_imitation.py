import dataclasses

import numpy as np
import pytest
import torch

from ncp_control import LSTM
from ncp_control.learning.demonstrations import (
    Batch,
    Demonstrations,
    DemonstrationWriter,
    Windows,
)
from ncp_control.learning.imitation import (
    ImitationConfig,
    imitate,
    imitation_error,
    predict,
    predict_all,
    predict_episode,
    weighted_squared_error,
)
from ncp_control.learning.run import Run
from ncp_control.policy import VectorPolicy
from tests.ncp_control.learning.imitating import rows, train


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
    loss = weighted_squared_error(predicted, wanted, mask, ImitationConfig(turn_weight=2.0))
    assert loss.item() == pytest.approx(1.0)
    predicted = torch.tensor([[[1.0], [1.0], [9.0]]])
    loss = weighted_squared_error(predicted, wanted, mask, ImitationConfig(turn_weight=2.0))
    assert loss.item() == pytest.approx(1.0 / (1.0 + np.exp(2.0)))


def test_entries_of_the_action_count_as_they_are_told():
    predicted, wanted = torch.tensor([[[1.0, 2.0]]]), torch.zeros(1, 1, 2)
    mask = torch.ones(1, 1, dtype=torch.bool)
    for weights, loss in (((), 2.5), ((1.0, 1.0), 2.5), ((3.0, 1.0), (3.0 + 4.0) / 4.0)):
        config = ImitationConfig(turn_weight=0.0, action_weights=weights)
        assert weighted_squared_error(predicted, wanted, mask, config).item() == loss
    with pytest.raises(ValueError, match="`action_weights` must be one for each of the 2 entries"):
        weighted_squared_error(predicted, wanted, mask, ImitationConfig(action_weights=(1.0,)))
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
        many, one, mask = torch.zeros(2, 3, 2), torch.zeros(2, 3, 1), torch.ones(2, 3)
        weighted_squared_error(many, one, mask, ImitationConfig())

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
    with pytest.raises(ValueError, match=r"`turn_entries` must be below the 1 entries .* \(1,\)"):
        learn(turn_entries=(1,))


def test_the_steering_of_a_frame_can_decide_how_much_all_of_it_counts():
    wanted = torch.tensor([[[0.0, 0.9], [-0.5, 0.9]]])  # steering, throttle
    predicted, mask = torch.zeros_like(wanted), torch.ones(1, 2)
    config = ImitationConfig(turn_weight=4.0, turn_entries=(0,))
    loss = weighted_squared_error(predicted, wanted, mask, config)
    frames = np.exp([0.0, 2.0])
    errors = np.array([0.0 + 0.81, 0.25 + 0.81])
    assert loss.item() == pytest.approx((frames * errors).sum() / (2.0 * frames.sum()), rel=1e-6)
    with pytest.raises(ValueError, match=r"`turn_entries` must be below the 2 entries .*\(2,\)"):
        weighted_squared_error(predicted, wanted, mask, ImitationConfig(turn_entries=(2,)))


def test_predicting_in_chunks_equals_predicting_at_once(tiny_policy, delayed_store):
    whole = predict_episode(tiny_policy, delayed_store, 2)
    chunked = predict_episode(tiny_policy, delayed_store, 2, chunk=7)
    np.testing.assert_allclose(chunked, whole, atol=1e-6)


def test_frames_without_a_label_count_in_no_error(tiny_policy, delayed_store):
    is_labelled = np.arange(len(delayed_store)) % 3 == 0
    marked = dataclasses.replace(delayed_store, is_labelled=is_labelled)
    wrong = (predict_all(tiny_policy, delayed_store) - delayed_store.actions)[is_labelled]
    assert imitation_error(tiny_policy, marked) == pytest.approx(np.mean(wrong**2), rel=1e-6)


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


@pytest.mark.parametrize("name", ["head_learning_rate", "circuit_learning_rate"])
@pytest.mark.parametrize("value", [0.0, -1e-3, 1e30, float("nan"), float("inf")])
def test_impossible_learning_rates_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be positive and at most 1000, got"):
        ImitationConfig(**{name: value})


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="`epochs` must be a whole number of at least 1, got 0"):
        ImitationConfig(epochs=0)
    with pytest.raises(ValueError, match="`precision` must be one of .*, got 'fp8'"):
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
    whole = len(Windows(delayed_store, 20, 8, 0))
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
