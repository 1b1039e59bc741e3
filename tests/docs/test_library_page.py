"""The code of "Use it as a library" runs in order, in an empty folder, without a clone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_tutorials import BLOCK, ROOT

PAGE = ROOT / "docs/how-to/library.md"
RUN_BASH = "import subprocess; subprocess.run(['bash', '-euc', {code!r}], check=True)\n"
FOREIGN = ("envs", "policies", "scripts", "examples", "cv2", "gymnasium", "mujoco")
"""Packages that the wheel, installed alone, does not bring."""


def program():
    """Return the blocks of the page as one program of Python that runs those of bash as well."""
    blocks = BLOCK.findall(PAGE.read_text())
    parts = [code if of == "python" else RUN_BASH.format(code=code) for of, code in blocks]
    check = f"import sys; print('foreign:', sorted(set({FOREIGN!r}) & set(sys.modules)))\n"
    return "\n".join([*parts, check])


@pytest.fixture
def folder(tmp_path):
    """Return an empty folder, and beside it a folder with the command `ncp`."""
    (tmp_path / "bin").mkdir()
    ncp = tmp_path / "bin/ncp"
    ncp.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ncp_control.commands.ncp "$@"\n')
    ncp.chmod(0o755)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_the_code_of_the_page_runs_in_order(folder):
    for package in ("ncps", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    path = os.pathsep.join([str(folder.parent / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert "LTC(inputs=2, neurons=16, outputs=1, frame_s=0.05)" in printed
    error, variance = (
        float(printed.split(name)[1].split()[0].strip(","))
        for name in ("error ", "variance of the target ")
    )
    assert error < 0.3 * variance  # it has learned
    assert "bounds: never violated in 100 frames" in printed and "of my data" in printed
    assert "foreign: []" in printed
    made = {str(file.relative_to(folder)) for file in Path(folder).rglob("*.*")}
    assert {"neurons.html", "firmware/controller.c", "firmware/controller.onnx"} <= made
