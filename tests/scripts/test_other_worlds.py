"""Jobs in worlds that are not ours: Gymnasium's, and one of a user's own module."""

import json
from pathlib import Path

import pytest

from scripts.audit import Audit, audit
from scripts.evaluate import Evaluate, evaluate_policy
from scripts.train import Job, train

PRETRAINED = Path(__file__).parents[2] / "policies" / "pretrained"
OWN_MODULE = """
import gymnasium


def make_swing(limit=40):
    return gymnasium.make("Pendulum-v1", max_episode_steps=limit)
"""
QUICK = (
    "--cell ltc --neurons 8 --encoder --steps 64 --num-envs 2 --rollout-steps 32"
    " --sequence-length 16 --batch-size 32 --epochs 1 --evaluation-episodes 2"
)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "swings.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_users_own_world_trains_evaluates_and_audits(
    own_module, type_command, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("scripts.evaluation.walk_report.film", lambda *_: "No film in this test.")
    words = ["ppo", "--world", "swings:make_swing", *QUICK.split()]
    assert type_command(train, Job, *words) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("ppo-swings-make_swing-ltc")
    contract = json.loads((run / "policy" / "config.json").read_text())["contract"]
    assert contract["world"]["id"] == "swings:make_swing"
    assert contract["action"][0]["unit"] == "share of 2 N m"
    assert contract["action"][0]["bounds"][0] < contract["action"][0]["bounds"][1]
    names = [entry["name"] for entry in contract["observation"]["entries"]]
    assert names == ["cosine of the angle", "sine of the angle", "rate"]
    assert contract["provenance"]["command"] and contract["provenance"]["weights_sha256"]
    capsys.readouterr()

    words = [str(run / "policy"), "--episodes", "2", "--drop", "0", "0.3", "--delay", "1"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    printed = capsys.readouterr().out
    assert "senses    3 numbers: cosine of the angle" in printed
    assert printed.count("| swings:make_swing | full") == 2

    assert type_command(audit, Audit, str(run / "policy"), "--seconds", "1") == 0
    report = next((tmp_path / "runs").glob("audit-*/report/report.md")).read_text()
    assert "rate [rad/s]" in report and "never violated" in report


def test_a_policy_is_refused_in_a_world_that_it_does_not_fit(type_command, capsys):
    words = ["--world", "gymnasium:Hopper-v5"]
    policy = str(PRETRAINED / "walker2d-ltc")
    assert type_command(evaluate_policy, Evaluate, policy, *words) == 2
    assert "it needs an observation of 17 numbers, got 11" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ("gymnasium:CartPole-v1", "`world` must show numbers and take continuous actions"),
        ("gymnasium:Nowhere-v0", "`world` must be one that Gymnasium can make"),
        ("swings:make_swings", "`world` must name a function as module:function"),
        ("hopper", "`world` must be one of"),
    ],
)
def test_worlds_that_cannot_be_walked_in_are_one_sentence(
    own_module, type_command, capsys, tmp_path, world, message
):
    assert type_command(train, Job, "ppo", "--world", world) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
