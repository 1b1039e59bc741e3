"""Evaluation by several workers gives the numbers of one process, to the last digit."""

import json
import shlex
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import envs  # noqa: F401 - registers the worlds
from ncp_control.acting.closed_loop import PolicyPilot, Rows, RowsPilot
from ncp_control.policy import load
from ncp_control.worlds import find_world
from policies.locomotion import make_policy_for
from scripts.evaluate import evaluate_policy
from scripts.evaluation.driving import DriveSettings
from scripts.evaluation.moments import Moment, worst_of
from scripts.evaluation.places import Place
from scripts.evaluation.settings import Evaluate
from scripts.evaluation.sharing import Actors
from scripts.train import train
from scripts.training.jobs import JOBS
from tests.scripts.tiny_world import TINY

SHORT = DriveSettings(tracks="validation", num_tracks=1, seconds_per_track=0.2)


@cache
def pendulum():
    return find_world("gymnasium:Pendulum-v1")


def make_policy(encoder=()):
    torch.manual_seed(0)
    policy = make_policy_for(pendulum().contract, "ltc", num_neurons=12, encoder=encoder, seed=0)
    policy.contract = pendulum().contract
    return policy


def place_of(count, parallel=None):
    return Place(world=pendulum(), seeds=range(count), parallel=parallel, num_steps=20)


@pytest.mark.parametrize("encoder", [(), (64, 64)])
@pytest.mark.parametrize("workers", [2, 3])
def test_shares_give_what_the_whole_gives(encoder, workers):
    place, policy = place_of(7, parallel=4), make_policy(encoder)
    whole = place.run(policy)
    shared = [e for share in place.shares(workers) for e in place.run_share(policy, share)]
    assert [e.total_reward for e in whole] == [e.total_reward for e in shared]
    for one, other in zip(whole, shared, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)


def test_rows_of_frames_get_the_actions_that_they_get_in_the_batch():
    policy, rng = load("drive-ncp"), np.random.default_rng(0)
    whole, rows = PolicyPilot(policy), RowsPilot(PolicyPilot(policy), Rows(2, 5))
    for k in range(3):
        seen = rng.integers(0, 256, (5, 78, 200, 3), dtype=np.uint8)
        dt_s, reset = np.full(5, 0.03, np.float32), np.full(5, k == 0)
        actions = whole(seen, [{}] * 5, dt_s, reset)
        few = rows(seen[2:4], [{}] * 2, dt_s[2:4], reset[2:4])
        np.testing.assert_array_equal(few, actions[2:4])


def test_moments_do_not_depend_on_who_found_them_first():
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    found = [
        Moment(frames=frames, caption=told, speed_mps=speed, place=place, seed=0)
        for told, speed, place in [("a", 5.0, (1, 2)), ("b", 5.0, (1, 2)), ("c", 5.0, (0, 3))]
    ]
    for order in (found, found[::-1]):
        assert [moment.caption for moment in worst_of(order)] == ["c", "a"]
        at_first = worst_of(order[:2])
        assert [moment.caption for moment in worst_of([*at_first, *order[2:]])] == ["c", "a"]


def test_crashes_of_episodes_that_do_not_count_are_not_shown(monkeypatch):
    def turn(observations, *_):
        return np.tile(np.float32([1.0, 0.2]), (len(observations), 1))

    monkeypatch.setattr("scripts.evaluation.sharing._make_actors", lambda *_: {"torch": turn})
    road = find_world("RoadDriving-v0", traffic="none", on_crash="recover", episode_s=8.0)
    place = Place(world=road, seeds=[5, 6, 7], least_km=0.001)
    worst: list[Moment] = []
    actors = Actors(make_policy(), Evaluate(policy=Path("turner")), workers=None)
    ((_, episodes),) = actors.act_in([place], worst)
    assert len(episodes) == 1
    assert {moment.seed for moment in worst} == {5}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["pendulum", "--episodes", "3", "--noise", "0", "0.1", "--backend", "torch", "c"],
        ["drive-ncp", "--km", "0.26"],
        ["road", "--km", "0.03"],
    ],
    ids=lambda words: words[0],
)
def test_workers_write_the_tables_of_one_process(words, type_command, read, tmp_path, monkeypatch):
    for name in ("FILM_S", "DRIVE_FILM_S"):
        monkeypatch.setattr(f"scripts.evaluation.evaluation_job.{name}", 0.1)
    make_policy((16,)).save(tmp_path / "pendulum")
    road = find_world("RoadDriving-v0", tracks="held_out", on_crash="recover")
    torch.manual_seed(0)
    driver = make_policy_for(road.contract, "ltc", num_neurons=12, seed=0)
    driver.contract = road.contract
    driver.save(tmp_path / "road")
    for count in (1, 2):
        asked = [*words, "--workers", count, "--results", f"{count}.csv", "--threads", 1]
        assert type_command(evaluate_policy, Evaluate, *asked) == 0
    rows = [read(tmp_path / f"{count}.csv") for count in (1, 2)]
    own = ("command", "time")
    assert [{k: v for k, v in row.items() if k not in own} for row in rows[0]] == [
        {k: v for k, v in row.items() if k not in own} for row in rows[1]
    ]
    one, two = sorted((tmp_path / "runs").iterdir())
    assert not (two / "film.mp4").exists()  # a worker's draft
    made = [sorted(path.name for path in run.glob("report/*")) for run in (one, two)]
    assert made[0] == made[1]
    for name in made[0]:
        if name != "report.md":  # which names its run
            assert (one / "report" / name).read_bytes() == (two / "report" / name).read_bytes()
    assert json.loads((two / "config.json").read_text())["settings"]["workers"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("job", ["drive", "imitate"])
def test_workers_write_the_demonstrations_of_one_process(job, type_command, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.training.drive.VALIDATION", SHORT)
    monkeypatch.setattr("scripts.training.drive.write_report", lambda *_, **__: None)
    few = ["--imitation.epochs", 2, "--imitation.dagger-epochs", 1, "--threads", 1]
    words = {
        "drive": shlex.split(
            "--tracks 5 --dagger-tracks 3 --seconds-per-track 1.0 --evaluation-km 0.01"
        ),
        "imitate": shlex.split(TINY),
    }[job] + few
    for count in (1, 2):
        data, runs = ["--data", f"data{count}"], ["--runs", f"runs{count}"]
        assert type_command(train, JOBS, job, *words, *data, *runs, "--workers", count) == 0
    stores = [sorted(tmp_path.glob(f"*{count}/**/*.npy")) for count in (1, 2)]
    assert len(stores[0]) == len(stores[1]) >= 8
    for one, other in zip(*stores, strict=True):
        assert one.read_bytes() == other.read_bytes(), one
    weights = [next(tmp_path.glob(f"runs{i}/*/policy/weights.safetensors")) for i in (1, 2)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
