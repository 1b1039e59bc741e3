"""Trainings whose batches torchrun's processes share: the numbers of one process, one writer."""

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ncp_control.learning.run import Run
from scripts.train import train
from scripts.training.imitation_settings import Drive
from scripts.training.jobs import JOBS
from scripts.training.resumption import begun_with
from tests.scripts.processes import descendants, started, status_of
from tests.scripts.tiny_world import TINY

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


LIMIT_S = 240.0
WORDS = {
    "imitate": f"{TINY} --imitation.epochs 3",
    "imitate pictures": "--world LaneKeeping-v0 --neurons 12 --episodes 2 --imitation.epochs 2"
    " --imitation.epoch-steps 4 --imitation.dagger-epochs 1 --dagger-episodes 1"
    " --validation-episodes 1 --evaluation-episodes 1",
    "ppo": "--world tests.scripts.tiny_world:Reach --neurons 8 --steps 512 --num-envs 2"
    " --rollout-steps 64 --batch-size 96 --epochs 2 --evaluation-episodes 1",
    "distill": "--world walker2d --threads 1 --distillation.rounds 2 --distillation.worlds 4"
    " --distillation.steps-per-round 60 --distillation.updates-per-round 20"
    " --distillation.batch-size 16 --evaluation-episodes 1",
}
TOLD = {
    "imitate": ("loss",),
    "imitate pictures": ("loss",),
    "ppo": ("value_loss", "approx_kl", "action_std"),
    "distill": (),
}
"""Columns of metrics.csv that show what was learned."""


def words_of(job, runs, *others):
    return [TRAIN, job.split()[0], *shlex.split(WORDS[job]), "--runs", runs, *others]


def policy_of(folder):
    """Return the weights of the only run in a folder."""
    (run,) = folder.iterdir()
    return load_file(run / "policy" / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("job", WORDS)
def test_two_processes_learn_what_one_does(job, tmp_path, read):
    for runs, launch in (("alone", [sys.executable]), ("both", LAUNCH)):
        command = [*launch, *words_of(job, runs)]
        assert status_of(command, limit_s=LIMIT_S, cwd=tmp_path) == 0, runs
    alone, both = (policy_of(tmp_path / name) for name in ("alone", "both"))
    assert alone.keys() == both.keys()
    for name, value in alone.items():
        assert (value - both[name]).abs().max() <= 1e-3 * value.abs().max() + 1e-4, name
    one, two = (read(next((tmp_path / name).glob("*/metrics.csv"))) for name in ("alone", "both"))
    assert len(one) == len(two) >= 2
    for name in TOLD[job]:
        first, second = (float(rows[0][name]) for rows in (one, two))
        assert second == pytest.approx(first, rel=1e-3, abs=1e-6), name
    assert len(read(next((tmp_path / "both").glob("*/results.csv")))) == 1


@pytest.mark.slow
def test_a_killed_process_costs_only_what_came_after_the_checkpoint(tmp_path):
    long = ["--imitation.epochs", "60"]
    whole = [*LAUNCH, *words_of("imitate", "whole", *long)]
    assert status_of(whole, limit_s=LIMIT_S, cwd=tmp_path) == 0
    launch = [*LAUNCH, "--max-restarts", "2"]
    with started([*launch, *words_of("imitate", "killed", *long)], cwd=tmp_path) as process:
        for victim in (1, 0):  # a helper, then perhaps the process that writes
            while process.poll() is None and not any(
                (tmp_path / "killed").glob("*/checkpoints/training.safetensors")
            ):
                time.sleep(0.05)
            time.sleep(0.5)
            below = [n for n in sorted(descendants(process.pid, "train.py")) if n != process.pid]
            if len(below) > victim and process.poll() is None:
                os.kill(below[victim], signal.SIGKILL)
                time.sleep(5.0)
        assert process.wait(LIMIT_S) == 0
    (run,) = (tmp_path / "killed").iterdir()
    assert len(list(run.glob("events.out.*"))) >= 2  # it was opened more than once
    whole, killed = policy_of(tmp_path / "whole"), policy_of(tmp_path / "killed")
    assert all((whole[name] == killed[name]).all() for name in whole)


def test_jobs_that_cannot_share_batches_are_refused(refuse, monkeypatch):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    refuse(train, JOBS, ["teacher"], "`job` must be one of drive, .* under torchrun .*'teacher'")


def test_a_restarted_job_finds_the_run_that_it_had_begun(tmp_path, monkeypatch):
    launch = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    asked = Drive(model="lstm", runs=tmp_path)
    mine = Run.create("drive", "lstm", asked, root=tmp_path).folder
    (mine / "checkpoints").mkdir()
    (mine / "checkpoints" / "training.safetensors").touch()
    assert begun_with(asked) is asked  # the first time
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert begun_with(asked) == Drive(model="lstm", runs=tmp_path, resume=mine)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    assert begun_with(asked) is asked and mine.is_dir()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    (mine / "checkpoints" / "training.safetensors").unlink()
    assert begun_with(asked) is asked and not mine.exists()  # begun anew
