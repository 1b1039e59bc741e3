"""The LTC kernel for GPUs against the plain torch code; run by `test_ltc_triton.py`.

Under TRITON_INTERPRET=1 the kernels run on the CPU, slowly, so everything here is tiny. Without it
the same cases need a GPU. Triton reads that variable once, hence the process of its own.
"""

import gc
import os

import pytest
import torch
from torch import library as operators
from torch.utils._python_dispatch import TorchDispatchMode

from ncp_control import LTC, NCP19, fully_connected, ncp, random_wiring
from ncp_control.kernels import dispatch, ltc_op, ltc_triton, triton_circuit, triton_plan
from ncp_control.kernels.native import PARAMETER_NAMES
from tests.ncp_control.kernels.test_ltc_op import assert_close, results_and_gradients
from tests.ncp_control.kernels.test_ltc_op_in_torch import damage_order, damage_range

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{what} encountered:RuntimeWarning")  # the interpreter's
    for what in ("overflow", "invalid value")
]
needs_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="an interpreter has no CUDA graph")

CELLS = {
    "ncp": lambda: LTC(NCP19, unfolds=2),
    "fully connected": lambda: LTC(fully_connected(5, 7, 2), unfolds=3),
    "random, some neurons without synapses": lambda: LTC(
        random_wiring(6, 20, 3, num_sensory_synapses=9, num_inner_synapses=70, seed=3), unfolds=1
    ),
    "no inner synapses": lambda: LTC(
        random_wiring(2, 3, 1, num_sensory_synapses=4, num_inner_synapses=0), unfolds=1
    ),
    "layered": lambda: LTC(NCP19, integrator="layered_midpoint", unfolds=2),
    "layered, all recurrent": lambda: LTC(
        fully_connected(3, 4, 4), integrator="layered_midpoint", unfolds=1
    ),
}
TINY = {
    "euler": lambda: LTC(fully_connected(3, 3, 1), unfolds=1),
    "layered": lambda: LTC(
        ncp(3, 2, 2, 1, sensory_fanout=1, inter_fanout=2, recurrent_command=2, motor_fanin=2),
        integrator="layered_midpoint",
        unfolds=1,
    ),
}


@pytest.fixture(autouse=True)
def _to_triton(monkeypatch):
    monkeypatch.setattr(ltc_op, "TRITON_DEVICES", {DEVICE})


@pytest.fixture(autouse=True)
def _on_device():
    with torch.device(DEVICE):
        yield


