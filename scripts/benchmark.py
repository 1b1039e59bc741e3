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

from ncp_control.command_line import find, run_job
from ncp_control.learning.results import check_writable
from ncp_control.learning.run import Run
from scripts.benchmarking.settings import PARTS, Benchmark


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
