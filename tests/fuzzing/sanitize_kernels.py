"""Run the kernels on random shapes under sanitizers, and compare some results with plain torch.

    python tests/fuzzing/sanitize_kernels.py --sanitizer memory      20 shapes of every kernel
    python tests/fuzzing/sanitize_kernels.py --sanitizer races --count 1000     the full campaign
    python tests/fuzzing/sanitize_kernels.py --sanitizer memory --kernels lrc --first 123 --count 1

`memory` is AddressSanitizer with UndefinedBehaviorSanitizer, `races` ThreadSanitizer. The kernels
are compiled for it into a temporary folder, and a second Python runs them, for a sanitizer must be
loaded before anything else. A shape is a random cell, batch, length, type, number of threads and
choice of gradients; it goes forwards and backwards, and through a few control steps. Every tenth is
compared with the plain torch code. Of wide circuits (ltc_wide) a tenth as many are tried.
A sanitizer that finds a fault ends the run and tells where.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator

from ncp_control import (
    CTGRU,
    CTRNN,
    GRU,
    LRC,
    LSTM,
    LTC,
    ODERNN,
    STC,
    CfC,
    Circuit,
    MixedMemory,
    NeuralODE,
    WiredCfC,
    Wiring,
    auto_ncp,
    random_wiring,
)
from ncp_control.cells import Cell
from ncp_control.kernels import build, prebuilt
from ncp_control.kernels.native import REFERENCE, SWITCH
from ncp_control.policy.heads import make_head

SANITIZERS = {
    "memory": ("libasan.so", ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")),
    "races": ("libtsan.so", ("-fsanitize=thread",)),
}
"""What must be loaded first, and the compiler's flags."""
OPTIONS = {
    # Python itself ends with memory that it has not given back.
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66:report_signal_unsafe=0",
}
COMPARED = 10
"""One shape in so many is compared with plain torch."""
WIDE_ONE_IN = 10
"""Of the wide circuits only one in so many is tried, and every other one of these is compared."""


def draw_wiring(random: Generator, *, is_layered: bool) -> Wiring:
    """Draw a wiring of up to 40 neurons, layered or of synapses anywhere, perhaps of few."""
    sensory, motors, seed = int(random.integers(1, 40)), int(random.integers(1, 4)), 0
    neurons = int(random.integers(motors, 36))
    if is_layered:
        return auto_ncp(sensory, neurons + motors + 4, motors, seed=seed)
    return random_wiring(
        sensory,
        neurons,
        motors,
        num_sensory_synapses=int(random.integers(1, sensory * neurons + 1)),
        num_inner_synapses=int(random.integers(0, neurons * neurons + 1)),
        seed=int(random.integers(1 << 30)),
    )


def draw_circuit(kind: Callable[..., Cell], *integrators: str) -> Callable[[Generator], Cell]:
    """Return what draws a circuit over a wiring, by one of the integrators."""

    def draw(random: Generator) -> Cell:
        integrator = str(random.choice(integrators))
        wiring = draw_wiring(random, is_layered=integrator == "layered_midpoint")
        return kind(wiring, integrator=integrator, unfolds=int(random.integers(1, 5)))

    return draw


def draw_sizes(random: Generator) -> tuple[int, int, int]:
    """Draw the widths of a dense cell."""
    return tuple(int(random.integers(1, most)) for most in (40, 40, 4))  # type: ignore[return-value]


def draw_cfc(random: Generator) -> Cell:
    """Draw a CfC with up to three layers of backbone."""
    return CfC(
        *draw_sizes(random),
        backbone_units=int(random.integers(1, 40)),
        backbone_layers=int(random.integers(0, 4)),
        mode=str(random.choice(["default", "pure", "no_gate"])),
        activation=str(random.choice(["lecun_tanh", "tanh", "relu", "silu", "gelu"])),
    )


def draw_wired_cfc(random: Generator) -> Cell:
    """Draw a CfC over a wiring."""
    wiring = draw_wiring(random, is_layered=bool(random.integers(2)))
    return WiredCfC(wiring, mode=str(random.choice(["default", "pure", "no_gate"])))


