"""What a circuit costs besides time, and what an integrator's error costs in time."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from ncp_control import LTC, NCP19, Circuit
from ncp_control.kernels import build
from ncp_control.kernels.native import INTEGRATORS as FUSED
from ncp_control.markdown import markdown_table
from scripts.timing import measure

SOLVERS: tuple[tuple[str, int], ...] = (
    ("semi_implicit_euler", 6),
    ("semi_implicit_euler", 1),
    ("semi_implicit_euler", 3),
    ("semi_implicit_euler", 12),
    ("exponential_euler", 1),
    ("exponential_euler", 6),
    ("rk4", 3),
    ("rk4", 6),
    ("layered_midpoint", 1),
    ("layered_midpoint", 2),
    ("layered_midpoint", 6),
)
"""Integrators and unfolds; the first is the one that costs are relative to."""

NUM_CIRCUITS, FRAMES = 16, 12


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The error of an integrator, and what it costs."""

    integrator: str
    unfolds: int
    frame_error: float
    """Mean |error| of the potentials after one frame."""
    motor_error: float
    """Mean |error| of the motor neuron after 12 frames, running freely."""
    evaluations: float
    """Evaluations of the inner synapses, relative to semi-implicit Euler with 6 unfolds."""
    forward_time: float | None
    """Time of a forward pass on the kernel, in the same relation; None without a kernel."""


