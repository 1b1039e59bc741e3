"""The LTC kernel as an operator of torch: its tape, transforms and tracing, and what it refuses."""

import copy
import functools

import pytest
import torch
from torch import Tensor
from torch import library as operators

from ncp_control import LTC, NCP19, Circuit
from ncp_control.kernels import ltc_op
from ncp_control.kernels.dispatch import layer_bounds
from ncp_control.kernels.native import PARAMETER_NAMES


def test_without_gradients_no_tape_is_kept(tools, monkeypatch):
    cell = LTC(NCP19)
    has_tape = []
    monkeypatch.setattr(ltc_op, "_unroll", spy(ltc_op._unroll, lambda *v: has_tape.append(v[-1])))
    sequence = tools.random_sequence(cell, 2, 3, torch.float32)
    with torch.no_grad():
        assert not tools.by_kernel(cell, **sequence)[0].requires_grad
    cell.requires_grad_(False)
    assert not tools.by_kernel(cell, **sequence)[0].requires_grad
    sequence["inputs"].requires_grad_()
    tools.by_kernel(cell, **sequence)[0].sum().backward()
    assert sequence["inputs"].grad.abs().sum() > 0 and cell.slope.grad is None
    assert has_tape == [False, False, True]


def spy(function, note):
    @functools.wraps(function)
    def spied(*values, **options):
        note(*values)
        return function(*values, **options)

    return spied


@pytest.mark.parametrize("options", [{}, {"integrator": "layered_midpoint", "unfolds": 2}])
@pytest.mark.parametrize("has_reset", [False, True])
def test_the_operators_are_sound(options, has_reset, tools):
    cell = tools.randomised(LTC(NCP19, **options))
    s = tools.random_sequence(cell, 3, 2, torch.float32)
    tensors = [s["inputs"], s["state"], s["dt_s"]]
    tensors += [getattr(cell, name).detach().clone() for name in PARAMETER_NAMES]
    settings = [s["reset"] if has_reset else None, cell.source, cell.target, cell.sign]
    settings += [layer_bounds(cell), cell.frame_s, cell.unfolds, cell.integrator]
    unroll, adjoint = torch.ops.ncp_control.ltc_unroll, torch.ops.ncp_control.ltc_unroll_adjoint
    leaves = [tensor.requires_grad_() for tensor in tensors]
    operators.opcheck(unroll.default, (*leaves, *settings, True))
    plain = [tensor.detach() for tensor in tensors]
    operators.opcheck(unroll.default, (*plain, *settings, False))
    states, outputs, tape = unroll(*plain, *settings, True)
    for bars in ((states, outputs), (None, outputs), (states, None)):
        operators.opcheck(adjoint.default, (*plain, *settings, states, tape, *bars))


def test_functional_call_and_deepcopy_take_effect(tools):
    circuit = Circuit(LTC(NCP19))
    inputs = torch.randn(2, 3, 32)
    before = circuit(inputs)[0]
    doubled = {name: 2.0 * p.detach() for name, p in circuit.named_parameters()}
    assert not torch.equal(torch.func.functional_call(circuit, doubled, (inputs,))[0], before)
    twin = copy.deepcopy(circuit)
    with torch.no_grad():
        circuit.cell.slope += 1.0
    assert torch.equal(twin(inputs)[0], before) and not torch.equal(circuit(inputs)[0], before)


def test_function_transforms_run_on_the_reference(tools):
    cell = LTC(NCP19)
    s = tools.random_sequence(cell, 2, 2, torch.float32)
    run = functools.partial(cell.unroll, state=s["state"], dt_s=s["dt_s"], reset=None)
    inputs = s["inputs"].requires_grad_()
    expected = torch.autograd.grad(run(inputs).sum(), inputs)[0]
    found = torch.func.grad(lambda x: run(x).sum())(inputs.detach())
    torch.testing.assert_close(found, expected)
    shifts = torch.linspace(-1.0, 1.0, 3)
    rows = torch.func.vmap(lambda shift: run(inputs.detach() + shift))(shifts)
    torch.testing.assert_close(rows[1], run(inputs))


def test_a_second_gradient_is_refused(tools):
    cell = LTC(NCP19)
    s = tools.random_sequence(cell, 2, 2, torch.float32)
    s["inputs"].requires_grad_()
    loss = tools.by_kernel(cell, **s)[0].square().sum()
    (gradient,) = torch.autograd.grad(loss, s["inputs"], create_graph=True)
    with pytest.raises(NotImplementedError, match="NCP_CONTROL_KERNELS=reference"):
        gradient.sum().backward()


def damage_order(cell):
    cell.target = cell.target.flip(0)


def damage_range(cell):
    cell.source = cell.source.clone()
    cell.source[-1] = 1_000_000


@pytest.mark.parametrize("damage", [damage_order, damage_range])
def test_a_damaged_wiring_is_refused(damage, tools):
    cell = LTC(NCP19)
    damage(cell)
    with pytest.raises(ValueError, match="Rebuild the cell from its wiring"):
        tools.by_kernel(cell, **tools.random_sequence(cell, 2, 2, torch.float32))


def test_a_shape_that_does_not_fit_is_refused(tools):
    cell = LTC(NCP19)
    s = tools.random_sequence(cell, 2, 3, torch.float32)
    with pytest.raises(ValueError, match=r"`dt_s` must have shape \(2, 3\), got \(2, 2\)"):
        tools.by_kernel(cell, **s | {"dt_s": s["dt_s"][:, :2]})
    with pytest.raises(TypeError, match="`reset` must be torch.bool, got torch.float32"):
        tools.by_kernel(cell, **s | {"reset": s["reset"].float()})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_sequence_computes_without_gradients_too(tools):
    cell = LTC(NCP19).requires_grad_(False)
    first, second = (tools.random_sequence(cell, 3, 4, torch.float32) for _ in range(2))

    def run(inputs: Tensor) -> Tensor:
        return tools.by_kernel(cell, **first | {"inputs": inputs})[1]

    traced = torch.jit.trace(run, (first["inputs"],), check_trace=False)
    torch.testing.assert_close(traced(second["inputs"]), run(second["inputs"]))
