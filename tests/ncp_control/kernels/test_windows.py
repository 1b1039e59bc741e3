"""Kernels for Windows: cross-compiled by MinGW-w64, and run under Wine beside those for Linux."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ncp_control.kernels import build, prebuilt

MINGW = "x86_64-w64-mingw32-gcc"
WINE = shutil.which("wine64") or shutil.which("wine64", path="/usr/lib/wine")
PROGRAM = Path(__file__).parent / "run_kernels.c"
OPTIONS = ["-std=gnu11", "-DREAL_BITS=32", f"-I{build.SOURCE_FOLDER}"]


def run(command, folder):
    environment = os.environ | {"WINEPREFIX": str(folder / "wine"), "WINEDEBUG": "-all"}
    # Into files: Wine's services outlive the program, and would keep a pipe open.
    printed = folder / "printed"
    with printed.open("wb") as out, (folder / "complaints").open("wb") as err:
        subprocess.run(command, stdout=out, stderr=err, check=True, env=environment, timeout=300)
    lines = (line.split() for line in printed.read_text().splitlines())
    return {(i, words[0]): [float.fromhex(w) for w in words[1:]] for i, words in enumerate(lines)}


@pytest.mark.slow
def test_a_library_for_windows_computes_what_one_for_linux_does(tmp_path):
    if shutil.which(MINGW) is None or WINE is None:
        pytest.skip("cross-compiling for Windows needs MinGW-w64, and running it Wine")
    subprocess.run(["gcc", *OPTIONS, PROGRAM, "-o", tmp_path / "here", "-ldl"], check=True)
    subprocess.run([MINGW, *OPTIONS, PROGRAM, "-o", tmp_path / "there.exe"], check=True)
    for level in prebuilt.usable_levels():
        libraries = tmp_path / f"{level}.so", tmp_path / f"{level}.dll"
        build.compile_to(libraries[0], 32, (f"-march={level}",))
        build.compile_to(libraries[1], 32, (f"-march={level}",), compiler=[MINGW], system="win32")
        here = run([tmp_path / "here", libraries[0]], tmp_path)
        there = run([WINE, tmp_path / "there.exe", libraries[1]], tmp_path)
        assert here.keys() == there.keys()
        assert len(here) == 12
        for name, values in here.items():
            assert any(values), name
            assert there[name] == pytest.approx(values, rel=1e-5, abs=1e-6), name