def measure_accuracy(rounds: int) -> list[Accuracy]:
    """Compare each integrator with SciPy's DOP853 (rtol 1e-10) on untrained circuits, in double.

    Inputs are uniform in [0, 1] and held for a frame of 1/30 s; first potentials are uniform
    in [-0.5, 0.5].
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(NUM_CIRCUITS, 1, FRAMES, 32, generator=generator, dtype=torch.double)
    states = torch.rand(NUM_CIRCUITS, 1, 19, generator=generator, dtype=torch.double) - 0.5
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = [LTC(NCP19).double().state_dict() for _ in range(NUM_CIRCUITS)]
    cells = {solver: _cell(*solver) for solver in SOLVERS}
    errors: dict[tuple[str, int], list[Tensor]] = {solver: [] for solver in SOLVERS}
    for weight, own_inputs, state in zip(weights, inputs, states, strict=True):
        cells[SOLVERS[0]].load_state_dict(weight)
        exact = torch.stack(list(_exact_states(cells[SOLVERS[0]], own_inputs, state)), dim=1)
        for solver, cell in cells.items():
            cell.load_state_dict(weight)
            errors[solver].append((_unroll(cell, own_inputs, state) - exact).abs())
    times = _forward_times(rounds)
    return [
        Accuracy(
            integrator=solver[0],
            unfolds=solver[1],
            frame_error=torch.stack(error)[..., 0, :].mean().item(),
            motor_error=torch.stack(error)[..., -1, -1].mean().item(),
            evaluations=_evaluations(cells[solver]) / _evaluations(cells[SOLVERS[0]]),
            forward_time=times.get(solver),
        )
        for solver, error in errors.items()
    ]


def _cell(integrator: str, unfolds: int) -> LTC:
    return LTC(NCP19, integrator=integrator, unfolds=unfolds).double()


@torch.no_grad()
def _unroll(cell: LTC, inputs: Tensor, state: Tensor) -> Tensor:
    dt_s = torch.full(inputs.shape[:2], cell.frame_s, dtype=inputs.dtype)
    return cell.unroll(inputs, state, dt_s, None)


@torch.no_grad()
def _exact_states(cell: LTC, inputs: Tensor, state: Tensor) -> Iterator[Tensor]:
    """Solve C dv/dt = b − a v frame by frame."""
    for frame in inputs.unbind(1):
        membrane = cell.membrane(frame)
        capacitance_s = membrane.capacitance_s

        def rate(_time: float, v: np.ndarray, membrane=membrane, c=capacitance_s) -> np.ndarray:
            potential = torch.from_numpy(v)[None]
            conductance, drive = membrane.conductance_and_drive(potential)
            return ((drive - conductance * potential) / c)[0].numpy()

        solution = solve_ivp(
            rate, (0.0, cell.frame_s), state[0].numpy(), "DOP853", rtol=1e-10, atol=1e-12
        )
        state = torch.from_numpy(solution.y[:, -1].copy())[None]
        yield state


def _evaluations(cell: LTC) -> float:
    """Count how many inner synapses a frame evaluates, in units of all of them."""
    if cell.integrator != "layered_midpoint":
        return cell.unfolds * (4 if cell.integrator == "rk4" else 1)
    per_layer = [x.synapses.stop - x.synapses.start for x in cell.layers]
    twice = sum(n for n, x in zip(per_layer, cell.layers, strict=True) if x.is_recurrent)
    return cell.unfolds * (sum(per_layer) + twice) / sum(per_layer)


def _forward_times(rounds: int) -> dict[tuple[str, int], float]:
    inputs = torch.rand(64, 32, 32)

    def forward(circuit: Circuit) -> None:
        with torch.inference_mode():
            circuit(inputs)

    solvers = [solver for solver in SOLVERS if solver[0] in FUSED]
    circuits = [Circuit(_cell(*solver).float()) for solver in solvers]
    actions = {str(k): (lambda c=circuit: forward(c)) for k, circuit in enumerate(circuits)}
    rows = measure("forward", actions, rounds, 1)
    return {solver: 1 / row.ratio for solver, row in zip(solvers, rows, strict=True)}


def accuracy_table(accuracies: list[Accuracy]) -> str:
    """Return the table of integrators."""
    rows = [
        [
            row.integrator,
            str(row.unfolds),
            f"{row.frame_error:.1e}",
            f"{row.motor_error:.1e}",
            f"{row.evaluations:.2f}",
            "" if row.forward_time is None else f"{row.forward_time:.2f}",
        ]
        for row in accuracies
    ]
    header = ["integrator", "unfolds", "error, one frame", "error of the motor, 12 frames"]
    header += ["evaluations", "forward time"]
    title = "### Error against DOP853 (rtol 1e-10), cost relative to semi-implicit Euler 6"
    return f"{title}\n\n{markdown_table(header, rows)}"


def saved_bytes(module: nn.Module, inputs: Tensor) -> float:
    """Return what autograd keeps of a forward pass, in bytes a sample and step.

    Parameters and buffers do not count, the inputs do.
    """
    own_tensors = [*module.parameters(), *module.buffers()]
    known = {tensor.untyped_storage().data_ptr() for tensor in own_tensors}
    kept: dict[int, int] = {}
    inputs = inputs.clone().requires_grad_()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output: Any = module(inputs)  # holds the storages, so that no address is used twice
    assert output is not None
    return sum(kept.values()) / (inputs.shape[0] * inputs.shape[1])


def memory_table(bytes_of: dict[str, float]) -> str:
    """Return the table of what autograd keeps."""
    rows = [[name, f"{number:,.0f}"] for name, number in bytes_of.items()]
    title = "### Kept for the backward pass, batch 64 x 32 frames"
    return f"{title}\n\n{markdown_table(['who', 'bytes a sample and step'], rows)}"


def first_use_seconds() -> dict[str, float]:
    """Return medians of what the first use costs [s]: compiling, and importing beside torch."""
    times: dict[str, list[float]] = {"compile float32": [], "compile float64": []}
    times |= {"import torch": [], "import ncp_control, after torch": []}
    for _ in range(3):
        for bits in (32, 64):
            with (
                tempfile.TemporaryDirectory() as folder,
                mock.patch.dict(os.environ, XDG_CACHE_HOME=folder),
            ):
                start = time.perf_counter()
                build.load_library(bits)
                times[f"compile float{bits}"].append(time.perf_counter() - start)
        torch_s, own_s = _import_seconds()
        times["import torch"].append(torch_s)
        times["import ncp_control, after torch"].append(own_s)
    return {name: statistics.median(values) for name, values in times.items()}


def _import_seconds() -> tuple[float, float]:
    program = (
        "import time; a = time.perf_counter(); import torch; b = time.perf_counter();"
        " import ncp_control; print(b - a, time.perf_counter() - b)"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    torch_s, own_s = map(float, result.stdout.split())
    return torch_s, own_s


def first_use_table(seconds: dict[str, float]) -> str:
    """Return the table of what the first use costs."""
    rows = [[name, f"{number:.2f}"] for name, number in seconds.items()]
    return f"### First use\n\n{markdown_table(['what', '[s]'], rows)}"
