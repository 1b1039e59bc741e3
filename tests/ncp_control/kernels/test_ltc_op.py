"""The LTC kernel against the plain torch code: values and gradients."""

import pytest
import torch
from torch import Tensor

from ncp_control import LTC, NCP19, fully_connected, ncp
from ncp_control.kernels.dispatch import run_ltc
from ncp_control.kernels.native import PARAMETER_NAMES

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


@pytest.mark.parametrize(
    ("wiring", "options"),
    [
        (fully_connected(7, 130, 3), {"unfolds": 2}),
        (ncp(9, 130, 120, 2, sensory_fanout=99, inter_fanout=99, recurrent_command=2999,
             motor_fanin=99), LAYERED),
    ],
)  # fmt: skip
def test_the_sums_of_very_many_synapses_agree(wiring, options, tools):
    assert wiring.num_synapses > 16_384
    cell = tools.randomised(LTC(wiring, **options)).double()
    with torch.no_grad():
        cell.raw_weight -= 3.0  # or else everything saturates
    sequence = tools.random_sequence(cell, 41, 2)
    weight = torch.randn(41, 2, cell.state_size).double()
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


@pytest.mark.parametrize(
    ("dtype", "batches"), [(torch.float32, (1, 5, 8)), (torch.float64, (3, 4))]
)
def test_a_small_batch_finds_the_bits_of_a_larger_one(cell, dtype, batches, tools):
    """It is run by narrower vectors, where there are such; the loss knows nothing of the rest."""
    cell = cell.to(dtype)
    whole = tools.random_sequence(cell, 16, 5, dtype)
    for batch in batches:
        weight = torch.randn(16, 5, cell.state_size, dtype=dtype)
        weight[batch:] = 0.0
        expected = results_and_gradients(tools.by_kernel, cell, whole, weight)
        small = {name: value[:batch] for name, value in whole.items()}
        found = results_and_gradients(tools.by_kernel, cell, small, weight[:batch])
        for name, value in found.items():
            of_samples = name in ("states", "outputs", *small)
            wanted = expected[name][:batch] if of_samples else expected[name]
            assert torch.equal(value, wanted), (name, batch)


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


@pytest.mark.parametrize("value", [1e20, 3e38])
def test_the_longest_times_lead_to_rest(value, cell, tools):
    sequence = tools.random_sequence(cell, 3, 4, torch.float32)
    sequence["dt_s"][:] = value
    weight = torch.randn(3, 4, cell.state_size)
    expected = results_and_gradients(tools.by_reference, cell, sequence, weight)
    found = results_and_gradients(tools.by_kernel, cell, sequence, weight)
    assert all(tensor.isfinite().all() for tensor in found.values())
    assert_close(found, expected, 5e-6)
    sequence["dt_s"][:] = 1e6
    at_rest = results_and_gradients(tools.by_kernel, cell, sequence, weight)
    assert_close({"states": found["states"]}, {"states": at_rest["states"]}, 1e-4)
    sequence["dt_s"][1] = torch.nan
    states, _ = tools.by_kernel(cell, **sequence | {"reset": None})
    assert states[1].isnan().all() and states[0].isfinite().all()
