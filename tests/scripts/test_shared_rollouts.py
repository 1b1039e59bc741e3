"""Trainings whose worlds several processes step learn what one process does, to the last bit."""

import pytest

from scripts.train import train
from scripts.training.jobs import JOBS

WORLD = "--world hopper --neurons 8 --num-envs 3 --evaluation-episodes 1 --sensor-noise-std 0.1"
WORDS = {
    "ppo": f"{WORLD} --steps 384 --rollout-steps 64 --batch-size 64 --epochs 1"
    " --drop-probability 0.2",
    "sac": f"{WORLD} --steps 300 --first-steps 200 --batch-size 16",
}


@pytest.mark.slow
@pytest.mark.parametrize("job", WORDS)
def test_rollouts_do_not_depend_on_the_workers(job, type_command, tmp_path, read):
    for count in (1, 2):
        words = [*WORDS[job].split(), "--runs", str(count), "--workers", str(count)]
        assert type_command(train, JOBS, job, *words) == 0
    one, two = (next((tmp_path / name).iterdir()) for name in ("1", "2"))
    weights = [(run / "policy" / "weights.safetensors").read_bytes() for run in (one, two)]
    assert weights[0] == weights[1]
    rows = [read(run / "metrics.csv") for run in (one, two)]
    assert len(rows[0]) >= 1
    for first, second in zip(*rows, strict=True):
        for name in first.keys() - {"steps_per_s"}:
            assert first[name] == second[name], name


def test_workers_that_are_too_many_or_of_no_use_are_refused(refuse):
    words = ["ppo", "--world", "hopper", "--num-envs", "2", "--workers", "3"]
    refuse(train, JOBS, words, "`workers` must be at most the 2 worlds of `num_envs`, got 3")
    words = ["ppo", "--world", "hopper", "--num-worlds", "4", "--workers", "2"]
    refuse(train, JOBS, words, "`workers` must be left out with --num-worlds, got 2")
