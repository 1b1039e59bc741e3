"""Kernels that a wheel brings: who gets which level, and that each gives what torch gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ncp_control.kernels import build, prebuilt

ROOT = Path(__file__).parents[3]
V2 = prebuilt.FEATURES["x86-64-v2"]
V3 = V2 | prebuilt.FEATURES["x86-64-v3"]
V4 = V3 | prebuilt.FEATURES["x86-64-v4"]
RUN = """
import sys
from pathlib import Path
from ncp_control.kernels import prebuilt
prebuilt.FOLDER = Path(sys.argv[1])
chosen = sys.argv[2]
prebuilt.usable_levels = lambda: [chosen]
sys.argv = sys.argv[:1]
exec(Path("tests/wheel_without_compiler.py").read_text())
"""


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (V4 | {"sse3"}, ["x86-64-v4", "x86-64-v3", "x86-64-v2"]),
        (V4 - {"avx512bw"}, ["x86-64-v3", "x86-64-v2"]),
        (V4 - {"fma"}, ["x86-64-v2"]),
        (V2 - {"popcnt"}, []),
        (frozenset(), []),
    ],
)
def test_a_processor_gets_the_levels_that_it_has(monkeypatch, features, expected):
    monkeypatch.setattr(prebuilt.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(prebuilt, "_features", lambda: frozenset(features))
    assert prebuilt.usable_levels() == expected


def test_other_families_have_one_level_or_none(monkeypatch):
    for machine, expected in (("arm64", ["armv8-a"]), ("aarch64", ["armv8-a"]), ("riscv64", [])):
        monkeypatch.setattr(prebuilt.platform, "machine", lambda told=machine: told)
        assert prebuilt.usable_levels() == expected
    with pytest.raises(build.BuildError, match="no levels for processors of the kind 'riscv64'"):
        prebuilt.compile_all(Path("never made"))


def test_a_clone_brings_none_and_a_damaged_one_is_passed_over(monkeypatch, tmp_path):
    assert prebuilt.load(32) is None
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path)
    monkeypatch.setattr(prebuilt, "usable_levels", lambda: ["any"])
    (tmp_path / prebuilt.file_name("any", 32)).write_bytes(b"not a library")
    assert prebuilt.load(32) is None


@pytest.mark.slow
def test_every_level_gives_what_torch_gives(tmp_path):
    try:
        made = prebuilt.compile_all(tmp_path / "prebuilt")
    except build.BuildError as error:
        pytest.skip(str(error))
    levels = prebuilt.usable_levels()
    assert levels and len(made) >= 2 * len(levels)
    for level in levels:
        told = subprocess.run(
            [sys.executable, "-c", RUN, str(tmp_path / "prebuilt"), level],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            text=True,
            capture_output=True,
            cwd=ROOT,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        assert f"kernels of the wheel: {level}" in told.stdout
