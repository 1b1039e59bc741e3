"""The LTC kernel against the plain torch code, and what it must withstand."""

import copy
import functools

import pytest
import torch
from torch import Tensor

from ncp_control import LTC, NCP19, Circuit, fully_connected, ncp
from ncp_control.kernels import ltc_op
from ncp_control.kernels.dispatch import layer_bounds, run_ltc
from ncp_control.kernels.library import PARAMETER_NAMES

LAYERED = {"integrator": "layered_midpoint", "unfolds": 2}


def results_and_gradients(run, cell, sequence, weight) -> dict[str, Tensor]:
    """Run a sequence; return states, outputs, and the gradient of a weighted sum of both."""
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in sequence.items()}
    parameters = {name: getattr(cell, name) for name in PARAMETER_NAMES}
    states, outputs = run(cell, **leaves)
    wanted = {k: v for k, v in leaves.items() if v.requires_grad} | parameters
    loss = (states * weight).sum() + (outputs.sin() * weight.sum(-1, keepdim=True)).sum()
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    return {"states": states, "outputs": outputs} | dict(zip(wanted, gradients, strict=True))


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    for name, value in expected.items():
        scale = value.abs().max().clamp(min=1.0)
        error = ((found[name] - value).abs().max() / scale).item()
        assert error <= tolerance, f"{name}: {error:.1e}"


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
@pytest.mark.parametrize("batch", [1, 3, 16, 17, 33])
def test_results_and_every_gradient_are_those_of_the_reference(
    cell, batch, dtype, tolerance, tools
):
    cell = cell.to(dtype)
    sequence = tools.random_sequence(cell, batch, 6, dtype)
    weight = torch.randn(batch, 6, cell.state_size, dtype=dtype)
    expected = results_and_gradients(tools.by_reference, cell, sequence, weight)
    found = results_and_gradients(tools.by_kernel, cell, sequence, weight)
    assert_close(found, expected, tolerance)


@pytest.mark.parametrize("run", ["by_kernel", "by_reference"])
def test_many_short_steps_do_not_drift(run, tools):
    # A step of a thousandth of a time constant: rounding errors of one sign would add up.
    cell = tools.randomised(LTC(NCP19, frame_s=1.0, **LAYERED))
    sequence = tools.random_sequence(cell, 4, 1, torch.float32)
    sequence = {
        "inputs": sequence["inputs"].expand(-1, 1000, -1),
        "state": torch.zeros(4, 19),
        "dt_s": torch.full((4, 1000), 1e-3),
        "reset": None,
    }
    with torch.no_grad():
        found = getattr(tools, run)(cell, **sequence)[0][:, -1]
        exact = {k: v if v is None else v.double() for k, v in sequence.items()}
        expected = tools.by_reference(cell.double(), **exact)[0][:, -1]
    assert ((found - expected).abs() / expected.abs().clamp(min=0.1)).max() < 5e-5


@pytest.mark.parametrize("options", [{"unfolds": 2}, LAYERED])
def test_a_large_circuit_agrees_where_blocks_are_treated_together(options, tools):
    wiring = ncp(
        60, 60, 40, 2, sensory_fanout=40, inter_fanout=30, recurrent_command=400, motor_fanin=9
    )
    assert wiring.num_synapses > 4096
    cell = tools.randomised(LTC(wiring, **options)).double()
    sequence = tools.random_sequence(cell, 75, 3)
    weight = torch.randn(75, 3, cell.state_size).double()
    expected = results_and_gradients(tools.by_reference, cell, sequence, weight)
    found = results_and_gradients(tools.by_kernel, cell, sequence, weight)
    assert_close(found, expected, 1e-12)


def test_gradients_are_those_of_finite_differences(cell, tools):
    cell = cell.double()
    sequence = tools.random_sequence(cell, 2, 2)
    sequence["dt_s"] += 0.01  # a difference must not step below 0
    names = ("inputs", "state", "dt_s")

    def run(inputs, state, dt_s, *parameters):
        values = dict(zip(PARAMETER_NAMES, parameters, strict=True))
        arguments = (inputs, state, dt_s, sequence["reset"])
        return torch.func.functional_call(Unroll(cell), prefixed(values), arguments)

    leaves = [sequence[name].requires_grad_() for name in names]
    leaves += [getattr(cell, name).detach().clone().requires_grad_() for name in PARAMETER_NAMES]
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


