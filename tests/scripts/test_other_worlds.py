"""Jobs in worlds that are not ours: Gymnasium's, and one of a user's own module."""

import csv
import json
from pathlib import Path
from typing import ClassVar

import cv2
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from ncp_control import LTC, auto_ncp
from ncp_control.policy import FramesPolicy, VectorPolicy
from ncp_control.policy.heads import NUM_FEATURES
from ncp_control.worlds import find_world, world_of
from scripts.audit import audit
from scripts.auditing.recording import act
from scripts.auditing.settings import Audit
from scripts.evaluate import evaluate_policy
from scripts.evaluation.places import Place
from scripts.evaluation.settings import Evaluate
from scripts.train import train
from scripts.training.jobs import JOBS

PRETRAINED = Path(__file__).parents[2] / "policies" / "pretrained"
OWN_MODULE = """
import gymnasium


def make_swing(limit=40):
    return gymnasium.make("Pendulum-v1", max_episode_steps=limit)
"""
FRAMES_MODULE = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Lamp(gymnasium.Env):
    metadata = {"render_fps": 20, "render_modes": ["rgb_array"]}
    observation_space = spaces.Box(0, 255, (48, 64, 3), np.uint8)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.steps = float(self.np_random.uniform(50, 200)), 0
        return self.render(), {}

    def step(self, action):
        self.level = float(np.clip(self.level + 9.0 * action[0], 0, 255))
        self.steps += 1
        return self.render(), -abs(self.level - 128), self.steps == 30, False, {"lamp": self.level}

    def render(self):
        return np.full((48, 64, 3), self.level, np.uint8)


def make_lamp(render_mode=None):
    return Lamp(render_mode)
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
    monkeypatch.setattr(
        "scripts.evaluation.film._rendered_env", lambda *_: (None, "No film in this test.")
    )
    words = ["ppo", "--world", "swings:make_swing", *QUICK.split()]
    assert type_command(train, JOBS, *words) == 0
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
    assert "## What it goes by" in report, "though an encoder mixes the sensors"


