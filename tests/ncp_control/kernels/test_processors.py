"""The kernel's source computes the same on other processors: cross-compiled, and emulated."""

import platform
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ncp_control import LTC, NCP19
from ncp_control.kernels import build
from ncp_control.kernels.dispatch import layer_bounds
from ncp_control.kernels.native import _ARRAYS, INTEGRATORS, PARAMETER_NAMES

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


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "tolerance"), [(32, 5e-6), (64, 1e-12)])
def test_sequences_gradients_and_steps_are_those_of_the_reference(
    target, bits, tolerance, tmp_path, tools
):
    program = tmp_path / "run_sequence"
    flags = [f for f in build.FLAGS if f not in ("-shared", "-fPIC")]
    flags += [*build.MATHS_FLAGS, *target.flags, f"-DREAL_BITS={bits}", "-Wall", "-Werror"]
    include = f"-I{build.SOURCE_FOLDER}"
    command = [target.compiler, *flags, include, str(DRIVER), "-o", str(program), "-lm"]
    subprocess.run(command, check=True)
    dtype = torch.float32 if bits == 32 else torch.float64
    for options in OPTIONS:
        cell = tools.randomised(LTC(NCP19, **options)).to(dtype)
        check(cell, [*target.emulator, str(program)], tolerance, tools)


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
    message = struct.pack("10qd", *sizes, cell.frame_s)
    for name in _ARRAYS:
        content = arrays[name].tobytes() if name in arrays else b""
        message += struct.pack("q", len(content)) + content
    answer = subprocess.run(command, input=message, capture_output=True, check=True).stdout
    found, start = {}, 0
    for name in (name for name in _ARRAYS if name in arrays):
        array = arrays[name]
        content = answer[start : start + array.nbytes]
        found[name] = np.frombuffer(content, array.dtype).reshape(array.shape)
        start += array.nbytes
    return found | {"step": np.frombuffer(answer[start:], real)}
