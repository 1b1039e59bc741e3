"""The parts of `accept_gpu.py`, each run in a process of its own: parts.py NAME FILE.

A part writes a JSON file with its `state`, one sentence as `summary`, and `tables`. Nothing but
torch, Triton and what `ncp_control` imports is needed.
"""

import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.acceptance.cells import compared_cells, timed_models

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
TOLERANCES = {"float32": 5e-5, "float64": 1e-10}
"""Largest error that passes, as a share of the largest value, of at least 1."""
SHAPES = ((64, 32), (512, 32), (32, 256))
"""Batch and length of the sequences that are timed."""
ROUNDS = 7
Result = dict[str, Any]


def skipped(reason: str) -> Result:
    """Return the result of a part for which something is missing."""
    return {"state": SKIPPED, "summary": reason, "tables": []}


def missing(*, interpreted: bool = False) -> str | None:
    """Return what the kernels lack here, in a sentence; None if nothing."""
    import torch

    if not interpreted and not torch.cuda.is_available():
        return "torch sees no GPU"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    return None


def machine() -> Result:
    """Say what is here."""
    import torch

    from ncp_control.learning.run import commit_of

    rows = [
        ["Python", platform.python_version()],
        ["torch", torch.__version__],
        ["CUDA of torch", str(torch.version.cuda)],
        ["cuDNN", str(torch.backends.cudnn.version())],
        ["Triton", _version("triton")],
        ["processor", platform.machine()],
        ["commit", commit_of() or "unknown"],
    ]
    summary = "torch sees no GPU"
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        summary = f"{about.name}, compute capability {about.major}.{about.minor}"
        rows += [["GPU", summary], ["memory [GiB]", f"{about.total_memory / 2**30:.1f}"]]
    return {
        "state": PASSED,
        "summary": summary,
        "tables": [_table("versions", ["what", "is"], rows)],
    }


def interpreter() -> Result:
    """Compare the kernels with plain torch in Triton's interpreter, which needs no GPU."""
    if (lack := missing(interpreted=True)) is not None:
        return skipped(lack)
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
    from ncp_control.kernels import ltc_op

    ltc_op.TRITON_DEVICES = {"cpu"}
    return compare("cpu", small=True)


def correctness() -> Result:
    """Compare the kernels with plain torch on the GPU."""
    lack = missing()
    return compare("cuda", small=False) if lack is None else skipped(lack)


def sanitizer() -> Result:
    """Compare small cases under compute-sanitizer, which finds accesses beyond an array."""
    if (lack := missing()) is not None:
        return skipped(lack)
    if shutil.which("compute-sanitizer") is None:
        return skipped("compute-sanitizer is not on the PATH; it comes with the CUDA toolkit")
    tool = ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9"]
    command = [*tool, sys.executable, "-m", __spec__.name, "small", os.devnull]
    completed = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = (completed.stdout + completed.stderr).strip().splitlines()
    summary = next((line for line in reversed(lines) if "ERROR SUMMARY" in line), lines[-1])
    state = PASSED if completed.returncode == 0 else FAILED
    return {"state": state, "summary": summary.strip("= "), "tables": [], "log": lines[-40:]}


def small() -> Result:
    """Do what the sanitizer watches."""
    return compare("cuda", small=True)


