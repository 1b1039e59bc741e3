"""The kernel of dense cells against the plain torch code: values and gradients."""

import pytest
import torch
from torch import Tensor, library
from torch.nn.utils import prune

from ncp_control import CTRNN, GRU, ODERNN, CfC, Circuit
from ncp_control.cells import Cell
from ncp_control.kernels import dense_op
from ncp_control.kernels.dispatch import run_dense
from tests.ncp_control.kernels.dense_cells import CELLS, randomised

TOLERANCES = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


@pytest.fixture(params=CELLS)
def cell(request) -> Cell:
    torch.manual_seed(0)
    return randomised(CELLS[request.param]())


def by_kernel(cell: Cell, **arguments: Tensor) -> Tensor:
    states = run_dense(cell, **arguments)
    assert states is not None, "the reference would have run"
    return states


def by_reference(cell: Cell, **arguments: Tensor) -> Tensor:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NCP_CONTROL_KERNELS", "reference")  # for the cell within a memory
        return cell._loop(**arguments)


def states_and_gradients(run, cell, sequence, weight) -> dict[str, Tensor]:
    """Run a sequence; return the states, and every gradient of a weighted sum of them."""
    leaves = {
        k: v.clone().requires_grad_(v.is_floating_point()) if v is not None else None
        for k, v in sequence.items()
    }
    states = run(cell, **leaves)
    wanted = {k: v for k, v in leaves.items() if v is not None and v.requires_grad}
    wanted |= dict(cell.named_parameters())
    gradients = torch.autograd.grad(
        (states * weight).sum(), list(wanted.values()), allow_unused=True
    )
    found = zip(wanted, gradients, strict=True)
    return {"states": states} | {name: value for name, value in found if value is not None}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    for name in found.keys() - expected.keys():
        assert name == "dt_s" and not found[name].any()  # of a cell that knows no time
    assert expected.keys() <= found.keys()
    for name, value in expected.items():
        scale = value.abs().max().clamp(min=1.0)
        error = ((found[name] - value).abs().max() / scale).item()
        assert error <= tolerance, f"{name}: {error:.1e}"


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (3, 6), (16, 5), (33, 20)])
def test_states_and_every_gradient_are_those_of_the_reference(
    cell, batch, steps, dtype, tolerance, tools
):
    cell = cell.to(dtype)
    sequence = tools.random_sequence(cell, batch, steps, dtype)
    weight = torch.randn(batch, steps, cell.state_size, dtype=dtype)
    expected = states_and_gradients(by_reference, cell, sequence, weight)
    assert {"inputs", "state"} <= expected.keys()
    assert_close(states_and_gradients(by_kernel, cell, sequence, weight), expected, tolerance)


def test_gradients_of_the_weights_alone(cell, tools):
    cell = cell.double()
    sequence = tools.random_sequence(cell, 5, 4) | {"reset": None}
    weight = torch.randn(5, 4, cell.state_size).double()
    found = {}
    for name, run in (("kernel", by_kernel), ("reference", by_reference)):
        (run(cell, **sequence) * weight).sum().backward()
        found[name] = {k: p.grad for k, p in cell.named_parameters() if p.grad is not None}
        cell.zero_grad()
    assert_close(found["kernel"], found["reference"], 1e-12)


def test_the_number_of_threads_changes_no_bit(cell, tools):
    sequence = tools.random_sequence(cell, 130, 5, torch.float32)
    weight = torch.randn(130, 5, cell.state_size)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(states_and_gradients(by_kernel, cell, sequence, weight))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(value, other[name]) for name, value in results[0].items())


def test_a_sequence_in_two_parts_is_the_whole(cell, tools):
    sequence = tools.random_sequence(cell, 5, 19, torch.float32)
    whole = by_kernel(cell, **sequence)
    state, parts = sequence.pop("state"), []
    for steps in (slice(0, 7), slice(7, 19)):
        part = {name: value[:, steps] for name, value in sequence.items()}
        parts.append(by_kernel(cell, state=state, **part))
        state = parts[-1][:, -1]
    assert torch.equal(torch.cat(parts, 1), whole)


