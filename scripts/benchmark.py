"""How fast is a circuit? Ours against ncps, LSTM and GRU, measured in turn in one run.

    python scripts/benchmark.py

Every row is timed in turn with all the others, round after round, so that a machine that slows
down slows all of them; the table gives medians, their spread, and ratios within the same rounds.
"Floor" is the time of the sigmoids alone, forward and again in the adjoint, measured in the same
rounds: no exact method can be faster than that.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ncp_control import LTC, NCP19, Circuit, Wiring, files, random_wiring
from ncp_control.devices import find_device
from ncp_control.kernels.step import FusedStep
from ncp_control.learning.run import describe_environment
from policies.driving import make_driving_policy
from scripts.cli import run_job
from scripts.markdown import markdown_table
from scripts.timing import Action, Row, measure, timing_tables, torch_threads


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Time training and control steps of our circuits and their peers."""

    rounds: int = 15
    """Times that each row is measured; the median is reported."""
    threads: tuple[int, ...] = (1, 2)
    """Torch threads to measure with."""
    shapes: tuple[tuple[int, int], ...] = ((64, 32), (32, 256))
    """Batch and sequence length of the training steps."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one. All training steps run there."""
    output: Path = Path("results/benchmark")
    """Folder of benchmark.json, benchmark.md and scaling.png."""


def benchmark(settings: Benchmark) -> None:
    """Measure everything, print the tables, write them."""
    rows: list[Row] = []
    device = find_device(settings.device).type
    for threads in settings.threads:
        with torch_threads(threads):
            for batch, length in settings.shapes:
                table = f"training step on {device}, batch {batch} x {length} frames"
                actions = training_steps(batch, length, device)
                rows += measure(table, actions, settings.rounds, threads)
    with torch_threads(1):
        rows += measure("control step, circuit", control_steps(), settings.rounds, 1)
        rows += measure("control step, driving policy", driving_steps(), settings.rounds, 1)
        scaling = {name: scale(name, settings.rounds) for name in SWEEPS}
    text = "\n\n".join([timing_tables(rows), _scaling_table(scaling), f"```json\n{_where()}\n```"])
    print(text)
    figure = draw_scaling(scaling)
    with files.new_folder(settings.output) as folder:
        (folder / "benchmark.md").write_text(text + "\n")
        values = {"rows": [dataclasses.asdict(row) for row in rows], "scaling": scaling}
        (folder / "benchmark.json").write_text(json.dumps(values, indent=1) + "\n")
        figure.savefig(folder / "scaling.png", dpi=150)


def training_steps(batch: int, length: int, device: str) -> dict[str, Action]:
    """Forward and backward through a sequence of 32 features, each model with its own output."""
    inputs = torch.rand(batch, length, 32, device=device)
    actions = {f"ncps {name}": train for name, train in _ncps_steps(inputs).items()}
    for name, circuit in our_circuits().items():
        circuit = circuit.to(device)
        actions[name] = _training(circuit, lambda out: out[0], inputs)
    for name, module in {
        "nn.LSTM(32, 19)": nn.LSTM(32, 19, batch_first=True),
        "nn.LSTM(32, 64)": nn.LSTM(32, 64, batch_first=True),
        "nn.GRU(32, 19)": nn.GRU(32, 19, batch_first=True),
    }.items():
        actions[name] = _training(module.to(device), lambda out: out[0], inputs)
    with _reference_kernels():
        circuit = our_circuits()["ours, semi-implicit 6"].to(device)
        reference = _training(circuit, lambda out: out[0], inputs)

    def plain_torch() -> None:
        with _reference_kernels():
            reference()

    actions["ours, plain torch"] = plain_torch
    if device == "cpu":
        actions["floor: the sigmoids, twice"] = _sigmoids(batch * length, NCP19, unfolds=6)
    return actions


def our_circuits() -> dict[str, Circuit]:
    """The driving circuit in each mode that has a kernel."""
    return {
        "ours, semi-implicit 6": Circuit(LTC(NCP19)),
        "ours, midpoint 2": Circuit(LTC(NCP19, integrator="layered_midpoint", unfolds=2)),
        "ours, midpoint 1": Circuit(LTC(NCP19, integrator="layered_midpoint", unfolds=1)),
    }


def control_steps() -> dict[str, Action]:
    """One frame, batch 1, without gradients: features in, motor out."""
    from ncps.torch import LTC as TheirLTC
    from ncps.wirings import NCP

    theirs = TheirLTC(32, NCP(12, 6, 1, 6, 4, 6, 6), return_sequences=True)
    features = torch.rand(1, 1, 32)
    vector = features[0, 0].numpy().copy()
    state = torch.zeros(1, 19)
    actions: dict[str, Action] = {"ncps LTC": _without_gradient(lambda: theirs(features, state))}
    for name, circuit in our_circuits().items():
        step = FusedStep(circuit.cell)  # type: ignore[arg-type]
        actions[f"{name}, FusedStep"] = lambda step=step: step(vector, 1 / 30)
    circuit = our_circuits()["ours, semi-implicit 6"]
    actions["ours, semi-implicit 6, Circuit"] = _without_gradient(lambda: circuit(features, state))
    lstm, hidden = nn.LSTM(32, 19, batch_first=True), torch.zeros(1, 1, 19)
    actions["nn.LSTM(32, 19)"] = _without_gradient(lambda: lstm(features, (hidden, hidden)))
    return actions


