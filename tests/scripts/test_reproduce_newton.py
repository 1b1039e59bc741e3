"""Newton's method over time finds the states that the sequential kernel finds."""

import pytest
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import newton
from scripts.reproduction.completion import Reproduce


@pytest.mark.parametrize("model", newton.MODELS)
def test_the_states_are_those_of_the_sequential_kernel(model):
    cell, inputs = newton.make_cell(model, seed=1), newton.make_inputs(37, seed=2)
    states, iterations = newton.solve(cell, inputs, is_quasi=model == "ltc_quasi")
    torch.testing.assert_close(states, newton.unroll(cell, inputs), rtol=0, atol=3e-5)
    assert 1 < iterations < 37
    assert newton.is_diagonal(cell) == (model == "diagonal_lrc")


@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_scan_is_the_loop(length, is_whole):
    torch.manual_seed(0)
    jacobian = torch.randn(length, 3, 3).double() if is_whole else torch.randn(length, 3).double()
    drive, state = torch.randn(length, 3).double(), torch.zeros(3).double()
    for t, solved in enumerate(newton.scan(jacobian, drive)):
        state = newton.apply(jacobian[t : t + 1], state[None])[0] + drive[t]
        torch.testing.assert_close(solved, state)


def test_jacobians_are_those_of_finite_differences():
    cell = newton.make_cell("ltc", seed=0).double()
    before, inputs = torch.randn(2, 19).double(), torch.randn(2, newton.INPUTS).double()
    torch.set_default_dtype(torch.float64)
    try:
        after, jacobian = newton.linearise(cell, before, inputs)
        moved, _ = newton.linearise(cell, before + 1e-6 * torch.eye(19)[4], inputs)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close((moved - after) / 1e-6, jacobian[:, :, 4], rtol=1e-4, atol=1e-6)


def test_newton_table(tmp_path, monkeypatch, read):
    monkeypatch.setattr(newton, "LENGTHS", (16, 32))
    monkeypatch.setattr(newton, "ROUNDS", 1)
    reproduce(Reproduce(table="newton", models=("ltc", "diagonal_lrc"), seeds=1, results=tmp_path))
    rows = read(tmp_path / "newton.csv")
    assert len(rows) == 4
    assert all(float(row["max_error"]) < 1e-4 and float(row["depth"]) > 0.0 for row in rows)
