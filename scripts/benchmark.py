"""Measure the speed of our circuits against ncps, LSTM and GRU, interleaved in one run.

    python scripts/benchmark.py
    python scripts/benchmark.py --parts reinforcement     one part of it

All rows are timed in turn, round after round, so that a machine that slows down slows all of them.
The table gives medians, their spread, and ratios within the same rounds. "Floor" is the time of the
sigmoids alone, in the forward pass and again in the adjoint, measured in the same rounds: no exact
method that stores no sigmoids can be faster.

Then: error and cost of each integrator, memory that autograd keeps, cost of the first use, and how
the cost grows with each size and falls with threads.
Part cells: a training step of every other cell beside torch's LSTM and GRU of the same size, and a
control step of each.
Part reinforcement: PPO in Walker2d-v5 with a circuit as the actor, against sb3-contrib's
RecurrentPPO.
Part export: policies as C: size and instructions on a Cortex-M4 (needs cross compiler and QEMU),
time on this machine, and how they drive.
Part act: one call of a driving policy, from frame to steering, on torch, kernels, C and ONNX.
Part chunks: memory of backpropagation through long sequences, whole and in chunks of time.
Part worlds: HalfCheetah and driving in mujoco-warp, many environments at once, beside MuJoCo's C;
needs the extra gpu.
Part stores: training from frames on disk, stored raw, as PNG or as JPEG.
Part limited: training from 11 GB of frames in a process limited to 1 GiB of memory; needs root.
Part demonstrations: speed and cost of recording an expert's driving on one core.
Part sharing: a training step shared by the processes of torchrun, and a model of many processes.
Part tables: one seed of the tables of reproduce.py, on plain torch and on the kernels; takes a
quarter of an hour, and is extrapolated from some tens of steps of each training.
"""

from ncp_control.command_line import find, run_job
from ncp_control.learning.results import check_writable
from ncp_control.learning.run import Run
from scripts.benchmarking.settings import PARTS, Benchmark


def benchmark(settings: Benchmark) -> None:
    """Measure each part, and print and write its tables."""
    if settings.results is None:
        run = Run.create("benchmark", "-".join(settings.parts), settings, root=settings.runs)
        folder = run.folder
    else:
        folder = settings.results
        check_writable(folder / "benchmark.md")  # fails before the work, not after it
    for part in settings.parts:
        find(PARTS[part])(settings, folder)
    print(f"results: {folder}")


if __name__ == "__main__":
    run_job(benchmark, Benchmark, "Time training and control steps of our circuits and peers.")
