"""Settings of `benchmark.py`."""

from dataclasses import dataclass
from pathlib import Path

from ncp_control.devices import check_device
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least, check_given, check_positive
from scripts.unused_settings import refuse_changed

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
        for name, needed in USED_BY.items():
            if not {*needed} & {*self.parts}:
                refuse_changed(self, (name,), f"without the part {' or '.join(needed)}")
        for name, numbers in (("threads", self.threads), ("shapes", sum(self.shapes, ()))):
            if any(number < 1 for number in numbers):
                raise ValueError(
                    f"`{name}` must hold numbers of at least 1, got {getattr(self, name)}."
                    " Correct them."
                )
