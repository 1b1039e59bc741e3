"""Measurements in processes of their own, which have no memory of what was measured before."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def measure_afresh(module: str, arguments: Any, launch: Sequence[str] = ()) -> float:
    """Run a module with its arguments as JSON, and return the last number that it prints.

    Args:
        module: Its name; it is run as a program.
        arguments: Anything JSON can hold.
        launch: Words before it, of a program that starts it.
    """
    command = [sys.executable, *launch, "-m", module, json.dumps(arguments)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(completed.stdout.split()[-1])


def memory_mb(name: str) -> float:
    """Return what Linux tells of this process [MB].

    Args:
        name: VmHWM, the largest memory so far, or RssAnon, the memory without files.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024
