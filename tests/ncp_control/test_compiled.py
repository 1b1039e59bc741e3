"""Compiled circuits: their precision, their check of times, and transforms inside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the shape checks that the other tests switch on cannot be compiled.
BEGIN = """
import torch
from ncp_control import LTC, NCP19, CfC, Circuit, fully_connected
compile = lambda run: torch.compile(run, fullgraph=True, backend="aot_eager")
"""

PRECISION = """
for cell in (LTC(NCP19, unfolds=1), CfC(32, 4, 1)):
    for dtype in (torch.bfloat16, torch.float16):
        circuit, inputs = Circuit(cell).to(dtype), torch.randn(2, 1, 32)
        assert torch.equal(compile(circuit)(inputs)[0], circuit(inputs)[0])
        assert all(isinstance(p, torch.nn.Parameter) for p in circuit.parameters())
"""

TIMES = """
for cell in (LTC(NCP19, unfolds=1), CfC(32, 4, 1)):
    circuit, inputs = Circuit(cell), torch.randn(2, 1, 32)
    compiled, dt_s = compile(circuit), torch.full((2, 1), 0.1)
    for good in (0.1, 0.0):
        dt_s[1] = good
        torch.testing.assert_close(compiled(inputs, dt_s=dt_s), circuit(inputs, dt_s=dt_s))
    for bad in (-0.1, torch.nan, torch.inf):
        dt_s[1] = bad
        try:
            compiled(inputs, dt_s=dt_s)
        except RuntimeError as error:
            assert "`dt_s` must be a finite time >= 0 in seconds" in str(error), error
        else:
            raise AssertionError(f"{bad} passed")
"""

TRANSFORMS = """
circuit, inputs = Circuit(LTC(fully_connected(3, 2, 1), unfolds=1)), torch.randn(2, 1, 2, 3)
gradient = torch.func.grad(lambda x: circuit(x)[0].sum())
for run, argument in ((gradient, inputs[0]), (torch.func.vmap(gradient), inputs)):
    torch.testing.assert_close(compile(run)(argument), run(argument))
run = torch.func.vmap(lambda x: circuit(x)[0])
torch.testing.assert_close(compile(run)(inputs), run(inputs))
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [PRECISION, TIMES, TRANSFORMS])
def test_a_compiled_circuit_does_what_the_circuit_does(script):
    root = Path(__file__).parents[2]
    process = subprocess.run(
        [sys.executable, "-c", BEGIN + script],
        env=os.environ | {"PYTHONPATH": str(root)},
        text=True,
        capture_output=True,
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
