"""The kernels compute the same on other processors: compiled for them, and emulated."""

import platform
import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ncp_control import LTC, NCP19
from ncp_control.cells import Cell
from ncp_control.kernels import build, dense_op
from ncp_control.kernels.dispatch import layer_bounds
from ncp_control.kernels.native import (
    _ARRAYS,
    _DENSE_ARRAYS,
    INTEGRATORS,
    PARAMETER_NAMES,
    DenseSequenceStruct,
)
from tests.ncp_control.kernels.dense_cells import CELLS, randomised

DRIVER = Path(__file__).parent / "run_sequence.c"


@dataclass(frozen=True)
class Target:
    """How to compile for a processor, and how to run the result here."""

    compiler: str
    flags: tuple[str, ...]
    emulator: tuple[str, ...] = ()
    machine: str | None = None
    """What `platform.machine` must say, if anything."""


TARGETS = {
    "any x86-64": Target("cc", ("-march=x86-64",), machine="x86_64"),
    "AVX2": Target("cc", ("-march=x86-64-v3",), machine="x86_64"),
    "ARM64": Target("aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64-static",)),
    "ARM64, newer": Target(
        "aarch64-linux-gnu-gcc", ("-static", "-march=armv8.2-a"), ("qemu-aarch64-static",)
    ),
}


@pytest.fixture(scope="module", params=TARGETS)
def target(request) -> Target:
    target = TARGETS[request.param]
    if target.machine not in (None, platform.machine()):
        pytest.skip(f"this processor is {platform.machine()}, not {target.machine}")
    for program in (target.compiler, *target.emulator):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    return target


OPTIONS = ({}, {"integrator": "layered_midpoint", "unfolds": 2})


PRECISIONS = pytest.mark.parametrize(("bits", "tolerance"), [(32, 5e-6), (64, 1e-12)])


def compile_driver(target: Target, bits: int, folder: Path, *options: str) -> list[str]:
    """Return the command that runs the driver."""
    program = folder / "run_sequence"
    flags = [f for f in build.FLAGS if f not in ("-shared", "-fPIC")]
    flags += [*build.MATHS_FLAGS, *target.flags, f"-DREAL_BITS={bits}", "-Wall", "-Werror"]
    include = f"-I{build.SOURCE_FOLDER}"
    command = [target.compiler, *flags, *options, include, str(DRIVER), "-o", str(program), "-lm"]
    subprocess.run(command, check=True)
    return [*target.emulator, str(program)]


@pytest.mark.slow
@PRECISIONS
def test_sequences_gradients_and_steps_are_those_of_the_reference(
    target, bits, tolerance, tmp_path, tools
):
    command = compile_driver(target, bits, tmp_path)
    dtype = torch.float32 if bits == 32 else torch.float64
    for options in OPTIONS:
        cell = tools.randomised(LTC(NCP19, **options)).to(dtype)
        check(cell, command, tolerance, tools)


@pytest.mark.slow
@PRECISIONS
def test_dense_cells_are_those_of_the_reference(target, bits, tolerance, tmp_path, tools):
    command = compile_driver(target, bits, tmp_path, "-DDENSE")
    dtype = torch.float32 if bits == 32 else torch.float64
    for make in CELLS.values():
        cell = randomised(make()).to(dtype)
        for batch, steps in ((1, 1), (32, 5), (19, 18)):
            sequence = tools.random_sequence(cell, batch, steps, dtype)
            check_dense(cell, sequence, command, tolerance)


