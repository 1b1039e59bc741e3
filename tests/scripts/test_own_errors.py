"""What a user reads whose own world goes wrong, or is not imported."""

import dataclasses
import re

import pytest

from ncp_control.deploy.links.world import open_world_link
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.policy import load
from scripts.evaluate import evaluate_policy
from scripts.evaluation.settings import Evaluate
from scripts.train import train
from scripts.training.jobs import JOBS

WORLD = """
import gymnasium, numpy as np
from gymnasium import spaces
from ncp_control.worlds import register_world, world_of

class Car(gymnasium.Env):
    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {{}}

    def step(self, action):
        {step}
        return np.zeros(2, np.float32), 0.0, False, True, {{}}

register_world("OwnCar", lambda: world_of(Car, name="OwnCar", frame_s=0.1))
"""
LEARN = ["ppo", "--world", "OwnCar", "--steps", "16", "--num-envs", "1", "--rollout-steps", "8",
         "--sequence-length", "8", "--batch-size", "8", "--neurons", "8",
         "--evaluation-episodes", "1"]  # fmt: skip


@pytest.fixture
def own_car(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(step="pass", name="own_car"):
        (tmp_path / f"{name}.py").write_text(WORLD.format(step=step))
        return name

    return write


def test_an_error_in_a_users_own_world_tells_its_line_and_how_to_resume(
    own_car, type_command, capsys, tmp_path
):
    module = own_car('int("abc")', "own_car_that_errs")
    assert type_command(train, JOBS, *LEARN, "--import", module) == 2
    *_, told = capsys.readouterr().err.strip().splitlines()
    (run,) = (tmp_path / "runs").iterdir()
    place, advice = told.split("; ")
    assert re.search(r"^error: invalid literal .* \(in .*own_car_that_errs.py, line 13\)$", place)
    assert advice == f"resume it with --resume runs/{run.name}"


def test_a_policy_of_a_world_that_was_not_imported_says_what_to_add(refuse, tmp_path):
    policy = load("walker2d-ltc")
    policy.contract = dataclasses.replace(policy.contract, world="NowhereToBeFound")
    policy.save(tmp_path / "own")
    told = (
        "`policy` must be of a world that is known here, got one of 'NowhereToBeFound'. Add --imp"
    )
    refuse(evaluate_policy, Evaluate, [tmp_path / "own"], told)
    with pytest.raises(ValueError, match=told):
        open_world_link(policy.contract, "", clock=SimulatedClock())
