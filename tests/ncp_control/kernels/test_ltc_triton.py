"""The kernels for GPUs: cases under the interpreter, and the LTC's compilation without a GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ncp_control import LTC, NCP19
from ncp_control.kernels import ltc_op, native
from ncp_control.kernels.dispatch import run_ltc

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is missing: pip install ncp-control[cuda]",
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.bool: "*i1"}


@needs_triton
@pytest.mark.parametrize("interpret", ["1", pytest.param("0", marks=needs_gpu)])
@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_cases_hold(which, interpret):
    names = "triton_cases.py", "dense_triton_cases.py"
    cases = [str(Path(__file__).with_name(name)) for name in names]
    run(["-m", "pytest", "-p", "no:cacheprovider", "-m", which, *cases], interpret)


COMPILED = """
import torch
from ncp_control import LTC, Circuit, fully_connected
from ncp_control.kernels import ltc_op
device = "cuda" if torch.cuda.is_available() else "cpu"
ltc_op.TRITON_DEVICES = {device}
circuit = Circuit(LTC(fully_connected(3, 3, 1), unfolds=1)).to(device)
compiled = torch.compile(circuit, fullgraph=True, backend="aot_eager")
for batch in (2, 3, 4):  # the second size makes the batch dynamic
    inputs = torch.randn(batch, 2, 3, device=device)
    found = []
    for run in (compiled, circuit):
        outputs, state = run(inputs)
        loss = outputs.square().sum() + state.sum()
        found += torch.autograd.grad(loss, circuit.cell.slope)
    torch.testing.assert_close(*found)
"""


@needs_triton
@pytest.mark.slow
def test_torch_compile_has_no_graph_break():
    run(["-c", COMPILED], "0" if torch.cuda.is_available() else "1")


def run(arguments: list[str], interpret: str) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"TRITON_INTERPRET": interpret, "PYTHONPATH": str(root)},
        cwd=root,
        text=True,
        capture_output=True,
    )
    assert process.returncode == 0, process.stdout[-6000:] + process.stderr[-3000:]


class Recorder:
    """Stands in for a kernel, and notes its launches instead of starting them."""

    def __init__(self, kernel, noted: list[tuple]):
        self.kernel, self.noted = kernel, noted

    def __getitem__(self, grid):
        return lambda *values, **constants: self.noted.append((self.kernel, values, constants))


@pytest.fixture
def launches(monkeypatch) -> list[tuple]:
    """Send sequences on the CPU to Triton, and note the launches instead of starting them."""
    from ncp_control.kernels import triton_circuit

    noted: list[tuple] = []
    for name in ("sense", "scan", "scan_adjoint", "sense_adjoint"):
        monkeypatch.setattr(triton_circuit, name, Recorder(getattr(triton_circuit, name), noted))
    monkeypatch.setattr(ltc_op, "TRITON_DEVICES", {"cpu"})
    return noted


@needs_triton
@pytest.mark.parametrize(
    ("options", "dtype", "capability"),
    [
        ({}, torch.float32, 80),
        pytest.param({}, torch.float32, 75, marks=pytest.mark.slow),
        pytest.param({}, torch.float32, 90, marks=pytest.mark.slow),
        pytest.param({}, torch.float64, 80, marks=pytest.mark.slow),
        pytest.param({"integrator": "layered_midpoint"}, torch.float32, 80, marks=pytest.mark.slow),
        ({"integrator": "layered_midpoint", "unfolds": 2}, torch.float32, 90),
    ],
)
def test_kernels_compile_for_a_gpu_that_is_not_there(
    options, dtype, capability, launches, tools, tmp_path, monkeypatch
):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    cell = LTC(NCP19, **options).to(dtype)
    states, outputs = run_ltc(cell, **tools.random_sequence(cell, 2, 3, dtype))
    (states.sum() + outputs.sum()).backward()
    assert [kernel.fn.__name__ for kernel, *_ in launches] == [
        "sense",
        "scan",
        "scan_adjoint",
        "sense_adjoint",
    ]
    for kernel, values, constants in launches:
        compiled = compile_ahead(kernel, values, constants, capability)
        assert f".target sm_{capability}" in compiled.asm["ptx"]
        assert compiled.asm["cubin"].startswith(b"\x7fELF")
        if kernel.fn.__name__.startswith("scan"):
            # The recursion stays in the registers of one warp: nothing to wait for at a barrier.
            assert compiled.metadata.shared == 0 and "bar.sync" not in compiled.asm["ptx"]


def compile_ahead(kernel, values, constants, capability):
    """Compile a launch as Triton would on a GPU of that compute capability."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = {"num_warps", "num_stages", "enable_fp_fusion"} & set(constants)
    options = {name: constants.pop(name) for name in names}
    signature = {}
    for name, value in zip(kernel.arg_names, values, strict=False):
        signature[name] = TYPES[value.dtype] if isinstance(value, torch.Tensor) else "i32"
    signature |= dict.fromkeys(constants, "constexpr")
    fixed = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature, fixed)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.fixture
def asked_anew():
    native.has_triton.cache_clear()
    yield
    native.has_triton.cache_clear()


@pytest.mark.parametrize(
    ("fault", "advice"),
    [("no Triton", r"pip install ncp-control\[cuda\]"), ("old GPU", "older than Triton knows")],
)
def test_without_triton_one_warning_and_the_reference(
    fault, advice, tools, monkeypatch, asked_anew
):
    monkeypatch.setattr(ltc_op, "TRITON_DEVICES", {"cpu"})
    if fault == "no Triton":
        monkeypatch.setattr(native.importlib.util, "find_spec", lambda _: None)
    else:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    cell = LTC(NCP19)
    sequence = tools.random_sequence(cell, 1, 1, torch.float32)
    with pytest.warns(RuntimeWarning, match=advice):
        assert run_ltc(cell, **sequence) is None
    assert run_ltc(cell, **sequence) is None  # and no second warning, which would be an error
