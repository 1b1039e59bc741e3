"""The kernels of dense cells for GPUs are compiled without one; `test_ltc_triton.py` runs them."""

import pytest
import torch

from ncp_control import LSTM
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


DENSE_KERNELS = ["dense_scan", "dense_scan_adjoint"]
SYNAPTIC_KERNELS = ["sense", "scan", "scan_adjoint", "sense_adjoint"]


def record_launches(cell, tools, monkeypatch, cache) -> list[tuple]:
    """Return the launches of a sequence forwards and backwards, none of which is started."""
    from ncp_control.kernels import dense_triton, triton_circuit

    launches: list[tuple] = []
    for module, kernels in ((dense_triton, DENSE_KERNELS), (triton_circuit, SYNAPTIC_KERNELS)):
        for kernel in kernels:
            monkeypatch.setattr(module, kernel, Recorder(getattr(module, kernel), launches))
    monkeypatch.setattr(ltc_op, "TRITON_DEVICES", {"cpu"})
    monkeypatch.setenv("TRITON_CACHE_DIR", str(cache))
    states = run_dense(cell, **tools.random_sequence(cell, 2, 3, next(cell.parameters()).dtype))
    assert states is not None
    states.sum().backward()
    return launches


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
    launches = record_launches(CELLS[name]().to(dtype), tools, monkeypatch, tmp_path)
    is_dense = len(launches) == 2
    assert [kernel.fn.__name__ for kernel, *_ in launches] == (
        DENSE_KERNELS if is_dense else SYNAPTIC_KERNELS
    )
    for kernel, values, constants in launches:
        code = compile_ahead(kernel, values, constants, capability).asm
        assert f".target sm_{capability}" in code["ptx"]
        assert code["cubin"].startswith(b"\x7fELF")


@needs_triton
@pytest.mark.slow
def test_wide_layers_fit_in_the_shared_memory_of_a_gpu(tools, tmp_path, monkeypatch):
    """Which is 99 KiB on a graphics card of that kind; the weights of this cell are 64 KiB."""
    launches = record_launches(LSTM(3, 64, 1), tools, monkeypatch, tmp_path)
    for kernel, values, constants in launches:
        assert compile_ahead(kernel, values, constants, 80).metadata.shared <= 99 * 1024
