"""Transforms that begin after the forward pass give what a loop over their rows gives."""

import pytest
import torch

from ncp_control import LTC, NCP19, Circuit
from tests.ncp_control.every_cell import CELLS

MAKERS = CELLS | {
    "ltc-exponential": lambda: LTC(NCP19, integrator="exponential_euler", unfolds=2),
    "ltc-rk4": lambda: LTC(NCP19, integrator="rk4", unfolds=2),
}
pytestmark = pytest.mark.filterwarnings(
    "ignore:There is a performance drop because .* for aten::mkldnn_rnn"  # torch's own LSTM
)


@pytest.fixture(params=MAKERS, ids=list(MAKERS))
def circuit(request):
    torch.manual_seed(3)
    return Circuit(MAKERS[request.param]()).double()


def by_loop(values, leaves, rows):
    found = [torch.autograd.grad(values, leaves, row, retain_graph=True) for row in rows]
    return [torch.stack(gradients) for gradients in zip(*found, strict=True)]


def by_flag(values, leaves, rows):
    return torch.autograd.grad(values, leaves, rows, retain_graph=True, is_grads_batched=True)


def by_vmap(values, leaves, rows):
    def gradients(row):
        return torch.autograd.grad(values, leaves, row, retain_graph=True)

    return torch.func.vmap(gradients)(rows)


def by_nested_vmap(values, leaves, rows):
    def gradients(row):
        return torch.autograd.grad(values, leaves, row, retain_graph=True)

    return [g[0] for g in torch.func.vmap(torch.func.vmap(gradients))(rows[None])]


@pytest.mark.parametrize("run", [by_flag, by_vmap, by_nested_vmap])
def test_batched_gradients_are_those_of_a_loop(circuit, run):
    inputs = torch.randn(3, 4, 32, dtype=torch.float64, requires_grad=True)
    state = torch.rand(3, circuit.cell.state_size, dtype=torch.float64, requires_grad=True)
    outputs, last = circuit(inputs, state, dt_s=0.1 * torch.rand(3, 4), reset=_some())
    rows = torch.randn(5, 3, dtype=torch.float64)
    parts = {"outputs": outputs.square().mean((1, 2)), "state": last.square().mean(1)}
    parts["both"] = parts["outputs"] + parts["state"]
    for name, values in parts.items():
        parameters = [p for p in circuit.parameters() if _reaches(values, p)]
        leaves = [inputs, *([state] if _reaches(values, state) else []), *parameters]
        expected = by_loop(values, leaves, rows)
        for found, wanted in zip(run(values, leaves, rows), expected, strict=True):
            torch.testing.assert_close(found, wanted, msg=lambda text, name=name: f"{name}: {text}")


def _some():
    reset = torch.zeros(3, 4, dtype=torch.bool)
    reset[1, 2] = True
    return reset


def _reaches(values, leaf):
    (found,) = torch.autograd.grad(values.sum(), leaf, retain_graph=True, allow_unused=True)
    return found is not None


def test_a_vectorised_jacobian_is_that_of_a_loop(circuit):
    def run(inputs):
        return circuit(inputs[None])[0][0]

    inputs = torch.randn(4, 32, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(run, inputs)
    found = torch.autograd.functional.jacobian(run, inputs, vectorize=True)
    torch.testing.assert_close(found, expected)


def test_one_gradient_of_two_may_be_batched_and_there_may_be_no_row():
    circuit = Circuit(LTC(NCP19))
    outputs, last = circuit(torch.randn(2, 3, 32))
    slope, rows = circuit.cell.slope, torch.randn(4, 2, 19)

    def gradient(row):
        both = (outputs, last)
        return torch.autograd.grad(both, slope, (torch.ones_like(outputs), row), retain_graph=True)

    found = torch.func.vmap(gradient)(rows)[0]
    torch.testing.assert_close(found, torch.stack([gradient(row)[0] for row in rows]))
    assert torch.func.vmap(gradient)(rows[:0])[0].shape == (0, *slope.shape)


def test_a_second_batched_gradient_is_refused():
    circuit, inputs = Circuit(LTC(NCP19)), torch.randn(2, 3, 32, requires_grad=True)
    values = circuit(inputs)[0].square().mean((1, 2))
    (gradient,) = torch.autograd.grad(
        values, inputs, torch.eye(2), is_grads_batched=True, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="NCP_CONTROL_KERNELS=reference"):
        gradient.sum().backward()


def test_times_may_be_mapped(circuit):
    inputs, dt_s = torch.randn(2, 3, 32).double(), 0.1 * torch.rand(4, 2, 3).double()
    if type(circuit.cell).__name__ in ("ODERNN", "GRU", "LSTM"):
        pytest.skip("torch's own gates cannot be mapped over a state")
    found = torch.func.vmap(lambda times: circuit(inputs, dt_s=times)[0])(dt_s)
    torch.testing.assert_close(found, torch.stack([circuit(inputs, dt_s=t)[0] for t in dt_s]))
    with pytest.raises(ValueError, match="`dt_s` must be a finite time >= 0 in seconds, got -1.0"):
        torch.func.vmap(lambda times: circuit(inputs, dt_s=times)[0])(torch.full_like(dt_s, -1.0))