def test_nan_stays_in_its_sample_until_a_reset(cell, tools):
    sequence = tools.random_sequence(cell, 19, 6, torch.float32)
    sequence["reset"][:] = False
    healthy = by_kernel(cell, **sequence)
    sequence["inputs"][3, 2] = torch.nan
    sequence["reset"][3, 4] = True
    states = by_kernel(cell, **sequence)
    others = [i for i in range(19) if i != 3]
    assert torch.equal(states[others], healthy[others])
    assert states[3, 2:4].isnan().any(-1).all() and states[3, [0, 1, 4, 5]].isfinite().all()


@pytest.mark.parametrize(("batch", "steps"), [(0, 3), (3, 0)])
def test_there_may_be_nothing_to_do(cell, batch, steps, tools):
    sequence = tools.random_sequence(cell, batch, steps, torch.float32)
    assert by_kernel(cell, **sequence).shape == (batch, steps, cell.state_size)


def test_the_operator_keeps_the_rules_of_torch(cell, tools):
    cell = cell.double()
    sequence = tools.random_sequence(cell, 16, 2)  # a whole tape
    program = cell.program()
    assert program is not None
    weights = torch.cat([p.detach().flatten() for pieces in program.matrices for p in pieces])
    leaves = sequence["inputs"], sequence["state"], sequence["dt_s"] / cell.frame_s, weights
    arguments = (
        *(leaf.requires_grad_() for leaf in leaves),
        sequence["reset"],
        program.wiring,
        dense_op.KINDS.index(program.kind),
        program.shapes(),
        list(program.options),
        True,
    )
    library.opcheck(torch.ops.ncp_control.dense_unroll, arguments)


def test_a_subclass_with_a_step_of_its_own_is_not_run_by_the_kernel(tools):
    class Twice(CfC):
        def step(self, projected, state, dt_s):
            return 2.0 * super().step(projected, state, dt_s)

    cell = Twice(3, 4, 1)
    assert run_dense(cell, **tools.random_sequence(cell, 2, 3, torch.float32)) is None


@pytest.mark.parametrize(
    ("make", "layer", "name"),
    [
        (lambda: CTRNN(3, 4, 1), "input_map", "weight"),
        (lambda: GRU(3, 4, 1), "gru", "weight_ih_l0"),
        (lambda: ODERNN(3, 4, 1), "gru", "weight_hh"),
    ],
)
def test_weights_that_are_found_before_each_call_are_not_the_kernels(make, layer, name, tools):
    cell = make()
    prune.l1_unstructured(getattr(cell, layer), name, amount=0.5)
    assert run_dense(cell, **tools.random_sequence(cell, 2, 3, torch.float32)) is None
    assert cell.control_step() is None


def test_the_reference_can_be_asked_for(cell, tools, monkeypatch):
    monkeypatch.setenv("NCP_CONTROL_KERNELS", "reference")
    assert run_dense(cell, **tools.random_sequence(cell, 2, 3, torch.float32)) is None


def test_a_second_gradient_is_refused(cell):
    inputs = torch.randn(2, 3, cell.input_size, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        Circuit(cell)(inputs)[0].square().sum(), inputs, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="NCP_CONTROL_KERNELS=reference"):
        gradient.sum().backward()


def test_matrices_of_another_cell_are_refused(tools):
    cell = CfC(3, 4, 1)
    sequence = tools.random_sequence(cell, 2, 3, torch.float32)
    given = sequence["inputs"], sequence["state"], sequence["dt_s"]
    shapes = [16, 4, 3, 0]  # the bias is missing
    with pytest.raises(ValueError, match="`shapes` must be those of a cfc cell of 3 inputs"):
        dense_op.unroll(*given, torch.zeros(112), None, None, 0, shapes, [0, 0], False)
    with pytest.raises(ValueError, match="`weights` must have shape"):
        dense_op.unroll(*given, torch.zeros(9), None, None, 0, shapes, [0, 0], False)
    with pytest.raises(TypeError, match="`weights` must be torch.float32"):
        dense_op.unroll(*given, torch.zeros(112).double(), None, None, 0, shapes, [0, 0], False)
