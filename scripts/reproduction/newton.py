"""Solving a sequence in parallel over time by Newton's method, compared with stepping.

The states of a circuit obey v_t = F(v_{t−1}, u_t), frame after frame. Newton's method can solve
these equations for all frames at once. With J_t = ∂F/∂v at the last guess of v_{t−1},

    v_t ← F(v_{t−1}, u_t) + J_t (v'_{t−1} − v_{t−1})        v' new, v old

is linear in the new states, so a scan finds all of them in 2 log₂ T dependent steps. The first k
frames are exact after k iterations. If the circuit forgets, all frames are after a few.

| model        | circuit of 19 neurons                             | J                            |
|--------------|---------------------------------------------------|------------------------------|
| ltc          | LTC over NCP19, 6 sub-steps, initial weights      | whole                        |
| ltc_quasi    | the same                                          | its diagonal alone           |
| ltc_trained  | that of drive-ncp                                 | whole                        |
| diagonal_lrc | LRC unit whose neurons see inputs and themselves  | is diagonal                  |

Measured on a CPU for one sequence: the iterations until no state changes by more than TOLERANCE,
the largest difference from the sequential kernel, and the time of both. Calculated, for unlimited
parallelism: `work` (evaluations of synapses) and `depth` (dependent sub-steps and scan steps), both
relative to the sequential kernel, and the bytes that the scan of one iteration moves.

Sources: Lim et al. 2024 (arXiv 2309.12252, DEER); Gonzalez et al. 2024 (arXiv 2407.19115,
quasi-DEER, and ELK, whose trust region is for systems that do not forget); LrcSSM:
arXiv 2505.21717.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor

from ncp_control import LRC, LTC, NCP19, Synapse, Wiring
from ncp_control.cells import Cell
from ncp_control.learning.results import newest
from ncp_control.markdown import markdown_table
from ncp_control.policy.shipped import load
from scripts.reproduction.completion import Job, Measured, Reproduce, complete
from scripts.timing import measure as time_in_turn
from scripts.timing import torch_threads

MODELS = ("ltc", "ltc_quasi", "ltc_trained", "diagonal_lrc")
LENGTHS = (128, 256, 512, 1024, 2048, 4096)
INPUTS = 32
TOLERANCE, MOST_ITERATIONS = 1e-5, 100
ROUNDS = 5
MEASURES = (
    "iterations",
    "max_error",
    "newton_ms",
    "sequential_ms",
    "times_as_long",
    "work",
    "depth",
    "scan_mb",
)


def reproduce_newton(settings: Reproduce) -> None:
    """Measure the missing rows, and print the medians over seeds."""
    models = settings.chosen("models", MODELS)
    results = settings.results_file(MEASURES)
    seeds = range(settings.seeds or 3)
    jobs = [
        Job(model, seed, f"frames={length}")
        for model in models
        for length in LENGTHS
        for seed in seeds
    ]
    complete(results, jobs, measure, settings)
    rows, lines = newest(results.rows()), []
    for model, length in dict.fromkeys((job.model, job.settings) for job in jobs):
        own = [row for row in rows if (row["model"], row["settings"]) == (model, length)]
        medians = [float(np.median([float(row[name]) for row in own])) for name in MEASURES]
        lines.append([model, length.split("=")[1], *(f"{median:.3g}" for median in medians)])
    print(markdown_table(["model", "frames", *MEASURES], lines))


def measure(job: Job, is_silent: bool) -> Measured:
    """Solve one random sequence with both methods and return the measures."""
    length = int(job.settings.split("=")[1])
    cell, inputs = make_cell(job.model, job.seed), make_inputs(length, job.seed)
    is_quasi = job.model == "ltc_quasi"
    states, iterations = solve(cell, inputs, is_quasi=is_quasi)
    expected = unroll(cell, inputs)
    with torch_threads(1):
        actions = {
            "sequential": functools.partial(unroll, cell, inputs),
            "newton": functools.partial(solve, cell, inputs, is_quasi=is_quasi),
        }
        sequential, newton = time_in_turn("newton", actions, ROUNDS, 1)
    neurons, unfolds = cell.state_size, cell.settings()["unfolds"]
    rows = 1 if is_diagonal(cell) else neurons
    # A multiplication of the scan joins two frames: J J' and J b + b', or products of diagonals.
    numbers = 2 * neurons if is_quasi or is_diagonal(cell) else neurons**2 + neurons
    return {
        "iterations": iterations,
        "max_error": float((states - expected).abs().max()),
        "newton_ms": newton.median_us / 1e3,
        "sequential_ms": sequential.median_us / 1e3,
        "times_as_long": 1.0 / newton.ratio,
        "work": iterations * (1.0 + 2.0 * rows),
        "depth": iterations * (2 * unfolds + 2 * math.log2(length)) / (length * unfolds),
        "scan_mb": 2 * length * 3 * 4 * numbers / 1e6,
    }


def make_cell(model: str, seed: int) -> Cell:
    """Return a circuit of 19 neurons."""
    torch.manual_seed(seed)
    if model == "ltc_trained":
        return load("drive-ncp").circuit.cell
    if model != "diagonal_lrc":
        return LTC(NCP19)
    inner = [Synapse(s, s, 1) for s in range(INPUTS, NCP19.num_nodes)]
    sensory = [Synapse(k, s, 1 - 2 * ((k + s) % 2)) for k in range(INPUTS) for s, *_ in inner]
    wiring = Wiring(
        num_sensory=INPUTS,
        num_inter=0,
        num_command=NCP19.num_neurons - 1,
        num_motor=1,
        synapses=(*sensory, *inner),
    )
    return LRC(wiring, integrator="explicit_euler", unfolds=1)


def make_inputs(length: int, seed: int) -> Tensor:
    """Return low-pass filtered noise of variance 1, shape (length, INPUTS)."""
    noise = torch.randn(length, INPUTS, generator=torch.Generator().manual_seed(seed))
    for t in range(1, length):
        noise[t] = 0.9 * noise[t - 1] + math.sqrt(1.0 - 0.9**2) * noise[t]
    return noise


@torch.no_grad()
def unroll(cell: Cell, inputs: Tensor) -> Tensor:
    """Return the states of one sequence by the sequential kernel, shape (time, state)."""
    dt_s = torch.full((1, len(inputs)), cell.frame_s)
    return cell.unroll(inputs[None], cell.initial_state(1), dt_s, None)[0]


def solve(cell: Cell, inputs: Tensor, *, is_quasi: bool = False) -> tuple[Tensor, int]:
    """Find the states of one sequence by Newton's method, all frames at once.

    Args:
        cell: The circuit.
        inputs: One input vector per frame, shape (time, input).
        is_quasi: Whether to use only the diagonal of J.

    Returns:
        The states, shape (time, state), and the number of iterations.
    """
    states = inputs.new_zeros(len(inputs), cell.state_size)
    change, iterations = math.inf, 0
    while change > TOLERANCE and iterations < MOST_ITERATIONS:
        before = torch.cat([cell.initial_state(1).detach(), states[:-1]])
        after, jacobian = linearise(cell, before, inputs)
        if is_quasi:
            jacobian = jacobian.diagonal(dim1=1, dim2=2)
        new = scan(jacobian, after - apply(jacobian, before))
        change = float((new - states).abs().max())
        states, iterations = new, iterations + 1
    return states, iterations


def is_diagonal(cell: Cell) -> bool:
    """Whether no neuron has a synapse from another neuron."""
    wiring = cell.settings()["wiring"]
    return all(s.source in (*range(wiring.num_sensory), s.target) for s in wiring.synapses)


def linearise(cell: Cell, before: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states one frame after each of `before`, and J, by the kernel and its adjoint.

    J has shape (time, state, state), or (time, state) if it is diagonal. Each row of J takes one
    adjoint pass per frame; all passes are one batch of sequences of one frame.
    """
    length, neurons = before.shape
    rows = 1 if is_diagonal(cell) else neurons
    weight = before.new_ones(1, neurons) if rows == 1 else torch.eye(neurons)
    start = before.repeat(rows, 1).requires_grad_()
    dt_s = torch.full((rows * length, 1), cell.frame_s)
    frames = inputs.repeat(rows, 1)[:, None]
    after = cell.unroll(frames, start, dt_s, None)[:, 0]
    (found,) = torch.autograd.grad(after, start, weight.repeat_interleave(length, dim=0))
    jacobian = found.view(rows, length, neurons).transpose(0, 1)
    return after[:length].detach(), jacobian[:, 0] if rows == 1 else jacobian


def apply(jacobian: Tensor, vector: Tensor) -> Tensor:
    """Return J v for each frame; `jacobian` is full or diagonal."""
    is_whole = jacobian.ndim == 3
    return (jacobian @ vector[..., None])[..., 0] if is_whole else jacobian * vector


def scan(jacobian: Tensor, drive: Tensor) -> Tensor:
    """Solve v_t = J_t v_{t−1} + b_t for all t, with v = 0 before the first frame.

    Recursive: join pairs of frames, solve the half as many frames, then compute the frames in
    between. This takes 2 log₂ T dependent steps and 2 T products in total.
    """
    if len(drive) == 1:
        return drive
    whole = len(drive) // 2 * 2
    first, second = jacobian[0:whole:2], jacobian[1:whole:2]
    joined = second @ first if jacobian.ndim == 3 else second * first
    odd = scan(joined, apply(second, drive[0:whole:2]) + drive[1:whole:2])
    solved = drive.clone()
    solved[1:whole:2] = odd
    solved[2::2] = apply(jacobian[2::2], odd[: len(solved[2::2])]) + drive[2::2]
    return solved