def compare(device: str, *, small: bool) -> Result:
    """Compare states, outputs and every gradient of the kernels with plain torch in float64.

    The last column is the error of plain torch itself in the same type.
    """
    import torch

    from ncp_control import LTC
    from ncp_control.kernels.dispatch import run_dense, run_ltc

    def by_kernel(cell: Any, **arguments: Any) -> tuple[Any, Any]:
        run = run_ltc(cell, **arguments) if isinstance(cell, LTC) else run_dense(cell, **arguments)
        if run is None:
            raise RuntimeError("the kernel was not used")
        return (run, cell.readout(run)) if isinstance(run, torch.Tensor) else run

    def by_torch(cell: Any, **arguments: Any) -> tuple[Any, Any]:
        states = cell._loop(**arguments)
        return states, cell.readout(states)

    rows, worst, is_good = [], "", True
    batch, steps = (2, 2) if small else (33, 24)
    for name, make in compared_cells(small).items():
        torch.manual_seed(0)
        cell = make().to(device)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter += 0.2 * torch.randn(parameter.shape).to(device)
        arguments = _sequence(cell, batch, steps, device)
        weight = torch.randn(batch, steps, cell.state_size, dtype=torch.float64).to(device)
        exact = _values(by_torch, cell.double(), arguments, weight, torch.float64)
        for dtype in (torch.float32, torch.float64):
            found = _values(by_kernel, cell.to(dtype), arguments, weight, dtype)
            plain = _values(by_torch, cell.to(dtype), arguments, weight, dtype)
            key = str(dtype).removeprefix("torch.")
            errors = {k: _error(found[k], exact[k]) for k in exact}
            largest = max(errors, key=lambda k: errors[k])
            passes = all(error <= TOLERANCES[key] for error in errors.values())
            is_good = is_good and passes
            worst = worst if passes else f"; the first to fail: {name}, {key}, {largest}"
            own = max(_error(plain[k], exact[k]) for k in exact)
            columns = [name, key, f"{errors[largest]:.1e}", largest, f"{TOLERANCES[key]:.0e}"]
            rows.append([*columns, f"{own:.1e}", "yes" if passes else "NO"])
            cell.double()
    header = ["cell", "type", "largest error", "of", "allowed", "plain torch's own", "passes"]
    summary = f"{len(rows)} comparisons of states, outputs and all gradients{worst}"
    table = _table(f"the kernels beside plain torch, {batch} × {steps}", header, rows)
    return {"state": PASSED if is_good else FAILED, "summary": summary, "tables": [table]}


def speed() -> Result:
    """Time training and forward steps beside plain torch and cuDNN's LSTM and GRU."""
    lack = missing()
    return time_models("cuda") if lack is None else skipped(lack)


def time_models(device: str) -> Result:
    """Return a table for each of SHAPES."""
    import torch

    models = timed_models()
    tables = []
    for batch, length in SHAPES:
        inputs = torch.rand(batch, length, 32, device=device)
        rows = []
        for name, model in models.items():
            model.to(device)
            os.environ["NCP_CONTROL_KERNELS"] = "reference" if "plain" in name else "auto"

            def forward(model: Any = model, inputs: Any = inputs) -> None:
                with torch.no_grad():
                    model(inputs)

            def train(model: Any = model, inputs: Any = inputs) -> None:
                model(inputs)[0].square().mean().backward()

            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            times = [_median_us(action, device) for action in (forward, train)]
            peak = f"{torch.cuda.max_memory_allocated() / 2**20:,.0f}" if device == "cuda" else ""
            frames = batch * length / times[1] * 1e6
            rows.append([name, *(f"{t:,.0f}" for t in times), f"{frames:,.0f}", peak])
        header = ["who", "forward [µs]", "training step [µs]", "trained frames/s", "peak [MiB]"]
        tables.append(_table(f"batch {batch}, {length} frames of 32 features", header, rows))
    summary = f"medians of {ROUNDS} rounds, in float32; every run waited for the GPU to end"
    return {"state": PASSED, "summary": summary, "tables": tables}


def learning() -> Result:
    """Let a circuit on the GPU learn to keep a running mean, on the kernel and on plain torch."""
    lack = missing()
    return learn_twice("cuda") if lack is None else skipped(lack)


def learn_twice(device: str) -> Result:
    """Return how the loss falls on the kernel and on plain torch."""
    rows, good = [], True
    for name, choice, steps in (("kernel", "auto", 300), ("plain torch", "reference", 30)):
        os.environ["NCP_CONTROL_KERNELS"] = choice
        losses, seconds = _learn(steps, device)
        if choice == "auto":
            good = losses[-1] < 0.5 * losses[0]
        early = f"{losses[min(29, len(losses) - 1)]:.5f}"
        cells = [f"{losses[0]:.5f}", early, f"{losses[-1]:.5f}", f"{steps / seconds:.0f}"]
        rows.append([name, str(steps), *cells])
    header = ["on", "steps", "first loss", "after 30 steps", "last loss", "steps/s"]
    title = "an LTC of 19 neurons learns a running mean, batch 128, 32 frames"
    summary = "the loss falls on the kernel" if good else "the loss does not fall on the kernel"
    return {
        "state": PASSED if good else FAILED,
        "summary": summary,
        "tables": [_table(title, header, rows)],
    }