@pytest.fixture(params=TINY)
def tiny(request, tools) -> LTC:
    return tools.randomised(TINY[request.param]().to(DEVICE))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), pytest.param(torch.float32, 5e-6, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", CELLS)
def test_results_and_every_gradient_are_those_of_the_reference(name, dtype, tolerance, tools):
    cell = tools.randomised(CELLS[name]()).to(DEVICE, dtype)
    sequence = tools.random_sequence(cell, 3, 2, dtype)
    sequence["reset"][1, 1] = True
    weight = torch.randn(3, 2, cell.state_size, dtype=dtype)
    expected = results_and_gradients(tools.by_reference, cell, sequence, weight)
    found = results_and_gradients(tools.by_kernel, cell, sequence, weight)
    assert_close(found, expected, tolerance)


@pytest.mark.slow
def test_many_frames_are_summed_over_programs(tools):
    cell = tools.randomised(TINY["euler"]()).to(DEVICE).double()
    sequence = tools.random_sequence(cell, 2, triton_circuit.FRAMES + 3)
    weight = torch.randn(*sequence["dt_s"].shape, cell.state_size).double()
    expected = results_and_gradients(tools.by_reference, cell, sequence, weight)
    found = results_and_gradients(tools.by_kernel, cell, sequence, weight)
    assert_close(found, expected, 1e-12)


def test_zero_elapsed_time_changes_no_bit(tiny, tools):
    sequence = tools.random_sequence(tiny, 2, 2, torch.float32) | {"reset": None}
    sequence["dt_s"] = torch.zeros(2, 2)
    states, _ = tools.by_kernel(tiny, **sequence)
    assert torch.equal(states, sequence["state"][:, None].expand_as(states))


def test_nan_stays_in_its_sample_until_a_reset(tools):
    cell = tools.randomised(CELLS["ncp"]()).to(DEVICE)
    sequence = tools.random_sequence(cell, 3, 3, torch.float32)
    sequence["reset"][:] = False
    healthy, _ = tools.by_kernel(cell, **sequence)
    sequence["inputs"][1, 0, 4] = torch.nan  # some neurons do not sense it at once
    sequence["reset"][1, 2] = True
    states, _ = tools.by_kernel(cell, **sequence)
    assert torch.equal(states[[0, 2]], healthy[[0, 2]])
    reached = tools.by_reference(cell, **sequence)[0][1].isnan()
    assert torch.equal(states[1].isnan(), reached)
    assert reached[0].any() and not reached[0].all() and not reached[2].any()


@pytest.mark.parametrize("value", [1e30, -torch.inf])
def test_far_inputs_saturate(value, tiny, tools):
    sequence = tools.random_sequence(tiny, 2, 1, torch.float32)
    sequence["inputs"][1] = value
    expected, _ = tools.by_reference(tiny, **sequence)
    torch.testing.assert_close(tools.by_kernel(tiny, **sequence)[0], expected, rtol=0, atol=5e-6)


def test_the_longest_times_lead_to_rest(tiny, tools):
    sequence = tools.random_sequence(tiny, 2, 2, torch.float32)
    sequence["dt_s"][:] = 3e38
    weight = torch.randn(2, 2, tiny.state_size)
    expected = results_and_gradients(tools.by_reference, tiny, sequence, weight)
    found = results_and_gradients(tools.by_kernel, tiny, sequence, weight)
    assert all(tensor.isfinite().all() for tensor in found.values())
    assert_close(found, expected, 5e-6)
    sequence["dt_s"][0, 0] = torch.nan
    assert tools.by_kernel(tiny, **sequence | {"reset": None})[0][0].isnan().all()


@pytest.mark.parametrize("used", ["states", "outputs"])
def test_strided_tensors_and_results_that_no_loss_depends_on(used, tiny, tools):
    tiny = tiny.double()
    plain = tools.random_sequence(tiny, 2, 2)
    strided = {
        "inputs": plain["inputs"].transpose(0, 1).contiguous().transpose(0, 1),
        "state": plain["state"][:1].expand(2, -1),
        "dt_s": torch.tensor(0.03).double().expand(2, 2),
        "reset": plain["reset"].t().contiguous().t(),
    }
    found = []
    names = PARAMETER_NAMES[: -2 if used == "states" else None]
    wanted = [getattr(tiny, name) for name in names]
    for run in (tools.by_kernel, tools.by_reference):
        leaves = {
            k: v.detach().clone(memory_format=torch.preserve_format) if run is tools.by_kernel
            else v.contiguous()
            for k, v in strided.items()
        }  # fmt: skip
        leaves = {k: v.requires_grad_(v.is_floating_point()) for k, v in leaves.items()}
        result = run(tiny, **leaves)[used == "outputs"]
        floats = {k: v for k, v in leaves.items() if v.requires_grad}
        bars = torch.autograd.grad(result.sum(), [*floats.values(), *wanted])
        found.append({"result": result} | dict(zip([*floats, *names], bars, strict=True)))
    assert_close(*found, 1e-12)


@pytest.mark.parametrize(("batch", "steps"), [(0, 2), (2, 0)])
def test_nothing_in_nothing_out(batch, steps, tiny, tools):
    sequence = tools.random_sequence(tiny, batch, steps, torch.float32)
    states, outputs = tools.by_kernel(tiny, **sequence)
    assert states.shape == (batch, steps, tiny.state_size)
    (states.sum() + outputs.sum()).backward()
    assert not tiny.slope.grad.any() and not tiny.output_scale.grad.any()


@pytest.mark.slow
def test_the_operators_are_sound(tiny, tools):
    plain, settings = operands(tiny, tools, has_reset=tiny.integrator == "layered_midpoint")
    unroll, adjoint = torch.ops.ncp_control.ltc_unroll, torch.ops.ncp_control.ltc_unroll_adjoint
    leaves = [tensor.clone().requires_grad_() for tensor in plain]
    operators.opcheck(unroll.default, (*leaves, *settings, True))
    operators.opcheck(unroll.default, (*plain, *settings, False))
    states, outputs, tape = unroll(*plain, *settings, True)
    for bars in ((states, outputs), (None, outputs), (states, None)):
        operators.opcheck(adjoint.default, (*plain, *settings, states, tape, *bars))


def operands(cell, tools, has_reset=True):
    """Return tensors and settings as the operator takes them."""
    s = tools.random_sequence(cell, 2, 2, torch.float32)
    plain = [s["inputs"], s["state"], s["dt_s"]]
    plain += [getattr(cell, name).detach().clone() for name in PARAMETER_NAMES]
    settings = [s["reset"] if has_reset else None, cell.source, cell.target, cell.sign]
    settings += [dispatch.layer_bounds(cell), cell.frame_s, cell.unfolds, cell.integrator]
    return plain, settings


class NoReading(TorchDispatchMode):
    """Refuse operations that read a value of a tensor, for which a GPU has to be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "unique")
        return func(*args, **(kwargs or {}))


def test_after_the_first_use_the_host_reads_nothing(tools, monkeypatch):
    cell = tools.randomised(TINY["layered"]().to(DEVICE))
    tools.by_kernel(cell, **tools.random_sequence(cell, 1, 1, torch.float32))
    monkeypatch.setattr(triton_plan, "_make_plan", lambda *_: pytest.fail("read a wiring again"))
    circuit = triton_circuit.SynapticCircuit
    monkeypatch.setattr(circuit, "_launch", lambda *_, **__: None)  # an interpreter does read
    plain, settings = operands(cell, tools)
    with NoReading():
        arguments = ltc_op.LTCArguments(*plain, *settings)
        states, outputs, tape = ltc_triton.unroll(arguments, True)
        ltc_triton.adjoint(arguments, states, tape, states, outputs)


@needs_gpu
def test_a_training_step_fits_in_a_cuda_graph(tools):
    cell = tools.randomised(TINY["euler"]()).to(DEVICE)
    sequence = tools.random_sequence(cell, 2, 2, torch.float32)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()

    def step():
        states, outputs = tools.by_kernel(cell, **sequence)
        return torch.autograd.grad(states.sum() + outputs.sum(), cell.slope)[0]

    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph):
        gradient = step()
    sequence["inputs"].mul_(-1.0)
    graph.replay()
    torch.testing.assert_close(gradient, step())


def test_a_wiring_is_known_by_its_content_not_by_its_address(tools):
    for seed in range(2):  # the allocator likes to give the next cell the same addresses
        cell = LTC(random_wiring(3, 4, 1, num_sensory_synapses=6, num_inner_synapses=5, seed=seed))
        cell = cell.to(DEVICE).double()
        sequence = tools.random_sequence(cell, 1, 1)
        assert_same(cell, sequence, tools)
        cell.source[0] = (cell.source[0] + 1) % 3
        assert_same(cell, sequence, tools)
        del cell
        gc.collect()


def assert_same(cell, sequence, tools):
    expected, _ = tools.by_reference(cell, **sequence)
    torch.testing.assert_close(tools.by_kernel(cell, **sequence)[0], expected, rtol=0, atol=1e-12)


def test_plans_do_not_pile_up(tools, monkeypatch):
    monkeypatch.setattr(triton_plan, "_PLANS", {})
    monkeypatch.setattr(triton_plan, "_MOST_PLANS", 2)
    cells = [TINY["euler"]().to(DEVICE) for _ in range(4)]
    for cell in cells:
        tools.by_kernel(cell, **tools.random_sequence(cell, 1, 1, torch.float32))
    assert len(triton_plan._PLANS) == 2


@pytest.mark.parametrize("damage", [damage_order, damage_range])
def test_a_damaged_wiring_is_refused(damage, tools):
    cell = LTC(NCP19).to(DEVICE)
    damage(cell)
    with pytest.raises(ValueError, match="Rebuild the cell from its wiring"):
        tools.by_kernel(cell, **tools.random_sequence(cell, 1, 1, torch.float32))


def test_a_synapse_against_the_order_of_the_layers_is_refused(tools):
    cell = TINY["layered"]().to(DEVICE)
    plain, settings = operands(cell, tools)
    settings[4] = [0, 5, 0]  # but the command neurons are recurrent
    with pytest.raises(ValueError, match="Rebuild the cell from its wiring"):
        torch.ops.ncp_control.ltc_unroll(*plain, *settings, True)


def test_large_wirings_and_the_switch_choose_the_reference(tools, monkeypatch):
    large = LTC(fully_connected(8, 70, 1), unfolds=1).to(DEVICE)
    assert dispatch.run_ltc(large, **tools.random_sequence(large, 1, 1, torch.float32)) is None
    tiny = TINY["euler"]().to(DEVICE)
    monkeypatch.setenv("NCP_CONTROL_KERNELS", "reference")
    assert dispatch.run_ltc(tiny, **tools.random_sequence(tiny, 1, 1, torch.float32)) is None