class Unroll(torch.nn.Module):
    """A cell over time as a module, for what calls modules."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, inputs, state, dt_s, reset):
        return run_ltc(self.cell, inputs, state, dt_s, reset)


def prefixed(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"cell.{name}": value for name, value in values.items()}


def test_zero_elapsed_time_changes_no_bit(cell, tools):
    sequence = tools.random_sequence(cell, 17, 4, torch.float32) | {"reset": None}
    sequence["dt_s"] = torch.zeros(17, 4)
    states, _ = tools.by_kernel(cell, **sequence)
    assert torch.equal(states, sequence["state"][:, None].expand_as(states))


def test_a_sequence_in_two_parts_is_the_whole(cell, tools):
    sequence = tools.random_sequence(cell, 5, 9, torch.float32)
    whole, _ = tools.by_kernel(cell, **sequence)
    state, parts = sequence.pop("state"), []
    for steps in (slice(0, 4), slice(4, 9)):
        part = {name: value[:, steps] for name, value in sequence.items()}
        parts.append(tools.by_kernel(cell, state=state, **part)[0])
        state = parts[-1][:, -1]
    assert torch.equal(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("wiring", [NCP19, fully_connected(60, 60, 1)])
def test_the_number_of_threads_changes_no_bit(wiring, tools):
    cell = LTC(wiring)
    sequence = tools.random_sequence(cell, 130, 5, torch.float32)
    weight = torch.randn(130, 5, cell.state_size)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(results_and_gradients(tools.by_kernel, cell, sequence, weight))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(value, other[name]) for name, value in results[0].items())


def test_nan_stays_in_its_sample_until_a_reset(cell, tools):
    sequence = tools.random_sequence(cell, 19, 6, torch.float32)
    sequence["reset"][:] = False
    healthy, _ = tools.by_kernel(cell, **sequence)
    sequence["inputs"][3, 2] = torch.nan
    sequence["reset"][3, 4] = True
    states, _ = tools.by_kernel(cell, **sequence)
    others = [i for i in range(19) if i != 3]
    assert torch.equal(states[others], healthy[others])
    assert torch.equal(states[3, :2], healthy[3, :2])
    reached = tools.by_reference(cell, **sequence)[0][3].isnan()
    assert torch.equal(states[3].isnan(), reached) and reached[2].any() and not reached[4].any()


@pytest.mark.parametrize("value", [1e4, -1e4, 1e30, -1e30, torch.inf, -torch.inf])
def test_far_inputs_saturate(value, cell, tools):
    sequence = tools.random_sequence(cell, 3, 2, torch.float32)
    sequence["inputs"][1] = value
    expected, _ = tools.by_reference(cell, **sequence)
    torch.testing.assert_close(tools.by_kernel(cell, **sequence)[0], expected, rtol=0, atol=5e-6)


def test_strided_and_expanded_tensors(cell, tools):
    batch, steps = 5, 4
    plain = tools.random_sequence(cell, batch, steps)
    cell = cell.double()
    expanded = {
        "inputs": plain["inputs"].transpose(0, 1).contiguous().transpose(0, 1),
        "state": plain["state"][:1].expand(batch, -1),
        "dt_s": torch.tensor(0.03).double().expand(batch, steps),
        "reset": plain["reset"].t().contiguous().t(),
    }
    leaves = {k: v.detach().requires_grad_(v.is_floating_point()) for k, v in expanded.items()}
    states, outputs = tools.by_kernel(cell, **leaves)
    dense = {k: v.contiguous().requires_grad_(v.requires_grad) for k, v in expanded.items()}
    expected_states, expected_outputs = tools.by_reference(cell, **dense)
    wanted = [getattr(cell, name) for name in PARAMETER_NAMES]
    found = gradients(states.sum() + outputs.sum(), leaves, wanted)  # of strides 0
    expected = gradients(expected_states.sum() + expected_outputs.sum(), dense, wanted)
    assert_close({"states": states} | found, {"states": expected_states} | expected, 1e-12)


def gradients(loss: Tensor, leaves: dict[str, Tensor], parameters: list[Tensor]) -> dict:
    wanted = {k: v for k, v in leaves.items() if v.requires_grad}
    wanted |= dict(zip(PARAMETER_NAMES, parameters, strict=True))
    found = torch.autograd.grad(loss, list(wanted.values()))
    return dict(zip(wanted, found, strict=True))


@pytest.mark.parametrize("used", ["states", "outputs"])
def test_a_result_that_no_loss_depends_on_costs_no_gradient(used, cell, tools):
    cell = cell.double()
    sequence = tools.random_sequence(cell, 3, 5)
    found = []
    for run in (tools.by_kernel, tools.by_reference):
        cell.zero_grad()
        run(cell, **sequence)[used == "outputs"].square().sum().backward()
        found.append({name: getattr(cell, name).grad for name in PARAMETER_NAMES})
    of_kernel, of_reference = found
    assert (of_kernel["output_scale"] is None) == (used == "states")
    present = {name: value for name, value in of_reference.items() if value is not None}
    assert_close(of_kernel, present, 1e-12)


@pytest.mark.parametrize(
    ("input_dtype", "cell_dtype"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float64, torch.float32),
        (torch.float32, torch.float64),
    ],
)
def test_mixed_and_half_precision_give_the_dtype_of_the_reference(input_dtype, cell_dtype, tools):
    cell = LTC(NCP19).to(cell_dtype)
    sequence = tools.random_sequence(cell, 4, 3, input_dtype)
    sequence["state"] = sequence["state"].to(cell_dtype)
    expected = tools.by_reference(cell, **sequence)
    found = tools.by_kernel(cell, **sequence)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.04)
    assert [x.dtype for x in found] == [x.dtype for x in expected]
    found[0].float().sum().backward()
    assert cell.slope.grad.dtype == cell_dtype


@pytest.mark.parametrize(("batch", "steps"), [(0, 5), (3, 0), (0, 0)])
def test_nothing_in_nothing_out(batch, steps, cell, tools):
    sequence = tools.random_sequence(cell, batch, steps, torch.float32)
    sequence["inputs"].requires_grad_()
    sequence["state"].requires_grad_()
    states, outputs = tools.by_kernel(cell, **sequence)
    assert states.shape == (batch, steps, cell.state_size)
    assert outputs.shape == (batch, steps, cell.output_size)
    (states.sum() + outputs.sum()).backward()
    assert not cell.slope.grad.any() and sequence["state"].grad.shape == sequence["state"].shape


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
    def spied(*values):
        note(*values)
        return function(*values)

    return spied


@pytest.mark.parametrize("options", [{}, LAYERED])
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
    torch.library.opcheck(unroll.default, (*leaves, *settings, True))
    plain = [tensor.detach() for tensor in tensors]
    torch.library.opcheck(unroll.default, (*plain, *settings, False))
    states, outputs, tape = unroll(*plain, *settings, True)
    for bars in ((states, outputs), (None, outputs), (states, None)):
        torch.library.opcheck(adjoint.default, (*plain, *settings, states, tape, *bars))


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
