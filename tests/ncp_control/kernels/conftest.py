"""What the kernels' tests share: circuits of every kind, and the reference beside the kernel."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ncp_control import LTC, NCP19, auto_ncp, fully_connected, random_wiring
from ncp_control.cells import Cell
from ncp_control.kernels.dispatch import has_kernels, run_ltc

SCATTERED = random_wiring(6, 20, 3, num_sensory_synapses=9, num_inner_synapses=70, seed=3)

CELLS: dict[str, Callable[[], LTC]] = {
    "ncp": lambda: LTC(NCP19),
    "ncp, one unfold": lambda: LTC(NCP19, unfolds=1),
    "fully connected": lambda: LTC(fully_connected(5, 7, 2), unfolds=3),
    "random, some neurons without synapses": lambda: LTC(SCATTERED, unfolds=2),
    "layered": lambda: LTC(NCP19, integrator="layered_midpoint", unfolds=2),
    "layered, wide": lambda: LTC(
        auto_ncp(9, 40, 4, seed=1), integrator="layered_midpoint", unfolds=1
    ),
    "layered, all recurrent": lambda: LTC(
        fully_connected(3, 4, 4), integrator="layered_midpoint", unfolds=3
    ),
}


@pytest.fixture(autouse=True)
def _kernels_built(monkeypatch):
    monkeypatch.delenv("NCP_CONTROL_KERNELS", raising=False)
    assert has_kernels(torch.float32) and has_kernels(torch.float64)


@pytest.fixture(params=CELLS)
def cell(request) -> LTC:
    return randomised(CELLS[request.param]())


def randomised(cell: LTC) -> LTC:
    """Move every parameter off its initial value, the affine maps and reversals too."""
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return cell


def random_sequence(
    cell: Cell, batch: int, steps: int, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Return the arguments of `Cell.unroll`: irregular times, some of them 0, and resets."""
    dt_s = 0.06 * torch.rand(batch, steps, dtype=dtype)
    dt_s[torch.rand(batch, steps) < 0.1] = 0.0
    return {
        "inputs": torch.randn(batch, steps, cell.input_size, dtype=dtype),
        "state": 0.4 * torch.randn(batch, cell.state_size, dtype=dtype),
        "dt_s": dt_s,
        "reset": torch.rand(batch, steps) < 0.2,
    }


def by_kernel(cell: LTC, **arguments: Tensor) -> tuple[Tensor, Tensor]:
    """Return states and outputs."""
    run = run_ltc(cell, **arguments)
    assert run is not None, "the reference would have run"
    return run


def by_reference(cell: LTC, **arguments: Tensor) -> tuple[Tensor, Tensor]:
    states = cell._loop(**arguments)
    return states, cell.readout(states)


@pytest.fixture
def tools() -> SimpleNamespace:
    """The helpers above, for tests that are imported one by one."""
    return SimpleNamespace(
        randomised=randomised,
        random_sequence=random_sequence,
        by_kernel=by_kernel,
        by_reference=by_reference,
    )