def draw_lrc(random: Generator) -> Cell:
    """Draw an LRC of either elastance."""

    def kind(wiring: Wiring, **settings: Any) -> Cell:
        return LRC(wiring, elastance=str(random.choice(["symmetric", "asymmetric"])), **settings)

    return draw_circuit(kind, *_ANY)(random)


def draw_memory(random: Generator) -> Cell:
    """Draw a mixed memory around any other cell."""
    names = [name for name in CELLS if name != "mixed_memory"]
    return MixedMemory(CELLS[str(random.choice(names))](random))


def draw_wide_ltc(random: Generator) -> Cell:
    """Draw an LTC of more than 16,384 synapses."""
    neurons, inputs = int(random.integers(128, 150)), int(random.integers(1, 20))
    inner = int(random.integers(16_385 - neurons, neurons**2 + 1))
    wiring = random_wiring(
        inputs, neurons, 2, num_sensory_synapses=neurons, num_inner_synapses=inner
    )
    return LTC(wiring, unfolds=int(random.integers(1, 3)))


_OF_LTC = ("semi_implicit_euler", "layered_midpoint")
_ANY = (*_OF_LTC, "explicit_euler", "exponential_euler")
CELLS: dict[str, Callable[[Generator], Cell]] = {
    "ltc": draw_circuit(LTC, *_OF_LTC),
    "ltc_other_integrators": draw_circuit(LTC, "explicit_euler", "exponential_euler"),
    "stc": draw_circuit(STC, *_ANY),
    "lrc": draw_lrc,
    "cfc": draw_cfc,
    "wired_cfc": draw_wired_cfc,
    "ctrnn": lambda random: CTRNN(*draw_sizes(random), unfolds=int(random.integers(1, 5))),
    "neural_ode": lambda random: NeuralODE(*draw_sizes(random), unfolds=int(random.integers(1, 4))),
    "ode_rnn": lambda random: ODERNN(*draw_sizes(random), unfolds=int(random.integers(1, 4))),
    "ctgru": lambda random: CTGRU(*draw_sizes(random), num_scales=int(random.integers(1, 6))),
    "lstm": lambda random: LSTM(*draw_sizes(random), sees_time=bool(random.integers(2))),
    "gru": lambda random: GRU(*draw_sizes(random), sees_time=bool(random.integers(2))),
    "mixed_memory": draw_memory,
}
WIDE = "ltc_wide"
"""An LTC whose backward sums are too many for the cache, and are kept in another way."""
HEADS = ("conv_head",)


def try_cell(name: str, random: Generator, *, is_compared: bool) -> None:
    """Run a random cell on a random sequence forwards and backwards, then as control steps."""
    cell = draw_wide_ltc(random) if name == WIDE else CELLS[name](random)
    dtype = torch.float64 if is_compared or random.integers(2) else torch.float32
    cell = cell.to(dtype)
    threads = int(random.integers(1, 5))
    torch.get_num_threads = lambda: threads  # for the kernels alone: torch's own are not watched
    batch = int(random.choice([0, 1, 7, 16, 17, int(random.integers(1, 80))]))
    steps = int(random.choice([0, 1, 4, 5, 16, 17, int(random.integers(1, 40))]))
    if name == WIDE:  # whose blocks go together only if there are four of them
        batch, steps = int(random.integers(64, 81)), int(random.integers(1, 4))
    inputs = torch.randn(batch, steps, cell.input_size, dtype=dtype)
    state = 0.4 * torch.randn(batch, cell.state_size, dtype=dtype)
    inputs.requires_grad_(bool(random.integers(2)))
    state.requires_grad_(bool(random.integers(2)))
    dt_s = 0.06 * torch.rand(batch, steps, dtype=dtype)
    reset = torch.rand(batch, steps) < 0.2 if random.integers(2) else None

    def run() -> list[torch.Tensor]:
        outputs, last = Circuit(cell)(inputs, state, dt_s=dt_s, reset=reset)
        leaves = [leaf for leaf in (inputs, state, *cell.parameters()) if leaf.requires_grad]
        loss = outputs.square().sum() + last.sum()
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        return [outputs.detach(), last.detach(), *gradients]

    found = run()
    assert all(bool(value.isfinite().all()) for value in found)
    if is_compared:
        for value, wanted in zip(found, by_reference(run), strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-9)
    step = cell.control_step()
    assert step is not None
    for _ in range(3):
        features = random.normal(size=cell.input_size).astype(np.float32)
        assert np.isfinite(step(features, float(random.choice([0.0, 0.03, 1.0])))).all()


