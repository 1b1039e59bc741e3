"""The kernel of synaptic circuits where it has limits: clamps, rest, wirings that are damaged."""

import copy

import pytest
import torch
from torch.nn.utils import prune

from ncp_control import LRC, LTC, NCP19, STC, MixedMemory, auto_ncp
from ncp_control.cells import Cell
from ncp_control.cells.saturated import LARGEST_LOGIT
from ncp_control.kernels import dense_op
from ncp_control.kernels.dispatch import run_dense
from tests.ncp_control.kernels.dense_cells import randomised
from tests.ncp_control.kernels.test_dense_op import (
    assert_close,
    by_kernel,
    by_reference,
    states_and_gradients,
)

WIRING = auto_ncp(4, 9, 2)
INTEGRATORS = "semi_implicit_euler", "explicit_euler", "exponential_euler", "layered_midpoint"


@pytest.fixture(params=INTEGRATORS)
def integrator(request) -> str:
    return request.param


def agree(cell: Cell, sequence: dict[str, torch.Tensor]) -> None:
    """Check states and gradients against the reference."""
    batch, steps = sequence["dt_s"].shape
    weight = torch.randn(batch, steps, cell.state_size).double()
    expected = states_and_gradients(by_reference, cell, sequence, weight)
    assert_close(states_and_gradients(by_kernel, cell, sequence, weight), expected, 1e-12)


@pytest.mark.parametrize("elastance", ["symmetric", "asymmetric"])
def test_an_elastance_beyond_its_clamp_has_no_slope(integrator, elastance, tools):
    cell = randomised(LRC(WIRING, elastance=elastance, integrator=integrator, unfolds=1)).double()
    with torch.no_grad():
        cell.elastance_bias[:3] = torch.tensor([-1.5, 1.5, 1.02]) * LARGEST_LOGIT
    agree(cell, tools.random_sequence(cell, 5, 4))


def test_explicit_steps_beyond_rest_end_there(tools):
    cell = randomised(STC(WIRING, integrator="explicit_euler", unfolds=1)).double()
    sequence = tools.random_sequence(cell, 5, 6)
    sequence["dt_s"][:, 1::2] += 0.5
    agree(cell, sequence)


@pytest.mark.parametrize("make", [LTC, STC, LRC])
def test_no_time_changes_no_bit_and_the_longest_leads_to_rest(make, integrator):
    cell = randomised(make(WIRING, integrator=integrator, unfolds=2))
    inputs, state = torch.randn(3, 2, 4), torch.randn(3, cell.state_size)
    dt_s = torch.tensor([0.0, 3e38]).expand(3, 2)
    states = by_kernel(cell, inputs=inputs, state=state, dt_s=dt_s, reset=None)
    assert torch.equal(states[:, 0], state)
    expected = by_kernel(cell, inputs=inputs, state=state, dt_s=dt_s.clamp(max=1e9), reset=None)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)


def test_runge_kutta_runs_on_the_reference():
    cell = STC(WIRING, integrator="rk4")
    assert cell.program() is None and MixedMemory(cell).program() is None


def test_a_subclass_runs_on_the_reference():
    class Mine(LRC):
        pass

    assert Mine(WIRING).program() is None


def test_weights_that_are_found_before_each_call_are_not_the_kernels():
    cell = LRC(WIRING)
    prune.l1_unstructured(cell, "raw_weight", amount=0.5)
    assert cell.program() is None and cell.control_step() is None


def test_a_memory_around_a_circuit_is_one_node_of_autograd():
    cell = MixedMemory(LTC(NCP19))
    states = cell.unroll(
        torch.randn(2, 7, 32), cell.initial_state(2), torch.full((2, 7), 0.03), None
    )
    assert type(states.grad_fn).__name__ == "_EagerUnrollBackward"


@pytest.mark.parametrize("place", ["source", "target", "order", "layer", "length", "missing"])
def test_a_damaged_wiring_is_refused(place):
    cell = STC(WIRING, integrator="layered_midpoint", unfolds=1)
    program = cell.program()
    assert program is not None and program.wiring is not None
    wiring, synapses = program.wiring.clone(), WIRING.num_synapses
    if place == "source":
        wiring[0] = WIRING.num_sensory + WIRING.num_neurons
    elif place == "target":
        wiring[synapses] = -1
    elif place == "order":
        wiring[synapses - 1] = 0  # an input behind the neurons
    elif place == "layer":
        wiring[2 * synapses + 1] += 1
    damaged = {"length": wiring[:-1], "missing": None}.get(place, wiring)
    weights = torch.cat(
        [piece.detach().flatten() for pieces in program.matrices for piece in pieces]
    )
    frames = torch.ones(1, 2)
    with pytest.raises(ValueError, match="`source` and `target` must list synapses"):
        dense_op.unroll(
            torch.zeros(1, 2, WIRING.num_sensory),
            cell.initial_state(1),
            frames,
            weights,
            None,
            damaged,
            dense_op.KINDS.index(program.kind),
            program.shapes(),
            list(program.options),
            False,
        )


def test_the_reference_can_be_asked_for(tools, monkeypatch):
    monkeypatch.setenv("NCP_CONTROL_KERNELS", "reference")
    cell = LRC(WIRING)
    assert run_dense(cell, **tools.random_sequence(cell, 2, 3, torch.float32)) is None


def test_a_wiring_is_the_same_tensor_until_it_changes():
    """By which a kernel for GPUs knows that it has read it."""
    cell = LRC(NCP19)
    first = cell.program().wiring
    assert cell.program().wiring is first
    assert torch.equal(first, torch.cat([cell.source, cell.target]))
    cell.source[0] += 1
    changed = cell.program().wiring
    assert changed[0] == first[0] + 1
    again = copy.deepcopy(cell)
    again.target[-1] -= 1
    assert again.program().wiring[-1] == changed[-1] - 1
    assert torch.equal(cell.program().wiring, changed)


def test_a_cell_that_has_acted_without_gradients_learns(tools):
    cell = LRC(NCP19)
    sequence = tools.random_sequence(cell, 2, 3, torch.float32)
    with torch.inference_mode():
        run_dense(cell, **sequence)
    states = run_dense(cell, **sequence)
    assert states is not None
    states.sum().backward()
    assert cell.slope.grad is not None and cell.slope.grad.abs().sum() > 0
