"""Compiling on first use: the cache, and everything that can go wrong with it.

What a process does only once, or what must not happen in this one, is run in another process.
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ncp_control import LTC, NCP19
from ncp_control.kernels import build
from ncp_control.kernels.dispatch import run_ltc
from ncp_control.kernels.native import Library

ROOT = Path(__file__).parents[3]

RUN = """
import sys, torch, warnings
from ncp_control import LTC, NCP19
from ncp_control.cells import Cell
from ncp_control.kernels.dispatch import run_ltc
torch.manual_seed(0)
cell = LTC(NCP19)
s = (torch.randn(20, 5, 32), torch.zeros(20, 19), torch.full((20, 5), 0.03), None)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    cell.unroll(*s), cell.double().unroll(*(x if x is None else x.double() for x in s))
    cell.float()
for warning in caught:
    print("warning:", warning.message)
run = run_ltc(cell, *s)
if run is None:
    print("ran on the reference")
else:
    torch.testing.assert_close(run[0], Cell.unroll(cell, *s), rtol=0, atol=5e-6)
    print("ran on the kernel")
"""


def run(script: str, **environment: str) -> str:
    """Run a script in another process and return what it printed."""
    process = subprocess.run([sys.executable, "-c", script], **process_options(environment))
    assert process.returncode == 0, process.stderr
    return process.stdout


def process_options(environment: dict[str, str]) -> dict:
    values = {k: v for k, v in os.environ.items() if k not in ("CC", "NCP_CONTROL_KERNELS")}
    values |= {"PYTHONPATH": str(ROOT)} | environment
    return {"env": values, "text": True, "capture_output": True, "cwd": ROOT}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; returns the folder that libraries appear in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return build.cache_folder()


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A cache that holds the float library."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        build.load_library(32)
    return home


@pytest.fixture
def filled(built, cache) -> Path:
    shutil.copytree(built, cache.parents[1], dirs_exist_ok=True)
    return next(cache.glob("*.so"))


@pytest.fixture
def quick(built, monkeypatch) -> None:
    """Let the compiler's work be a copy of what it made before."""
    whole, run_really = next(built.rglob("*.so")).read_bytes(), build._run

    def copy(command):
        if "-o" not in command:
            return run_really(command)
        Path(command[command.index("-o") + 1]).write_bytes(whole)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(build, "_run", copy)


def forbid_compiling(monkeypatch) -> None:
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))


def test_the_second_process_finds_the_library(filled, monkeypatch):
    forbid_compiling(monkeypatch)
    assert Library(build.load_library(32))


@pytest.mark.parametrize("change", ["FLAGS", "source", "compiler"])
def test_another_source_flag_or_compiler_is_another_library(change, filled, tmp_path, monkeypatch):
    def compiled(*_):
        raise build.BuildError("compiled")

    if change == "FLAGS":
        monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    elif change == "source":
        shutil.copytree(build.SOURCE_FOLDER, tmp_path / "sources")
        monkeypatch.setattr(build, "SOURCE_FOLDER", tmp_path / "sources")
        header = tmp_path / "sources" / "vector.h"
        header.write_text(header.read_text() + "/* changed */")
    else:
        monkeypatch.setenv("CC", f"{shutil.which('cc')} -DUNUSED")
    monkeypatch.setattr(build, "_compile", compiled)
    with pytest.raises(build.BuildError, match="compiled"):
        build.load_library(32)