def _learn(steps: int, device: str) -> tuple[list[float], float]:
    """Return the loss of each step, and the time that all took [s]."""
    import torch

    from ncp_control import LTC, NCP19, Circuit

    torch.manual_seed(0)
    circuit = Circuit(LTC(NCP19)).to(device)
    optimizer = torch.optim.Adam(circuit.parameters(), lr=1e-2)
    generator = torch.Generator(device).manual_seed(0)
    losses, began = [], time.monotonic()
    for _ in range(steps):
        inputs = torch.randn(128, 32, 32, device=device, generator=generator)
        frames = torch.arange(1, 33, device=device)[:, None]
        wanted = inputs[..., :1].cumsum(1) / frames
        loss = (circuit(inputs)[0] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, time.monotonic() - began


def worlds() -> Result:
    """Simulate bodies in mujoco-warp on the GPU, beside MuJoCo's C."""
    import torch

    if not torch.cuda.is_available():
        return skipped("torch sees no GPU")
    lack = [n for n in ("gymnasium", "mujoco", "mujoco_warp") if not importlib.util.find_spec(n)]
    if lack:
        return skipped(f"{lack[0]} is not installed: pip install -e .[gpu]")
    from scripts.acceptance.bodies import simulate

    try:
        return simulate("cuda", ("HalfCheetah-v5", "Walker2d-v5", "Hopper-v5"), (64, 1024, 4096))
    except ModuleNotFoundError as error:
        return skipped(str(error))


def _sequence(cell: Any, batch: int, steps: int, device: str) -> dict[str, Any]:
    """Return the arguments of `Cell.unroll`: irregular times, some of them 0, and resets."""
    import torch

    dt_s = 0.06 * torch.rand(batch, steps, dtype=torch.float64)
    dt_s[torch.rand(batch, steps) < 0.1] = 0.0
    arguments = {
        "inputs": torch.randn(batch, steps, cell.input_size, dtype=torch.float64),
        "state": 0.4 * torch.randn(batch, cell.state_size, dtype=torch.float64),
        "dt_s": dt_s,
        "reset": torch.rand(batch, steps) < 0.2,
    }
    return {name: value.to(device) for name, value in arguments.items()}


def _values(
    run: Callable[..., Any], cell: Any, arguments: dict[str, Any], weight: Any, dtype: Any
) -> dict[str, Any]:
    """Return states, outputs, and the gradients of a weighted sum of both."""
    import torch

    leaves = {
        k: v.to(dtype).requires_grad_() if v.is_floating_point() else v
        for k, v in arguments.items()
    }
    states, outputs = run(cell, **leaves)
    wanted = {k: v for k, v in leaves.items() if v.requires_grad}
    wanted |= dict(cell.named_parameters())
    weight = weight.to(dtype)
    loss = (states * weight).sum() + (outputs.sin() * weight.sum(-1, keepdim=True)).sum()
    gradients = torch.autograd.grad(
        loss, list(wanted.values()), allow_unused=True, materialize_grads=True
    )
    values = {"states": states, "outputs": outputs}
    values |= {f"gradient of {k}": v for k, v in zip(wanted, gradients, strict=True)}
    return {name: value.detach().double() for name, value in values.items()}


def _error(found: Any, exact: Any) -> float:
    """Return the largest error as a share of the largest value, of at least 1; NaN is infinite."""
    scale = exact.abs().max().clamp(min=1.0)
    return float(((found - exact).abs().max() / scale).nan_to_num(nan=float("inf")))


def _median_us(action: Callable[[], None], device: str) -> float:
    """Return the median time of an action over rounds [µs]; each round lasts about 50 ms."""
    import torch

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def timed(times: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(times):
            action()
        wait()
        return (time.perf_counter() - began) / times

    timed(3)
    times = max(1, min(500, round(0.05 / timed(1))))
    return 1e6 * statistics.median(timed(times) for _ in range(ROUNDS))


def _table(title: str, header: list[str], rows: list[list[str]]) -> Result:
    return {"title": title, "header": header, "rows": rows}


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    name, target = sys.argv[1:]
    parts = (machine, interpreter, correctness, sanitizer, small, speed, learning, worlds)
    text = json.dumps({part.__name__: part for part in parts}[name]())
    if target != os.devnull:
        Path(target).write_text(text)
    elif json.loads(text)["state"] == FAILED:
        sys.exit(1)