def try_head(random: Generator, *, is_compared: bool) -> None:
    """Let a conv head see random frames of a random shape."""
    height, width = int(random.integers(33, 90)), int(random.integers(33, 210))
    shape = height, width, int(random.integers(1, 5))
    head = make_head(str(random.choice(["light", "paper"])), shape)
    step = head.control_step()
    assert step is not None
    frame = random.integers(0, 256, shape, dtype=np.uint8)
    found = step(frame)
    if is_compared:
        with torch.no_grad():
            wanted = head(torch.from_numpy(frame)[None])[0].numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def by_reference(run: Callable[[], Any]) -> Any:
    """Run on plain torch."""
    os.environ[SWITCH] = REFERENCE
    try:
        return run()
    finally:
        del os.environ[SWITCH]


def campaign(sanitizer: str, names: list[str], first: int, count: int, folder: Path) -> None:
    """Try `count` shapes of each kernel, in a process that has loaded the sanitizer."""
    warnings.simplefilter("error")
    prebuilt.FOLDER, prebuilt.usable_levels = folder, lambda: [sanitizer]
    assert all(prebuilt.load(bits) is not None for bits in prebuilt.REAL_BITS)
    for name in names:
        begin = time.process_time()
        shapes = range(first, first + count, WIDE_ONE_IN if name == WIDE else 1)
        for index in shapes:
            print(
                f"{name} --first {index}", file=sys.stderr, flush=True
            )  # for whoever finds a fault
            torch.manual_seed(index)
            random = np.random.default_rng(index)
            is_compared = index % (COMPARED if name != WIDE else 2 * WIDE_ONE_IN) == 0
            if name in HEADS:
                try_head(random, is_compared=is_compared)
            else:
                try_cell(name, random, is_compared=is_compared)
        spent_s = time.process_time() - begin
        told = f"{len(shapes):5} shapes, no fault, {spent_s:.0f} s"
        print(f"{sanitizer:8} {name:22} {told}", flush=True)


def find_runtime(sanitizer: str) -> str | None:
    """Return the path of the sanitizer's library, or None if the compiler has none."""
    library = SANITIZERS[sanitizer][0]
    command = [*build.find_compiler(), f"-print-file-name={library}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return path if os.path.isabs(path) else None


def start(sanitizer: str, options: list[str]) -> int:
    """Run the campaign in a process that loads the sanitizer first; return its exit status."""
    runtime = find_runtime(sanitizer)
    if runtime is None:
        raise SystemExit(f"the compiler has no {SANITIZERS[sanitizer][0]}. Install gcc with it.")
    build.TIMEOUT_S = 600.0
    environment = os.environ | OPTIONS | {"LD_PRELOAD": runtime, "OMP_NUM_THREADS": "1"}
    environment.pop(SWITCH, None)
    with tempfile.TemporaryDirectory() as folder:
        # Not in the process that loads the sanitizer, which the compiler would then load, too.
        for bits in prebuilt.REAL_BITS:
            path = Path(folder) / prebuilt.file_name(sanitizer, bits)
            build.compile_to(path, bits, ("-march=native", "-g", *SANITIZERS[sanitizer][1]))
        command = [sys.executable, __file__, "--sanitizer", sanitizer, "--folder", folder, *options]
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stderr[-6000:])
    return done.returncode


def main() -> None:
    """Parse the command line and run the campaign."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    kernels = [*CELLS, WIDE, *HEADS]
    parser.add_argument("--sanitizer", choices=list(SANITIZERS), required=True)
    parser.add_argument("--kernels", nargs="*", choices=kernels, default=kernels)
    parser.add_argument("--first", type=int, default=0, help="number of the first shape")
    parser.add_argument("--count", type=int, default=20, help="shapes of every kernel")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of compiled kernels
    given = parser.parse_args()
    if given.folder is not None:
        campaign(given.sanitizer, given.kernels, given.first, given.count, given.folder)
    else:
        options = ["--kernels", *given.kernels]
        options += ["--first", str(given.first), "--count", str(given.count)]
        sys.exit(start(given.sanitizer, options))


if __name__ == "__main__":
    main()