def test_a_users_own_world_of_frames_is_evaluated_filmed_watched_and_audited(
    type_command, capsys, tmp_path, monkeypatch
):
    (tmp_path / "lamps.py").write_text(FRAMES_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("FILM_S", "LIVE_S"):
        monkeypatch.setattr(f"scripts.evaluation.evaluation_job.{name}", 1.0)
    # Drawing the pictures takes the longest.
    monkeypatch.setattr("scripts.reporting.write_picture", lambda path, figure: path.touch())
    torch.manual_seed(0)
    cell = LTC(auto_ncp(NUM_FEATURES, 9, 2), frame_s=0.05)
    policy = FramesPolicy(cell, head="light", frame_shape=(48, 64, 3))
    policy.contract = find_world("lamps:make_lamp").contract
    policy.save(tmp_path / "keeper")

    words = ["keeper", "--episodes", "2", "--noise", "0", "0.2", "--delay", "0", "3", "--live"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    printed = capsys.readouterr().out
    assert printed.count("| keeper | lamps:make_lamp | full") == 4
    (run,) = (tmp_path / "runs").iterdir()
    made = {path.name for path in (run / "report").iterdir()}
    assert made >= {"film.mp4", "activity.png", "wiring.png", "robustness.png", "returns.csv"}
    assert (run / "live.html").stat().st_size > 10_000
    film = cv2.VideoCapture(str(run / "report" / "film.mp4"))
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) == 20
    with (run / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["mean_duration_s"] for row in rows} == {"1.5"}
    assert len({row["mean_return"] for row in rows}) > 1, "what disturbs it makes a difference"

    assert type_command(audit, Audit, "keeper", "--seconds", "0.5") == 0
    report = next((tmp_path / "runs").glob("audit-*/report/report.md")).read_text()
    assert "lamps:make_lamp, 0.5 s, 10 frames" in report and "saliency.png" in report

    assert type_command(evaluate_policy, Evaluate, "keeper", "--km", "1") == 2
    assert (
        "`km` must be left out for another world than those with a car" in capsys.readouterr().err
    )


class Blank(gymnasium.Env):
    """A world that cannot be drawn."""

    metadata: ClassVar = {"render_fps": 10}
    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, False, False, {}


def test_a_world_that_fails_when_it_is_to_be_drawn_is_audited_without_pictures():
    world = world_of(lambda **options: Blank(**options), name="blank")
    policy = VectorPolicy(LTC(auto_ncp(2, 8, 1), frame_s=0.1), observation_size=2)
    episode = act(policy, "still", Place(world=world, seeds=[0], num_steps=9), seconds=0.5)
    assert len(episode) == 5 and episode.pictures is None
    (note,) = episode.notes
    assert note.startswith("pictures of the robot: rendering failed (Blank")


def test_a_policy_that_chooses_is_evaluated_and_audited(type_command, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.evaluation.film._rendered_env", lambda *_: (None, "No film."))
    monkeypatch.setattr("scripts.reporting.write_picture", lambda path, figure: path.touch())
    torch.manual_seed(0)
    policy = VectorPolicy(LTC(auto_ncp(4, 8, 2), frame_s=0.02), observation_size=4, choices=(2,))
    policy.contract = find_world("gymnasium:CartPole-v1").contract
    policy.save(tmp_path / "balancer")
    words = ["balancer", "--episodes", "3", "--drop", "0", "0.5"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    with next((tmp_path / "runs").glob("*/results.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:  # 0.02 s upright earn 1, seen or not
        assert float(row["mean_duration_s"]) == pytest.approx(0.02 * float(row["mean_return"]))
    assert type_command(audit, Audit, "balancer", "--seconds", "0.1") == 0
    report = next((tmp_path / "runs").glob("audit-*/report/report.md")).read_text()
    assert "gymnasium:CartPole-v1, 0.1 s, 5 frames" in report and "pole angle [rad]" in report
    assert type_command(evaluate_policy, Evaluate, "balancer", "--delay", "1") == 2


@pytest.mark.parametrize(
    ("job", "settings", "words", "message"),
    [
        (
            evaluate_policy,
            Evaluate,
            ["drive-ncp", "--drop", "0", "0.2"],
            "`drop` must be 0 in 'LaneKeeping-v0', got 0.2. .* with --condition lost",
        ),
        (
            train,
            JOBS,
            ["ppo", "--world", "LaneKeeping-v0", "--drop-probability", "0.2"],
            "`drop_probability` must be 0 in 'LaneKeeping-v0', .* has noise, overwrite, delay",
        ),
        (
            train,
            JOBS,
            ["ppo", "--world", "gymnasium:CartPole-v1", "--delay-steps", "1"],
            "`delay_steps` must be 0 in 'gymnasium:CartPole-v1', got 1. .* has noise, drop",
        ),
    ],
)
def test_a_disturbance_that_a_world_does_not_have_is_refused(refuse, job, settings, words, message):
    refuse(job, settings, words, message)


def test_a_policy_is_refused_in_a_world_that_it_does_not_fit(type_command, capsys):
    words = ["--world", "gymnasium:Hopper-v5"]
    policy = str(PRETRAINED / "walker2d-ltc")
    assert type_command(evaluate_policy, Evaluate, policy, *words) == 2
    assert "it needs an observation of 17 numbers, got 11" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("job", "world", "message"),
    [
        ("teacher", "gymnasium:CartPole-v1", "are choices. Train there with `train.py ppo`"),
        ("ppo", "gymnasium:Nowhere-v0", "`world` must be one that Gymnasium can make"),
        ("ppo", "swings:make_swings", "`world` must name a function as module:function"),
        ("ppo", "hoper", "`world` must be one of"),
        ("ppo", "Pendulum-v1", "got 'Pendulum-v1'. Did you mean 'gymnasium:Pendulum-v1'?"),
    ],
)
def test_worlds_that_cannot_be_learned_in_are_one_sentence(
    own_module, type_command, capsys, tmp_path, job, world, message
):
    assert type_command(train, JOBS, job, "--world", world) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