@pytest.mark.parametrize("size", [0, 100, None])
def test_a_damaged_library_is_built_again_with_a_warning(size, filled, quick):
    whole = filled.read_bytes()
    filled.write_bytes(whole[: len(whole) // 2] + b"x" if size is None else whole[:size])
    with pytest.warns(RuntimeWarning, match="is damaged .* It is built again"):
        assert Library(build.load_library(32))
    assert filled.read_bytes() == whole


def test_without_a_writable_cache_a_temporary_folder_serves(tmp_path, quick, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.warns(RuntimeWarning, match="cannot be kept in .* Set XDG_CACHE_HOME"):
        assert Library(build.load_library(32))
    assert not list((tmp_path / "temporary").iterdir())


def test_without_any_folder_to_build_in_the_build_fails(cache, monkeypatch):
    def refuse(**_):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(build.tempfile, "TemporaryDirectory", refuse)
    monkeypatch.setattr(build, "cache_folder", lambda: None)
    with pytest.raises(build.BuildError, match="no folder to build in: No usable temporary"):
        build.load_library(32)


def test_a_cache_folder_that_vanishes_is_done_without(cache, quick, monkeypatch):
    compile_in = build._compile

    def vanish(compiler, bits, choices, folder, key):
        if folder == cache:
            shutil.rmtree(folder)
        return compile_in(compiler, bits, choices, folder, key)

    monkeypatch.setattr(build, "_compile", vanish)
    assert Library(build.load_library(32))


@pytest.mark.parametrize("which", ["kernels", "ncp-control"])
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_that_others_can_write_to_is_not_used(
    which, mode, filled, cache, quick, monkeypatch
):
    folder = cache if which == "kernels" else cache.parent
    folder.chmod(mode)
    loaded = []
    monkeypatch.setattr(build, "_load_checked", loaded.append)
    with pytest.warns(
        RuntimeWarning, match=f"another user can write to .*{which}. Run `chmod go-w"
    ):
        assert Library(build.load_library(32))
    assert not loaded and list(cache.iterdir()) == [filled]


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_library_that_others_can_write_to_is_built_again(mode, filled, quick):
    filled.chmod(mode)
    assert Library(build.load_library(32))
    assert filled.stat().st_mode & 0o777 == 0o755


needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"
)


@needs_root
@pytest.mark.parametrize("what", ["library", "folder"])
def test_what_belongs_to_another_user_is_left_alone(what, filled, cache, quick, monkeypatch):
    filled.write_bytes(b"another user's")
    os.chown(filled if what == "library" else cache, 12345, -1)
    opened = []
    monkeypatch.setattr(build, "_digest", lambda path: opened.append(path) or "0" * 24)
    if what == "folder":
        with pytest.warns(RuntimeWarning, match="another user can write to"):
            assert Library(build.load_library(32))
    else:
        assert Library(build.load_library(32))
    assert filled.read_bytes() == b"another user's" and filled not in opened


@needs_root
def test_what_belongs_to_root_serves_every_user(filled, monkeypatch):
    monkeypatch.setattr(build.os, "geteuid", lambda: 12345)
    forbid_compiling(monkeypatch)
    assert Library(build.load_library(32))


def test_libraries_can_be_read_by_others_whatever_the_umask(cache, quick):
    before = os.umask(0o002)
    try:
        build.load_library(32)
    finally:
        os.umask(before)
    paths = [next(cache.iterdir()), cache, cache.parent]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o755] * 3


@pytest.mark.parametrize("home", ["absolute", "relative", "~/.cache", ""])
def test_only_an_absolute_cache_home_counts(home, tmp_path, monkeypatch):
    monkeypatch.setattr(build.sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path) if home == "absolute" else home)
    base = tmp_path if home == "absolute" else Path("/home/somebody/.cache")
    assert build.cache_folder() == base / "ncp-control" / "kernels"


def test_without_a_home_there_is_no_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "relative")
    assert build.cache_folder() is None


@pytest.mark.parametrize("value", ["'gcc", '"', "", "  ", "''", "no-such-compiler", "/tmp", "-O2"])
def test_a_compiler_variable_that_names_no_program_is_passed_over(value, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    expected = build.find_compiler()
    monkeypatch.setenv("CC", value)
    assert build.find_compiler() == expected


def test_a_library_that_the_system_does_not_load_is_a_failed_build(cache, monkeypatch):
    def refuse(path):
        raise OSError(f"{path}: failed to map segment from shared object")  # on a noexec disk

    monkeypatch.setattr(build.ctypes, "CDLL", refuse)
    with pytest.raises(build.BuildError, match="failed to map segment.* Set XDG_CACHE_HOME"):
        build.load_library(32)


@pytest.mark.slow
def test_processes_that_build_at_once_do_not_disturb_each_other(cache, tmp_path):
    options = process_options({"XDG_CACHE_HOME": str(tmp_path)})
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    del options["capture_output"]
    processes = [subprocess.Popen([sys.executable, "-c", RUN], **options) for _ in range(2)]
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert output == "ran on the kernel\n", errors
    assert sorted(path.name.split("-")[0] for path in cache.iterdir()) == ["ltc32", "ltc64"]


def test_a_library_appears_whole_and_at_once(cache, quick, monkeypatch):
    renamed = []

    def replace(source, target):
        assert Path(source).parent == Path(target).parent and not Path(target).exists()
        renamed.append(build._digest(Path(source)))
        os.rename(source, target)

    monkeypatch.setattr(build.os, "replace", replace)
    build.load_library(32)
    assert [path.stem.rsplit("-", 1)[1] for path in cache.iterdir()] == renamed


def test_a_killed_build_leaves_nothing_that_is_loaded_or_stays(cache, quick):
    cache.mkdir(parents=True)
    old, fresh = cache / "building-old.so", cache / "building-new.so"
    for path in (old, fresh):
        path.write_bytes(b"half a library")
    hours_ago = time.time() - 2 * build.STALE_S
    os.utime(old, (hours_ago, hours_ago))
    assert Library(build.load_library(32))
    assert not old.exists() and fresh.exists()


def test_a_whole_library_that_this_system_does_not_load_stays(filled, monkeypatch):
    def refuse(path):
        if path == str(filled):
            raise OSError("version `GLIBC_2.99' not found")
        return path

    monkeypatch.setattr(build.ctypes, "CDLL", refuse)
    monkeypatch.setattr(build, "_compile", lambda *_: Path("built again"))
    assert build.load_library(32) == "built again"
    assert filled.exists()


@pytest.mark.parametrize("fault", ["fails", "missing", "hangs up"])
def test_without_a_working_compiler_one_warning_and_the_reference(fault, tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'fatal error: stdint.h: No such file' >&2\nexit 1\n")
    compiler.chmod(0o755 if fault == "fails" else 0o644)
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "CC": str(compiler)}
    if fault != "fails":
        environment |= {"PATH": str(tmp_path), "CC": ""}
    if fault == "hangs up":
        compiler.write_bytes(b"no program")
        compiler.chmod(0o755)
    *warnings, where = run(RUN, **environment).splitlines()
    assert where == "ran on the reference"
    assert len(warnings) == 1 and "gcc or clang" in warnings[0], warnings
    assert fault != "fails" or "stdint.h" in warnings[0]


def test_the_switch_chooses_the_reference_and_builds_nothing(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path), "NCP_CONTROL_KERNELS": "reference"}
    assert run(RUN, **environment) == "ran on the reference\n"
    assert not list(tmp_path.iterdir())


