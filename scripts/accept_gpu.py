"""Check and measure the kernels on a GPU: one command for a bare machine.

    python scripts/accept_gpu.py

It needs a GPU, torch, Triton, numpy, jaxtyping and tqdm. Each part runs in its own process within a
time limit. A part with a missing requirement is skipped and names it. Output: acceptance.json and
acceptance.md.

| exit status | means                                                                  |
|-------------|------------------------------------------------------------------------|
| 0           | every part that could run on the GPU passed                            |
| 1           | a part failed or did not end in time                                   |
| 3           | nothing passed on a GPU: there is none, or no time or Triton for it    |
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # on a bare machine nothing is installed

from ncp_control import files  # noqa: E402
from ncp_control.command_line import run_job  # noqa: E402
from ncp_control.markdown import markdown_table  # noqa: E402
from ncp_control.names import check_name  # noqa: E402
from ncp_control.ranges import check_positive  # noqa: E402

PARTS: Mapping[str, float] = {
    "machine": 60.0,
    "interpreter": 120.0,
    "correctness": 240.0,
    "sanitizer": 120.0,
    "speed": 180.0,
    "learning": 90.0,
    "worlds": 120.0,
}
"""Parts in their order, with the time limit of each [s]."""
ON_GPU = ("correctness", "speed", "learning", "worlds")
"""Parts that cannot pass without a GPU."""
LEAST_S, RESERVE_S = 15.0, 5.0
"""Least time left to start a part, and time reserved for writing the report [s]."""
PASSED, FAILED, SKIPPED, STOPPED = "passed", "failed", "skipped", "stopped"
NOTHING_ON_GPU = 3
"""Exit status if no part passed on a GPU and none failed."""


@dataclass(frozen=True, kw_only=True)
class AcceptGPU:
    """Check and measure the kernels on a GPU."""

    minutes: float = 8.0
    """Time limit of the whole command [min]; parts without enough time left are skipped."""
    parts: tuple[str, ...] = tuple(PARTS)
    """Parts to run: machine, interpreter, correctness, sanitizer, speed, learning, worlds."""
    results: Path = Path("acceptance")
    """Folder for acceptance.json and acceptance.md."""

    def __post_init__(self) -> None:
        check_positive(self, "minutes")
        for name in self.parts:
            check_name("parts", name, PARTS)


def accept_gpu(settings: AcceptGPU) -> None:
    """Run the parts, print their outcomes, and write the report.

    Raises:
        SystemExit: With status 1 or 3, see the table of the module.
    """
    ends = time.monotonic() + 60.0 * settings.minutes
    found: dict[str, dict[str, Any]] = {}
    for name in settings.parts:
        print(f"{name} …", flush=True)
        found[name] = run_part(name, min(PARTS[name], ends - time.monotonic() - RESERVE_S))
        print(f"  {found[name]['state']}: {found[name]['summary']}", flush=True)
    status = status_of(found)
    files.write_file(
        settings.results / "acceptance.json",
        json.dumps({"status": status, "parts": found}, indent=1) + "\n",
    )
    files.write_file(settings.results / "acceptance.md", page(found))
    print(f"results: {settings.results / 'acceptance.md'}")
    if status == NOTHING_ON_GPU:
        reasons = dict.fromkeys(found[name]["summary"] for name in ON_GPU if name in found)
        why = "; ".join(reasons) or "none of the parts asked for needs one"
        print(f"Nothing was checked or measured on a GPU: {why}.")
    if status:
        sys.exit(status)


def run_part(name: str, limit_s: float) -> dict[str, Any]:
    """Run a part in its own process.

    Returns:
        Its `state`, a sentence as `summary`, its `tables` and its duration in `seconds`; if it
        crashed, also the end of its `log`.
    """
    began = time.monotonic()
    if limit_s < LEAST_S:
        summary = "no time was left for it"
        return {"state": SKIPPED, "summary": summary, "seconds": 0.0, "tables": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.json"
        command = [sys.executable, "-m", "scripts.acceptance.parts", name, str(path)]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that all processes it starts can be killed with it
        ) as process:
            try:
                output, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                output = None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if output is None:
            reason = f"it did not end within {limit_s:.0f} s"
            result = {"state": STOPPED, "summary": reason, "tables": []}
        elif process.returncode == 0:
            result = json.loads(path.read_text())
        else:
            lines = output.strip().splitlines() or ["it said nothing"]
            reason = f"it ended with status {process.returncode}: {lines[-1]}"
            result = {"state": FAILED, "summary": reason, "tables": [], "log": lines[-40:]}
    return {**result, "seconds": round(time.monotonic() - began, 1)}


def status_of(found: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the exit status for the states of the parts."""
    states = {part["state"] for part in found.values()}
    if {FAILED, STOPPED} & states:
        return 1
    on_gpu = [found[name]["state"] for name in ON_GPU if name in found]
    return 0 if PASSED in on_gpu else NOTHING_ON_GPU


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the report as Markdown."""
    rows = [
        [name, part["state"], f"{part['seconds']:.0f}", part["summary"]]
        for name, part in found.items()
    ]
    texts = ["# Acceptance on a GPU", markdown_table(["part", "state", "s", "summary"], rows)]
    for name, part in found.items():
        for table in part["tables"]:
            texts.append(f"## {name}: {table['title']}")
            texts.append(markdown_table(table["header"], table["rows"]))
    return "\n\n".join(texts) + "\n"


if __name__ == "__main__":
    if importlib.util.find_spec("tyro") is not None:
        run_job(accept_gpu, AcceptGPU, __doc__)
    elif sys.argv[1:]:
        sys.exit("error: options need tyro. Run `pip install tyro`, or give none.")
    else:
        accept_gpu(AcceptGPU())