def driving_steps() -> dict[str, Action]:
    """`DrivingPolicy.act` from camera frame to steering, and its parts."""
    frame = np.random.default_rng(0).integers(0, 256, (78, 200, 3), dtype=np.uint8)
    actions: dict[str, Action] = {}
    for head in ("light", "paper"):
        policy = make_driving_policy("ncp", head=head).eval()
        images = torch.from_numpy(frame)[None]
        actions[f"act, {head} head"] = lambda policy=policy: policy.act(frame)
        actions[f"  of it: {head} head"] = _without_gradient(
            lambda policy=policy, images=images: policy.perceive(images)
        )
    actions["  of it: frame to float"] = lambda: torch.from_numpy(frame)[None].float()
    step = FusedStep(our_circuits()["ours, semi-implicit 6"].cell)  # type: ignore[arg-type]
    vector = np.random.default_rng(0).random(32, dtype=np.float32)
    actions["  of it: circuit"] = lambda: step(vector, 1 / 30)
    return actions


SWEEPS: dict[str, tuple[int, ...]] = {
    "neurons": (19, 64, 256, 1024),
    "synapses": (252, 1_000, 10_000, 100_000),
    "batch": (1, 16, 64, 256),
    "frames": (1, 16, 64, 256),
    "unfolds": (1, 3, 6, 12),
}
"""What grows, and to which sizes."""


def scale(name: str, rounds: int) -> dict[str, float]:
    """Time a training step [µs] while one size grows and the others stay."""
    sizes: dict[str, int] = {"batch": 32, "frames": 16, "unfolds": 6}
    actions = {}
    for value in SWEEPS[name]:
        wiring = NCP19
        if name == "neurons":
            wiring = _random_wiring(value, 13 * value)
        elif name == "synapses":
            wiring = _random_wiring(max(19, int(4 * value**0.5)), value)
        now = sizes | {name: value}
        circuit = Circuit(LTC(wiring, unfolds=now["unfolds"]))
        inputs = torch.rand(now["batch"], now["frames"], 32)
        actions[str(value)] = _training(circuit, lambda out: out[0], inputs)
    return {row.name: row.median_us for row in measure(name, actions, min(rounds, 7), 1)}


def draw_scaling(scaling: dict[str, dict[str, float]]) -> Figure:
    """Draw time against each size, both logarithmic, with a line of slope one."""
    figure = Figure(figsize=(14, 3.2), layout="constrained")
    for axes, (name, times) in zip(figure.subplots(1, len(scaling)), scaling.items(), strict=True):
        sizes = np.array([int(size) for size in times])
        micros = np.array(list(times.values()))
        axes.loglog(sizes, micros, "o-", color="#0072B2")
        axes.loglog(sizes, micros[-1] * sizes / sizes[-1], ":", color="#777777")
        axes.set(xlabel=name, title=f"growing {name}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("training step [µs]\ndotted: proportional")
    return figure


def _ncps_steps(inputs: Tensor) -> dict[str, Action]:
    from ncps.torch import LTC as TheirLTC
    from ncps.torch import CfC as TheirCfC
    from ncps.wirings import NCP

    def wiring() -> NCP:
        return NCP(12, 6, 1, 6, 4, 6, 6)

    models = {"LTC": TheirLTC(32, wiring()), "CfC": TheirCfC(32, wiring())}
    return {
        name: _training(model.to(inputs.device), lambda out: out[0], inputs)
        for name, model in models.items()
    }


def _training(module: nn.Module, pick: Callable[[Any], Tensor], inputs: Tensor) -> Action:
    """Forward and backward, gradients of the parameters and of the inputs."""
    inputs = inputs.clone().requires_grad_()
    weight = torch.rand_like(pick(module(inputs)))

    def step() -> None:
        module.zero_grad(set_to_none=True)
        inputs.grad = None
        pick(module(inputs)).backward(weight)

    return step


def _sigmoids(frames: int, wiring: Wiring, unfolds: int) -> Action:
    """All sigmoids of a training step, forward and again in the adjoint, and nothing else.

    Torch's own vectorised sigmoid, on blocks that stay in the cache.
    """
    inner = wiring.num_synapses - wiring.num_sensory_synapses
    values = 2 * frames * (wiring.num_sensory_synapses + unfolds * inner)
    block = torch.rand(8192)
    out = torch.empty_like(block)

    def step() -> None:
        for _ in range(values // block.numel()):
            torch.sigmoid(block, out=out)

    return step


def _without_gradient(action: Action) -> Action:
    def step() -> None:
        with torch.inference_mode():
            action()

    return step


def _random_wiring(num_neurons: int, num_synapses: int) -> Wiring:
    sensory = min(num_synapses // 2, 32 * num_neurons)
    return random_wiring(
        32,
        num_neurons,
        1,
        num_sensory_synapses=sensory,
        num_inner_synapses=num_synapses - sensory,
    )


@contextlib.contextmanager
def _reference_kernels() -> Iterator[None]:
    """Run the plain-torch circuit."""
    before = os.environ.get("NCP_CONTROL_KERNELS", "auto")
    os.environ["NCP_CONTROL_KERNELS"] = "reference"
    try:
        yield
    finally:
        os.environ["NCP_CONTROL_KERNELS"] = before


def _scaling_table(scaling: dict[str, dict[str, float]]) -> str:
    lines = [
        [name, ", ".join(f"{size}: {micros:,.0f}" for size, micros in times.items())]
        for name, times in scaling.items()
    ]
    title = "### growing one size (else NCP19, batch 32 x 16 frames), training step"
    return f"{title}\n\n{markdown_table(['what grows', 'size: [µs]'], lines)}"


def _where() -> str:
    return json.dumps(describe_environment(), indent=1)


if __name__ == "__main__":
    run_job(benchmark, Benchmark, "Time training and control steps of our circuits and peers.")
