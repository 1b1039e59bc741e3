"""How fast is a circuit? Ours against ncps, LSTM and GRU, measured in turn in one run.

    python scripts/benchmark.py
    python scripts/benchmark.py --parts reinforcement     one part of it

Every row is timed in turn with all the others, round after round, so that a machine that slows
down slows all of them; the table gives medians, their spread, and ratios within the same rounds.
"Floor" is the time of the sigmoids alone, forward and again in the adjoint, measured in the same
rounds: no exact method that keeps no sigmoid can be faster than that.

Then: the error of each integrator and its cost, what autograd keeps, what the first use costs, and
how the cost grows with every size and falls with threads.
The part cells is a training step of every other cell beside torch's LSTM and GRU of the same size,
and a control step of each.
The part reinforcement is PPO in Walker2d-v5, where the circuit is the actor, against sb3-contrib's
RecurrentPPO.
The part export is policies as C: size and instructions on a Cortex-M4 (it needs cross compiler and
QEMU), time here, and how they drive.
The part act is one call of a driver, from frame to steering, on torch, kernels, C and ONNX.
The part chunks is the memory of long sequences, led back as a whole and in chunks of time.
The part worlds is HalfCheetah and driving in mujoco-warp, many at once, beside MuJoCo's C; it needs
the extra gpu.
The part stores is training from frames on disk that are kept raw, as PNG or as JPEG.
The part limited is training from 11 GB of frames in a process that may take 1 GiB; it needs root.
The part demonstrations is how fast an expert's driving is recorded on one core, and what it takes.
The part sharing is a step that torchrun's processes share, and a model of many processes.
The part tables is one seed of the tables of reproduce.py, on plain torch and on the kernels; it
takes a quarter of an hour, and is extrapolated from some tens of steps of each training.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ncp_control.command_line import find, run_job
from ncp_control.devices import check_device
from ncp_control.learning.results import check_writable
from ncp_control.learning.run import Run
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_given, check_positive

PARTS = {
    "circuits": "scripts.benchmarking.parts:benchmark_circuits",
    "cells": "scripts.benchmarking.parts:benchmark_cells",
    "reinforcement": "scripts.benchmarking.parts:benchmark_reinforcement",
    "export": "scripts.benchmarking.parts:benchmark_export",
    "act": "scripts.benchmarking.parts:benchmark_act",
    "chunks": "scripts.benchmarking.parts:benchmark_chunks",
    "worlds": "scripts.benchmarking.parts:benchmark_worlds",
    "stores": "scripts.benchmarking.parts:benchmark_stores",
    "limited": "scripts.benchmarking.parts:benchmark_limited",
    "demonstrations": "scripts.benchmarking.parts:benchmark_demonstrations",
    "sharing": "scripts.benchmarking.parts:benchmark_sharing",
    "tables": "scripts.benchmarking.parts:benchmark_tables",
}
"""What measures each part."""
USED_BY = {
    "km": ("export",),
    "calls": ("act",),
    "threads": ("circuits", "cells"),
    "shapes": ("circuits", "cells"),
    "device": ("circuits", "cells", "worlds"),
}
"""Parts without which a setting is of no use."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Time training and control steps of our circuits and their peers."""

    rounds: int = 15
    """Times that each row is measured; the median is reported."""
    threads: tuple[int, ...] = (1, 2)
    """Torch threads to measure with."""
    shapes: tuple[tuple[int, int], ...] = ((64, 32), (32, 256))
    """Batch and sequence length of the training steps."""
    parts: tuple[str, ...] = ("circuits", "reinforcement")
    """What to measure; each part has its own files."""
    km: float = 20.0
    """Kilometres that each driver drives in the part export."""
    calls: int = 20_000
    """Frames that drive-ncp acts on in the part act; a tenth of them for the paper's head."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one. The training steps of `shapes` run there, and
    the worlds of the part worlds."""
    results: Path | None = None
    """Folder of the tables (.md, .json) and of scaling.png, e.g. results/benchmark to replace the
    published ones; a new run folder by default."""
    runs: Path = Path("runs")
    """Where run folders are made."""

    def __post_init__(self) -> None:
        for part in self.parts:
            check_name("parts", part, PARTS)
        check_at_least(self, 1, "rounds", "calls")
        check_given(self, "threads", "shapes", "parts")
        check_device(self.device)
        check_positive(self, "km")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            needed = USED_BY.get(field.name)
            if needed and not {*needed} & {*self.parts} and value != field.default:
                raise ValueError(
                    f"`{field.name}` must be left out without the part {' or '.join(needed)}, got"
                    f" {value!r}."
                    " Nothing would come of it."
                )
        for name, numbers in (("threads", self.threads), ("shapes", sum(self.shapes, ()))):
            if any(number < 1 for number in numbers):
                raise ValueError(
                    f"`{name}` must hold numbers of at least 1, got {getattr(self, name)}."
                    " Correct them."
                )


def benchmark(settings: Benchmark) -> None:
    """Measure each part, print its tables, write them."""
    if settings.results is None:
        run = Run.create("benchmark", "-".join(settings.parts), settings, root=settings.runs)
        folder = run.folder
    else:
        folder = settings.results
        check_writable(folder / "benchmark.md")  # found before the work
    for part in settings.parts:
        find(PARTS[part])(settings, folder)
    print(f"results: {folder}")


if __name__ == "__main__":
    run_job(benchmark, Benchmark, "Time training and control steps of our circuits and peers.")
