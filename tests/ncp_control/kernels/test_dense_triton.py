"""The kernels of dense cells for GPUs are compiled without one; `test_ltc_triton.py` runs them."""

import pytest
import torch

from ncp_control.kernels import ltc_op
from ncp_control.kernels.dispatch import run_dense
from tests.ncp_control.kernels.dense_cells import CELLS
from tests.ncp_control.kernels.test_ltc_triton import (
    Recorder,
    compile_ahead,
    needs_triton,
)


def compiled(name, dtype, capability):
    return pytest.param(name, dtype, capability, marks=pytest.mark.slow)


TYPES = (torch.float32, 80), (torch.float32, 90), (torch.float64, 80)
DENSE = (
    "cfc, pure",
    "cfc, wide backbone",
    "cfc, gelu",
    "cfc, no backbone",
    "gru",
    "ct-rnn",
    "wired cfc",
    "wired cfc, pure",
    "neural ode",
    "ode-rnn",
    "ct-gru",
    "memory and gru that sees time",
)
SYNAPTIC = (
    "stc, explicit",
    "lrc",
    "lrc, layered",
    "ltc, exponential",
    "memory and ltc",
    "memory and layered ltc",
)


@needs_triton
@pytest.mark.parametrize(
    ("name", "dtype", "capability"),
    [
        ("lstm", torch.float32, 80),
        ("cfc, two layers", torch.float32, 90),
        ("ct-gru", torch.float32, 90),
        ("lrcu", torch.float32, 80),
        *(compiled(name, *kind) for name in (*DENSE, *SYNAPTIC) for kind in TYPES),
    ],
)
def test_kernels_compile_for_a_gpu_that_is_not_there(
    name, dtype, capability, tools, tmp_path, monkeypatch
):
    from ncp_control.kernels import dense_triton, triton_circuit

    launches: list[tuple] = []
    dense, synaptic = ["dense_scan", "dense_scan_adjoint"], ["sense", "scan", "scan_adjoint"]
    for module, kernels in ((dense_triton, dense), (triton_circuit, [*synaptic, "sense_adjoint"])):
        for kernel in kernels:
            monkeypatch.setattr(module, kernel, Recorder(getattr(module, kernel), launches))
    monkeypatch.setattr(ltc_op, "TRITON_DEVICES", {"cpu"})
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    cell = CELLS[name]().to(dtype)
    states = run_dense(cell, **tools.random_sequence(cell, 2, 3, dtype))
    states.sum().backward()
    is_dense = len(launches) == 2
    assert [kernel.fn.__name__ for kernel, *_ in launches] == (
        dense if is_dense else [*synaptic, "sense_adjoint"]
    )
    for kernel, values, constants in launches:
        code = compile_ahead(kernel, values, constants, capability).asm
        assert f".target sm_{capability}" in code["ptx"]
        assert code["cubin"].startswith(b"\x7fELF")