def check_dense(cell: Cell, s: dict[str, Tensor], command: list[str], tolerance: float) -> None:
    """Compare what the program finds with what plain torch and autograd find."""
    program, leaves = cell.program(), [s["inputs"], s["state"], *cell.parameters()]
    assert program is not None
    for leaf in leaves:
        leaf.requires_grad_()
    states = cell._loop(**s)
    bar = torch.randn_like(states)
    expected = [states, *torch.autograd.grad(states, leaves, bar, allow_unused=True)]
    pieces = [piece for matrix in program.matrices for piece in matrix]
    arguments = dense_op.DenseArguments(
        s["inputs"].detach(),
        s["state"].detach(),
        s["dt_s"] / cell.frame_s,
        torch.cat([piece.detach().reshape(-1) for piece in pieces]),
        s["reset"],
        program.wiring,
        dense_op.KINDS.index(program.kind),
        program.shapes(),
        list(program.options),
    )
    sequence, _ = arguments.sequence()
    sequence.threads = 2
    given = arguments._asdict() | {"shape": torch.tensor(arguments.shapes), "states_bar": bar}
    results = {f"{name}_bar": given[name] for name in ("input", "state", "frames", "weights")}
    results |= {"states": bar, "tape": bar.new_empty(arguments.tape_length())}
    given |= {name: torch.zeros_like(like) for name, like in results.items()}
    arrays = {
        name: None if given[name] is None else given[name].contiguous().numpy()
        for name in _DENSE_ARRAYS
    }
    sizes = bytes(sequence)[: DenseSequenceStruct.shape.offset]
    found = {k: torch.tensor(x) for k, x in exchange(command, sizes, arrays)[0].items()}
    parts = found["weights_bar"].split([piece.numel() for piece in pieces])
    bars = [part.view_as(piece) for part, piece in zip(parts, pieces, strict=True)]
    of_parameters = torch.autograd.grad(pieces, leaves[2:], bars, allow_unused=True)
    names = ["states", "input_bar", "state_bar", *dict(cell.named_parameters())]
    values = [*(found[name] for name in names[:3]), *of_parameters]
    for name, value, wanted in zip(names, values, expected, strict=True):
        if value is None or wanted is None:
            assert value is None and wanted is None, name
            continue
        scale = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(
            value / scale, wanted / scale, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def check(cell: LTC, command: list[str], tolerance: float, tools) -> None:
    """Compare what the program finds with what plain torch and autograd find."""
    s = tools.random_sequence(cell, 19, 5, cell.slope.dtype)
    leaves = {"input": s["inputs"], "state": s["state"], "dt_s": s["dt_s"]}
    leaves |= {name: getattr(cell, name) for name in PARAMETER_NAMES}
    for leaf in leaves.values():
        leaf.requires_grad_()
    states, output = tools.by_reference(cell, **s)
    bars = torch.randn_like(states), torch.randn_like(output)
    gradients = torch.autograd.grad((states, output), list(leaves.values()), bars)
    given = {name: leaf.detach() for name, leaf in leaves.items()}
    given |= {"states_bar": bars[0], "output_bar": bars[1]}
    given |= {name: getattr(cell, name) for name in ("source", "target", "sign")}
    given |= {"reset": s["reset"], "layer": torch.tensor(layer_bounds(cell))}
    expected = {"states": states, "output": output}
    expected |= {f"{name}_bar": g for name, g in zip(leaves, gradients, strict=True)}
    found = run(command, cell, given, expected)
    for name, value in expected.items():
        scale = max(1.0, value.abs().max().item())
        np.testing.assert_allclose(
            found[name] / scale, value.detach().numpy() / scale, 0, tolerance, err_msg=name
        )
    first = {name: s[name][:1, :1] for name in ("inputs", "dt_s")}
    after, _ = tools.by_reference(cell, **first, state=s["state"][:1], reset=None)
    np.testing.assert_allclose(found["step"], after[0, 0].detach().numpy(), 0, tolerance)


def run(
    command: list[str], cell: LTC, given: dict[str, Tensor], results: dict[str, Tensor]
) -> dict[str, np.ndarray]:
    """Run the program on a sequence and return the arrays it filled."""
    batch, steps, inputs = given["input"].shape
    real = given["input"].numpy().dtype
    arrays = {name: value.contiguous().numpy() for name, value in given.items()}
    arrays |= {name: np.zeros(tuple(value.shape), real) for name, value in results.items()}
    # More than the kernel's tape needs on any processor.
    arrays["tape"] = np.zeros(8 * cell.state_size * cell.unfolds * (batch + 16) * steps, real)
    sizes = (batch, steps, inputs, cell.state_size, len(cell.slope), len(cell.layers))
    sizes += (cell.output_size, cell.unfolds, INTEGRATORS.index(cell.integrator), 2)
    packed = struct.pack("10qd", *sizes, cell.frame_s)
    found, rest = exchange(command, packed, {name: arrays.get(name) for name in _ARRAYS})
    return found | {"step": np.frombuffer(rest, real)}


def exchange(
    command: list[str], sizes: bytes, arrays: Mapping[str, np.ndarray | None]
) -> tuple[dict[str, np.ndarray], bytes]:
    """Hand a structure to the program; return its arrays afterwards, and what comes behind them."""
    message = sizes
    for array in arrays.values():
        content = b"" if array is None else array.tobytes()
        message += struct.pack("q", len(content)) + content
    answer = subprocess.run(command, input=message, capture_output=True, check=False)
    assert answer.returncode == 0, (answer.returncode, answer.stderr[-4000:].decode())
    found, start = {}, 0
    for name, array in arrays.items():
        if array is not None:
            content = answer.stdout[start : start + array.nbytes]
            found[name] = np.frombuffer(content, array.dtype).reshape(array.shape)
            start += array.nbytes
    return found, answer.stdout[start:]
