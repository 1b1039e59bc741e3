"""Gauss-Newton steps: exact where the answer is known, and better conditioned than a gradient."""

import pytest
import torch

from ncp_control import LTC, NCP19, Circuit
from scripts.reproduction.gauss_newton import GaussNewton


def test_a_badly_conditioned_linear_fit_is_solved():
    torch.manual_seed(0)
    scales = torch.logspace(-2, 1, 8)
    answer = torch.randn(8) / scales
    weight = torch.zeros(8, requires_grad=True)
    optimizer = GaussNewton([weight], damping=1e-6, probes=64, decay=0.5, longest=1e3)
    for i in range(60):
        inputs = torch.randn(256, 8) * scales
        error = optimizer.step(inputs @ weight, inputs @ answer, rate=1.0 if i < 40 else 0.3)
    assert error < 1e-3 * float((inputs @ answer).square().mean())
    torch.testing.assert_close(weight.detach() * scales, answer * scales, rtol=0.0, atol=0.05)


def test_one_full_step_is_the_formula_s():
    weight = torch.zeros(2, requires_grad=True)
    inputs = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    optimizer = GaussNewton([weight], damping=1e-6, probes=20_000, decay=0.0, longest=100.0)
    optimizer.step(inputs @ weight, torch.tensor([3.0, 4.0]), rate=1.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([3.0, 2.0]), rtol=0.03, atol=0.0)


def test_no_step_is_longer_than_allowed_and_unused_parameters_stay():
    circuit = Circuit(LTC(NCP19))
    unused = torch.ones(3, requires_grad=True)
    optimizer = GaussNewton([*circuit.parameters(), unused], longest=0.01, probes=4)
    before = [parameter.detach().clone() for parameter in circuit.parameters()]
    outputs, _ = circuit(torch.randn(4, 8, 32))
    error = optimizer.step(outputs, torch.ones_like(outputs), rate=1.0)
    assert error == pytest.approx((outputs - 1.0).square().mean().item())
    moved = [p.detach() - b for p, b in zip(circuit.parameters(), before, strict=True)]
    assert torch.cat([m.flatten() for m in moved]).norm() == pytest.approx(0.01, rel=1e-3)
    assert torch.equal(unused.detach(), torch.ones(3))
    for name, value in (("damping", 0.0), ("probes", 0), ("decay", 1.0), ("longest", -1.0)):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            GaussNewton(circuit.parameters(), **{name: value})


def test_too_little_damping_is_refused():
    torch.manual_seed(0)
    weight = torch.zeros(400, requires_grad=True)
    optimizer = GaussNewton([weight], damping=1e-12, probes=2)
    inputs = 1e3 * torch.randn(8, 400)
    with pytest.raises(ValueError, match="`damping` must exceed the rounding"):
        for _ in range(3):
            optimizer.step(inputs @ weight, torch.ones(8), rate=1.0)
