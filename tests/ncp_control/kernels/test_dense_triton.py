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


@needs_triton
@pytest.mark.parametrize(
    ("name", "dtype", "capability"),
    [
        ("lstm", torch.float32, 80),
        ("cfc, two layers", torch.float32, 90),
        *(
            compiled(name, dtype, capability)
            for name in ("cfc, pure", "cfc, gelu", "cfc, no backbone", "gru", "ct-rnn")
            for dtype in (torch.float32, torch.float64)
            for capability in (80, 90)
        ),
    ],
)
def test_kernels_compile_for_a_gpu_that_is_not_there(
    name, dtype, capability, tools, tmp_path, monkeypatch
):
    from ncp_control.kernels import dense_triton

    launches: list[tuple] = []
    for kernel in ("dense_scan", "dense_scan_adjoint"):
        recorder = Recorder(getattr(dense_triton, kernel), launches)
        monkeypatch.setattr(dense_triton, kernel, recorder)
    monkeypatch.setattr(ltc_op, "TRITON_DEVICES", {"cpu"})
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    cell = CELLS[name]().to(dtype)
    states = run_dense(cell, **tools.random_sequence(cell, 2, 3, dtype))
    states.sum().backward()
    assert [kernel.fn.__name__ for kernel, *_ in launches] == ["dense_scan", "dense_scan_adjoint"]
    for kernel, values, constants in launches:
        code = compile_ahead(kernel, values, constants, capability).asm
        assert f".target sm_{capability}" in code["ptx"]
        assert code["cubin"].startswith(b"\x7fELF")