def test_an_unknown_choice_is_refused(monkeypatch):
    monkeypatch.setenv("NCP_CONTROL_KERNELS", "fast")
    with pytest.raises(ValueError, match="must be 'auto', 'build' or 'reference', got 'fast'"):
        LTC(NCP19).unroll(torch.zeros(1, 1, 32), torch.zeros(1, 19), torch.zeros(1, 1), None)


def test_an_import_builds_nothing(tmp_path):
    run("import ncp_control; ncp_control.LTC(ncp_control.NCP19)", XDG_CACHE_HOME=str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names an x86-64 processor")
@pytest.mark.parametrize("processor", ["x86-64", "haswell"])
def test_generic_vectors_compute_the_same(processor, cache):
    if processor == "haswell" and "avx2" not in build._processor():
        pytest.skip("this processor has no AVX2")
    assert run(GENERIC.format(flag=f"-march={processor}")) == "agrees\n"


GENERIC = """
import torch
from ncp_control.kernels import build
build.PROCESSOR_FLAGS = (("{flag}",),)
from ncp_control import LTC, NCP19
from ncp_control.cells import Cell
from ncp_control.kernels.dispatch import run_ltc
from ncp_control.kernels.step import FusedStep
torch.manual_seed(0)
for name, unfolds in (("semi_implicit_euler", 6), ("layered_midpoint", 2)):
    for dtype, tolerance in ((torch.float32, 5e-6), (torch.float64, 1e-12)):
        cell = LTC(NCP19, integrator=name, unfolds=unfolds).to(dtype)
        x, v = torch.randn(21, 6, 32, dtype=dtype), torch.zeros(21, 19, dtype=dtype)
        dt_s = torch.full((21, 6), 0.03, dtype=dtype)
        found, _ = run_ltc(cell, x, v, dt_s, None)
        expected = Cell.unroll(cell, x, v, dt_s, None)
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
        found_bar, expected_bar = (
            torch.autograd.grad(y.square().sum(), cell.raw_weight)[0] for y in (found, expected)
        )
        scale = expected_bar.abs().max()
        torch.testing.assert_close(found_bar / scale, expected_bar / scale, rtol=0, atol=tolerance)
        step = FusedStep(cell)
        step(x[0, 0].numpy(), 0.03)
        assert abs(step.state - expected[0, 0].detach().numpy()).max() < tolerance
print("agrees")
"""

COMPILED = """
import torch
from ncp_control import LTC, NCP19, Circuit
for options in ({}, {"integrator": "layered_midpoint", "unfolds": 2}):
    circuit = Circuit(LTC(NCP19, **options))
    compiled = torch.compile(circuit, fullgraph=True, backend="aot_eager")
    for batch in (3, 5, 6):  # the second size makes the batch dynamic
        inputs = torch.randn(batch, 4, 32)
        gradients = []
        for run in (compiled, circuit):
            outputs, state = run(inputs)
            loss = outputs.square().sum() + state.sum()
            gradients += torch.autograd.grad(loss, circuit.cell.slope)
        torch.testing.assert_close(*gradients)
print("agrees")
"""


@pytest.mark.slow
def test_torch_compile_has_no_graph_break_even_at_the_first_use(tmp_path):
    assert run(COMPILED, XDG_CACHE_HOME=str(tmp_path)) == "agrees\n"


class Unrolled(Dataset):
    """Items that a worker computes with a circuit."""

    def __init__(self):
        self.cell = LTC(NCP19)
        self.inputs = torch.randn(6, 40, 3, 32)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, item):
        torch.set_num_threads(2)
        state, dt_s = torch.zeros(40, 19), torch.full((40, 3), 0.03)
        with torch.no_grad():
            return run_ltc(self.cell, self.inputs[item], state, dt_s, None)[0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_data_loader_workers_run_the_kernel(start):
    dataset = Unrolled()
    before = torch.get_num_threads()
    try:
        expected = [dataset[i] for i in range(6)]  # threads have run before the fork
        loader = DataLoader(dataset, 1, num_workers=2, multiprocessing_context=start)
        for found, wanted in zip(loader, expected, strict=True):
            assert torch.equal(found[0], wanted)
    finally:
        torch.set_num_threads(before)
