"""What the benchmark says besides times: errors, memory and sizes that can be known otherwise."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ncp_control import LTC, NCP19, Circuit
from ncp_control.kernels.native import require_library
from scripts.benchmark import benchmark
from scripts.benchmarking import limited, scaling, tables
from scripts.benchmarking.acting import acting_table, measure_acting
from scripts.benchmarking.costs import SOLVERS, measure_accuracy, saved_bytes
from scripts.benchmarking.demonstrations import (
    PARTS,
    REST,
    RecordingCost,
    demonstrations_table,
    measure_demonstrations,
)
from scripts.benchmarking.limited import Limited, limited_table
from scripts.benchmarking.parts import _write
from scripts.benchmarking.reinforcement import STEPS, reinforcement_table
from scripts.benchmarking.scaling import SWEEPS, Point, _wiring, draw_scaling, scaling_table
from scripts.benchmarking.settings import Benchmark
from scripts.benchmarking.steps import BLOCK
from scripts.benchmarking.table_trainings import TABLES
from scripts.benchmarking.tables import TableTime, tables_table, time_training
from scripts.benchmarking.worlds import PLACES, Speed, measure_worlds, worlds_table
from scripts.reproduction.completion import Job
from scripts.timing import TimedRow

RESULTS = Path(__file__).parents[2] / "results"


def test_what_autograd_keeps_of_a_square_is_its_argument_once():
    class Square(nn.Module):
        def forward(self, x):
            return x * x + x * x  # saves x four times

    assert saved_bytes(Square(), torch.rand(4, 5, 3)) == 3 * 4


def test_what_the_kernel_keeps_is_its_tape_and_its_arguments():
    numbers = 32 + 1 + 19 + 6 * 2 * 19  # inputs, elapsed time, states, tape
    first_states = 19 / 20
    kept = saved_bytes(Circuit(LTC(NCP19)), torch.rand(16, 20, 32))
    assert kept == pytest.approx(4 * (numbers + first_states))


def test_the_floor_computes_sigmoids():
    values = torch.linspace(-200.0, 200.0, BLOCK)
    expected = 1 / (1 + torch.exp2(1 / (1 + torch.exp2(values))))
    require_library(torch.float32).sigmoids(values.data_ptr(), BLOCK, 2)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SWEEPS if name.startswith("synapses")])
def test_wirings_have_as_many_synapses_as_they_say(name):
    for size in SWEEPS[name][:3]:
        assert _wiring(name, size).num_synapses == size
    assert _wiring("synapses, 310 neurons", 1_000).num_neurons == 310


@pytest.mark.slow
def test_integrators_rank_as_their_order_says():
    errors = {(row.integrator, row.unfolds): row.frame_error for row in measure_accuracy(1)}
    assert list(errors) == list(SOLVERS)
    euler = [errors["semi_implicit_euler", unfolds] for unfolds in (1, 3, 6, 12)]
    assert euler == sorted(euler, reverse=True)
    assert euler[2] / euler[3] == pytest.approx(2, rel=0.2)  # order 1
    assert 5 * errors["layered_midpoint", 2] < errors["semi_implicit_euler", 6]


def test_the_plot_and_the_table_show_every_point():
    points = [
        Point(size=n, neurons=19, synapses=250, median_us=1e3 * n, synapse_ps=1.0) for n in (1, 8)
    ]
    scaling = dict.fromkeys(SWEEPS, points)
    assert scaling_table(scaling).count("| 8.00 ") == len(SWEEPS)
    figure = draw_scaling(scaling)
    assert [axes.get_xlabel() for axes in figure.axes] == list(SWEEPS)
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [1, 8])
    (threads,) = (axes for axes in figure.axes if axes.get_xlabel() == "threads")
    np.testing.assert_allclose(threads.lines[0].get_ydata(), [1, 1 / 8])


def test_a_circuit_is_timed_with_every_number_of_threads(monkeypatch):
    seen = []
    monkeypatch.setattr(scaling, "training_step", lambda *_: lambda: seen.append(threads()))
    threads, before = torch.get_num_threads, torch.get_num_threads()
    points = scaling.scale("threads", 1)
    assert tuple(point.size for point in points) == SWEEPS["threads"] and threads() == before
    assert {*seen} == {*SWEEPS["threads"]} and SWEEPS["threads"][0] == 1
    assert SWEEPS["threads"][-1] == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("name", TABLES)
def test_trainings_are_timed_that_the_published_tables_had(name):
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        pytest.skip("it is not published")
    with path.open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    table, compared = TABLES[name], 0
    for model in table.models:
        network, config = table.set_up(table.draw(1), table.epochs, "cpu", Job(model, 0, ""))
        if model in rows:
            compared += 1
            numbers = sum(parameter.numel() for parameter in network.parameters())
            assert numbers == int(rows[model]["parameters"]), model
            assert f" batch={config.batch_size} " in rows[model]["settings"], model
    assert compared or name == "imdb"


@pytest.mark.parametrize(
    ("name", "batch", "num_steps"), [("gesture", 16, 5600), ("digits", 32, 3120)]
)
def test_a_part_of_a_training_is_timed_on_both_kernels(monkeypatch, name, batch, num_steps):
    seen = []

    def train(model, training, validation, config, **options):
        seen.append((os.environ.get("NCP_CONTROL_KERNELS", "auto"), len(training), config.epochs))

    monkeypatch.setattr(tables, "train", train)
    row = time_training(name, "cfc", 1)
    assert {*seen} == {(kind, tables.STEPS * batch, 1) for kind in ("reference", "auto")}
    assert seen[0][0] == "reference", "which is the time before"
    assert (row.batch, row.num_steps) == (batch, num_steps)


def test_the_memory_table_is_timed_too():
    row = time_training("memory", "cfc", 1)
    assert (row.batch, row.frames, row.num_steps) == (64, 32, 800)
    assert row.ratio == pytest.approx(row.before_s / row.after_s)


def test_hours_of_a_seed_are_its_steps_times_a_step():
    shared = {"table": "xor", "batch": 64, "frames": 10.6, "before_spread": 0.01}
    shared |= {"after_spread": 0.02, "num_steps": 36_000}
    rows = [
        TableTime(model="ltc", before_s=0.3, after_s=0.01, ratio=30.0, **shared),
        TableTime(model="cfc", before_s=0.1, after_s=0.03, ratio=3.3, **shared),
    ]
    text = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in tables_table(rows).splitlines()
    ]
    assert ["xor", "2", "4.00", "0.40", "10.0"] in text
    told = ["36,000", "300.0 ± 1%", "10.0 ± 2%", "30.0", "3.000", "0.100"]
    assert ["xor", "ltc", "64 x 11", *told] in text


def test_speeds_of_reinforcement_are_steps_a_second():
    row = TimedRow(table="PPO", name="stock", threads=1, median_us=2e6, spread=0.1, ratio=1.0)
    assert f"| {STEPS / 2:,.0f} ± 10% | 1.00 " in reinforcement_table([row])


def test_speeds_of_worlds_are_told_with_their_memory():
    shared = {"place": "p", "num_worlds": 64, "steps_per_s": 1234.4, "spread": 0.05}
    rows = [Speed(name="a", world_kb=None, **shared), Speed(name="b", world_kb=22.25, **shared)]
    table = worlds_table(rows, "cpu")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[-2:] == [["a", "1,234 ± 5%", ""], ["b", "1,234 ± 5%", "22.2"]]


@pytest.mark.slow
def test_worlds_are_measured_beside_mujocos_c():
    pytest.importorskip("mujoco_warp")
    rows = measure_worlds(torch.device("cpu"), 1)
    assert [row.num_worlds for row in rows] == [1, 16, 64, 256] * len(PLACES)
    assert [row.place for row in rows[::4]] == [*PLACES]
    assert all(row.steps_per_s > 0 for row in rows)
    assert all(row.world_kb > 1 for row in rows if row.num_worlds > 1)


@pytest.mark.slow
def test_all_ways_to_act_are_measured_and_do_the_same():
    rows = measure_acting(4)
    assert len(rows) == 8 and {row.ratio for row in rows if "torch" in row.name} == {1.0}
    assert all(0 < row.median_us <= row.high_us for row in rows)
    assert max(row.difference for row in rows) < 1e-5
    assert acting_table(rows).count("\n| untrained, paper head ") == 4


def test_settings_of_another_part_are_refused():
    with pytest.raises(ValueError, match="`calls` must be left out without the part act, got 5"):
        Benchmark(calls=5)


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="`parts` must be one of"):
        Benchmark(parts=("reinforcment",))


@pytest.mark.parametrize(
    ("name", "value"), [("rounds", 0), ("threads", (1, 0)), ("shapes", ((64, 32), (0, 8)))]
)
def test_nothing_to_measure_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must .*at least 1, got"):
        Benchmark(**{name: value})


@pytest.fixture
def quick_part(monkeypatch):
    """The part circuits, with nothing measured."""

    def measure(settings, folder):
        _write(folder, "benchmark", ["| a |"], {"rows": []})

    monkeypatch.setattr("scripts.benchmarking.parts.benchmark_circuits", measure)


def test_a_benchmark_goes_to_a_run_folder(type_command, quick_part, tmp_path, capsys):
    assert type_command(benchmark, Benchmark, "--parts", "circuits") == 0
    (run,) = (tmp_path / "runs").glob("benchmark-circuits-*")
    assert f"results: runs/{run.name}" in capsys.readouterr().out
    assert {"config.json", "benchmark.md", "benchmark.json"} <= {p.name for p in run.iterdir()}
    assert not (tmp_path / "results").exists(), "published tables are replaced by name alone"


def test_published_timings_are_replaced_by_name(type_command, quick_part, tmp_path):
    words = ["--parts", "circuits", "--results", "results/benchmark"]
    assert type_command(benchmark, Benchmark, *words) == 0
    assert {path.name for path in tmp_path.rglob("*.*")} == {"benchmark.md", "benchmark.json"}


def test_a_folder_that_cannot_be_written_is_found_before_the_work(refuse, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "scripts.benchmarking.parts.benchmark_circuits", lambda *_: pytest.fail("measured")
    )
    (tmp_path / "file").touch()
    words = ["--parts", "circuits", "--results", "file"]
    refuse(benchmark, Benchmark, words, "Not a folder: .*file")


@pytest.mark.slow
def test_a_limit_of_memory_is_a_limit():
    """A process in a group of 200 MB may map a file of that size, and is killed for more memory."""
    code = "import sys; from scripts.benchmarking.limited import limited_memory\n"
    code += "with limited_memory(200_000_000): taken = bytearray(int(sys.argv[1]))"
    ends = []
    for size in (10_000_000, 600_000_000):
        words = [sys.executable, "-c", code, str(size)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            _, told = process.communicate()
        for left in Path("/sys/fs/cgroup").rglob(f"ncp-control-{process.pid}"):
            left.rmdir()
        if "The part limited must be run" in told:
            pytest.skip("control groups of memory cannot be made here")
        ends.append(process.returncode)
    assert ends == [0, -signal.SIGKILL]


@pytest.fixture
def control_groups(tmp_path, monkeypatch):
    """A tree of groups as version 2 shows it to a process in a session of systemd."""
    monkeypatch.setattr(limited, "_ROOT", tmp_path)
    monkeypatch.setattr(limited, "_OWN", tmp_path / "own")
    (tmp_path / "own").write_text("0::/user.slice/session.scope\n")
    (tmp_path / "user.slice" / "session.scope").mkdir(parents=True)
    for folder, handed_on in (
        (tmp_path, "cpu memory"),
        (tmp_path / "user.slice", "cpu memory pids"),
        (tmp_path / "user.slice" / "session.scope", ""),
    ):
        (folder / "cgroup.subtree_control").write_text(handed_on)
    return tmp_path


def test_a_group_is_made_where_memory_can_be_limited(control_groups):
    with limited.limited_memory(1000):
        group = control_groups / "user.slice" / f"ncp-control-{os.getpid()}"
        assert (group / "memory.max").read_text() == "1000"
        assert (group / "cgroup.procs").read_text() == str(os.getpid())
        for file in group.iterdir():  # the kernel's own files go with their folder
            file.unlink()
    own = control_groups / "user.slice" / "session.scope" / "cgroup.procs"
    assert own.read_text() == str(os.getpid()) and not group.exists()


def test_the_part_limited_is_refused_where_no_group_limits_memory(control_groups, monkeypatch):
    monkeypatch.setattr(limited, "demonstrate", lambda *_: pytest.fail("measured"))
    for folder in (control_groups, control_groups / "user.slice"):
        (folder / "cgroup.subtree_control").write_text("cpu")
    with pytest.raises(ValueError, match="must be run where control groups limit memory, got none"):
        limited.measure_limited()
    (control_groups / "own").unlink()  # as without Linux
    with pytest.raises(ValueError, match="must be run where control groups limit memory, got none"):
        limited.measure_limited()


def test_trainings_under_a_limit_are_told_with_their_size():
    rows = [Limited(name="a", store_gb=10.744, step_ms=123.4)]
    assert "| a             | 10.74        | 123 " in limited_table(rows)


def test_frames_a_second_are_of_the_median_recording():
    found = [
        RecordingCost(num_frames=4080, frame_us=us, part_us={"physics": us / 4, REST: 0.75 * us})
        for us in (400.0, 500.0, 625.0)
    ]
    table = demonstrations_table(found)
    assert "2,000 ± 225 frames/s of one core, 4,080 frames in each of 3 rounds" in table
    assert "| physics | 125 ± 14 | 25% |" in " ".join(table.split())


@pytest.mark.slow
def test_parts_of_a_recording_are_all_timed_and_add_up():
    (found,) = measure_demonstrations(1, tracks=1)
    assert found.num_frames == 510
    assert list(found.part_us) == [*PARTS, REST]
    assert min(found.part_us.values()) > 0.0
    assert sum(found.part_us.values()) == pytest.approx(found.frame_us)
