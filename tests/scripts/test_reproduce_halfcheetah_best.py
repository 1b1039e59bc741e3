"""The residual is put back where it was taken from, and the simulator is the traces' own."""

import csv
import functools

import gymnasium
import numpy as np
import pytest
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import halfcheetah_best as best
from scripts.reproduction.completion import Reproduce


@pytest.fixture
def traces(tmp_path):
    """Twenty-six traces of a damped rotation with noise, 17 dimensions far from zero."""
    folder = tmp_path / "traces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rotation = 0.99 * np.linalg.qr(rng.normal(size=(17, 17)))[0]
    for i in range(26):
        trace = [rng.normal(size=17)]
        for _ in range(59):
            trace.append(rotation @ trace[-1] + 0.1 * rng.normal(size=17))
        np.save(folder / f"trace_{i:04}.npy", np.stack(trace) + 5.0)
    return folder


def test_an_untrained_network_leaves_the_linear_forecast(traces, monkeypatch):
    left, forecast, scale = best.load_residual(traces)
    data = best.load(traces)
    restored = torch.from_numpy(forecast) + scale * left.test.targets
    torch.testing.assert_close(restored, data.test.targets.double(), rtol=1e-5, atol=1e-5)
    assert left.training.targets.square().mean().item() == pytest.approx(1.0, rel=1e-4)
    assert left.training.inputs.mean((0, 1)).abs().max() < 1e-5


def test_table_on_top_of_the_linear_forecast(traces, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(best, "MEMBER", "gru")
    monkeypatch.setattr(best, "NUM_MEMBERS", 2)
    monkeypatch.setattr(best, "noise_floor_mse", lambda traces: 1.25)
    reproduce(
        Reproduce(
            table="halfcheetah-best",
            data=traces,
            models=("gru", "ensemble"),
            seeds=1,
            epochs=1,
            results=tmp_path,
        )
    )
    with (tmp_path / "halfcheetah-best.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    # One epoch mends little, but from the linear forecast on; noise of 0.1 is the floor.
    linear = float(rows["linear AR(8)"]["test_mse"])
    assert 0.01 < float(rows["gru"]["test_mse"]) == pytest.approx(linear, rel=0.3)
    assert float(rows["gru"]["validation_mse"]) == pytest.approx(linear, rel=0.4)
    # The mean of two forecasts errs no more than they do on average; the first is the gru's.
    assert int(rows["ensemble"]["parameters"]) == 2 * int(rows["gru"]["parameters"])
    assert len(rows["ensemble"]["best_epoch"].split()) == 2
    assert float(rows["ensemble"]["test_mse"]) < 1.1 * float(rows["gru"]["test_mse"])
    assert "noise floor of 5% random actions: MSE 1.25" in capsys.readouterr().out


def test_the_simulator_goes_where_the_trace_went(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves a log behind
    world = gymnasium.make("HalfCheetah-v5")
    world.action_space.seed(0)
    frame, _ = world.reset(seed=0)
    frames, actions = [frame], []
    for _ in range(20):
        actions.append(world.action_space.sample())
        frames.append(world.step(actions[-1])[0])
    go = functools.partial(best.next_frame, world)
    for before, action, after in zip(frames[:-1], actions, frames[1:], strict=True):
        np.testing.assert_allclose(go(before, action), after, atol=1e-3)
    assert np.abs(go(frames[5], -actions[5]) - frames[6]).max() > 0.1
    # Random against random actions: every frame is as far off as chance puts it.
    assert 0.05 < best.noise_floor_mse([np.stack(frames)], num_states=50) < 5.0


def test_the_noise_floor_is_that_of_who_knows_both_outcomes(monkeypatch):
    # Random actions lead to f + 1 + u with u uniform in [-1, 1]: E(r - f)² = 4/3, (E r - f)² = 1.
    trace = np.zeros((10, 6))
    monkeypatch.setattr(best, "next_frame", lambda world, frame, action: 1.0 + action)
    floor = best.noise_floor_mse([trace], num_states=4000)
    assert floor == pytest.approx(0.05 * 4 / 3 - 0.05**2, rel=0.01)
