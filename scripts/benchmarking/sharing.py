"""What a step of imitation costs where torchrun's processes share it, and a model of more of them.

One process reads a batch and hands out shares of it. So with R rows in a batch, S bytes and g
seconds of gradient a row, P parameters, and a network that carries W bytes a second, a step of N
processes takes

    T(N) = R (r + S (N - 1) / (N W)) + f + R g / N + 12 P log2(N) / W

where r reads a row and f is what does not depend on the batch. Weights go out as 4 bytes and sums
of gradients come back as 8, along a tree. Nothing overlaps.
"""

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn.utils import parameters_to_vector

from ncp_control.learning.demonstrations import Batch, Demonstrations, DemonstrationWriter, Windows
from ncp_control.learning.imitation import ImitationLoss
from ncp_control.learning.launched import rank
from ncp_control.learning.settings import ImitationConfig
from ncp_control.learning.team import help_learning, leading, team
from ncp_control.markdown import markdown_table
from ncp_control.policy.heads import DRIVING_FRAME
from policies.driving import make_driving_policy
from scripts.benchmarking.fresh import measure_afresh

ROWS, FRAMES = 16, 32
"""Windows in a batch, and frames in each."""
STEPS = 6
LARGE_BATCH = 4096
NETWORKS = {"1 Gbit/s": 1.25e8, "10 Gbit/s": 1.25e9, "100 Gbit/s": 1.25e10}
PROCESSES = 2, 8, 64, 512


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a step is made of, in processor time of one thread."""

    head: str
    parameters: int
    row_bytes: int
    """S: a window of frames and what belongs to it."""
    read_s: float
    """r: reading one row from the disk's cache."""
    gradient_s: float
    """g: forward and backward pass of one row."""
    fixed_s: float
    """f: what a gradient costs besides, and Adam."""
    measured: float
    """Time of a step in one process over that in two, on this machine, measured in turn."""

    def step_s(self, rows: int, processes: int, bytes_per_s: float) -> float:
        """Return the time that the model gives a step [s]."""
        sent = rows * self.row_bytes * (processes - 1) / processes
        tree = 12 * self.parameters * math.log2(processes)
        work = rows * self.read_s + self.fixed_s + rows * self.gradient_s / processes
        return work + (sent + tree) / bytes_per_s


def measure_sharing(rounds: int) -> list[Costs]:
    """Measure the costs of both heads."""
    return [_measure(head, rounds) for head in ("light", "paper")]


def sharing_table(found: Sequence[Costs]) -> str:
    """Return what was measured, and what the model makes of it."""
    header = ["head", "parameters", "bytes a row", "read [ms]", "gradient [ms]", "the rest [ms]"]
    header.append("two processes, measured")
    rows = [
        [
            costs.head,
            f"{costs.parameters:,}",
            f"{costs.row_bytes:,}",
            *(f"{1e3 * s:.2f}" for s in (costs.read_s, costs.gradient_s, costs.fixed_s)),
            f"{costs.measured:.2f} ×",
        ]
        for costs in found
    ]
    text = f"### A step of imitation, for a row of {FRAMES} frames\n\n"
    text += markdown_table(header, rows)
    header = ["head", "batch", "network", *(f"{n} processes" for n in PROCESSES)]
    rows = []
    for costs in found:
        for batch in (ROWS, LARGE_BATCH):
            for network, bytes_per_s in NETWORKS.items():
                alone = costs.step_s(batch, 1, bytes_per_s)
                times = [
                    f"{alone / costs.step_s(batch, n, bytes_per_s):.1f} ×" if n <= batch else "–"
                    for n in PROCESSES
                ]
                rows.append([costs.head, str(batch), network, *times])
    title = "### The model: times as fast as one process"
    return f"{text}\n\n{title}\n\n{markdown_table(header, rows)}"


def _measure(head: str, rounds: int) -> Costs:
    policy, loss = make_driving_policy("ncp", head=head), _loss()
    parameters = list(policy.parameters())
    adam = torch.optim.Adam(parameters)
    whole, half = _batch(ROWS), _batch(ROWS // 2)

    def gradient(batch: Batch) -> None:
        adam.zero_grad()
        loss.loss(policy, batch).backward()

    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder) / "store")
        batches = Windows(store, FRAMES, ROWS, seed=0)
        times = np.array([
            [
                _processor_s(gradient, whole),
                _processor_s(gradient, half),
                _processor_s(lambda _: next(iter(batches)), whole),
                _processor_s(lambda _: adam.step(), whole),
            ]
            for _ in range(rounds)
        ])  # fmt: skip
    full_s, half_s, read_s, adam_s = np.median(times, axis=0).tolist()
    gradient_s = (full_s - half_s) / (ROWS - ROWS // 2)
    return Costs(
        head=head,
        parameters=len(parameters_to_vector(parameters)),
        row_bytes=sum(tensor.nbytes for tensor in vars(whole).values()) // ROWS,
        read_s=read_s / ROWS,
        gradient_s=gradient_s,
        fixed_s=max(full_s - ROWS * gradient_s, 0.0) + adam_s,
        measured=_measured(head, rounds),
    )


def _measured(head: str, rounds: int) -> float:
    """Return how many times as fast two processes are as one."""
    ratios = [_launch(head, 1) / _launch(head, 2) for _ in range(max(rounds // 3, 1))]
    return float(np.median(ratios))


def _launch(head: str, processes: int) -> float:
    """Return the time of a step in as many processes [s]."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return measure_afresh("scripts.benchmarking.sharing", head, launch)


def _print_step_time(head: str) -> None:
    """Take steps as the first of torchrun's processes, and print the time of one."""
    torch.set_num_threads(1)
    if rank():
        help_learning()
        return
    with leading():
        policy, loss, batch = make_driving_policy("ncp", head=head), _loss(), _batch(ROWS)
        leader = team()
        times = []
        for _ in range(STEPS):
            began = time.perf_counter()
            if leader is None:
                loss.loss(policy, batch).backward()
            else:
                leader.take_gradient(loss, policy, batch)
            times.append(time.perf_counter() - began)
    print(float(np.median(times[1:])))  # the first one also sends the model
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _loss() -> ImitationLoss:
    return ImitationLoss(ImitationConfig())


def _batch(rows: int) -> Batch:
    return Batch(
        observations=torch.randint(256, (rows, FRAMES, *DRIVING_FRAME), dtype=torch.uint8),
        actions=torch.rand(rows, FRAMES, 1) * 2.0 - 1.0,
        dt_s=torch.full((rows, FRAMES), 1 / 30),
        mask=torch.ones(rows, FRAMES, dtype=torch.bool),
    )


def _store(folder: Path) -> Demonstrations:
    batch = _batch(4 * ROWS)
    with DemonstrationWriter(folder, DRIVING_FRAME) as writer:
        for observations, actions, dt_s in zip(
            batch.observations, batch.actions, batch.dt_s, strict=True
        ):
            writer.append_episode(observations.numpy(), actions.numpy(), dt_s.numpy())
    return Demonstrations.open(folder)


def _processor_s(action: Callable[[Batch], object], batch: Batch) -> float:
    """Return the processor time of an action [s], which other processes do not lengthen."""
    began = time.process_time()
    action(batch)
    return time.process_time() - began


if __name__ == "__main__":
    _print_step_time(json.loads(sys.argv[1]))
