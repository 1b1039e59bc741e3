"""The jobs that teach, distill and measure walking, on worlds and trainings of a few steps."""

import contextlib
import csv
import itertools
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.bodies import BODIES
from ncp_control import LTC, Policy, auto_ncp
from ncp_control.cells import Feedforward
from ncp_control.policy import VectorPolicy
from scripts.evaluate import evaluate_policy
from scripts.evaluation.film import BODY_HEIGHT_PX, BODY_WIDTH_PX, film
from scripts.evaluation.report import robustness
from scripts.evaluation.settings import Evaluate
from scripts.evaluation.worlds import (
    WorldSettings,
    home_of,
    measured_returns,
    open_world,
    returns_in,
)
from scripts.train import train
from scripts.training.distill import load_teacher
from scripts.training.jobs import JOBS
from scripts.training.settings import Distill

QUICK = (
    "--distillation.rounds 2 --distillation.worlds 2 --distillation.steps-per-round 40"
    " --distillation.updates-per-round 3 --distillation.window 10 --evaluation-episodes 1"
).split()


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def teacher(tmp_path):
    """A policy on the full observation."""
    torch.manual_seed(0)
    cell = Feedforward(17, 8, 6, frame_s=0.05)
    VectorPolicy(cell, observation_size=17, squash="tanh").save(tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.mark.parametrize("cell", ["ltc", pytest.param("mlp", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.steps_per_round. should be")
def test_a_circuit_is_distilled_from_positions_and_goes_on_after_a_stop(
    type_command, teacher, capsys, tmp_path, cell
):
    words = [
        "distill",
        "--teacher",
        teacher,
        "--cell",
        cell,
        "--world-options",
        "observe=positions",
        *QUICK,
    ]
    assert type_command(train, JOBS, *words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("run folder: ")
    assert re.search(r"\| teacher .*\| full .*\n\| " + cell + r" .*\| positions", printed)
    (run,) = (tmp_path / "runs").iterdir()
    policy = Policy.load(run / "policy")
    assert policy.observation_size == 8
    assert policy.circuit.cell.output_size == 6
    rows = read_rows(run / "metrics.csv")
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    measured = read_rows(run / "report" / "returns.csv")
    returns = [float(row["return"]) for row in measured if row["model"] == cell]
    where = WorldSettings(env="halfcheetah", options={"observe": "positions"}, episodes=1)
    np.testing.assert_allclose(returns_in(policy, where), returns, rtol=1e-6)

    (row,) = read_rows(run / "results.csv")
    assert not (tmp_path / "results").exists(), "published tables are added to by name alone"
    assert float(row["mean_return"]) == pytest.approx(np.mean(returns), abs=0.06)
    assert row["settings"].startswith("halfcheetah positions ")

    (run / "policy" / "config.json").unlink()
    assert type_command(train, JOBS, "distill", "--resume", run) == 0
    assert read_rows(run / "metrics.csv") == rows
    assert read_rows(run / "results.csv") == [row], "it is in the table already"
    for name, value in Policy.load(run / "policy").state_dict().items():
        torch.testing.assert_close(value, policy.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("env", ["halfcheetah", "walker2d", "HalfCheetah-v5"])
def test_the_shipped_teacher_teaches_by_default(env):
    policy = load_teacher(Distill(world=env))
    assert policy.circuit.frame_s == pytest.approx(open_world(env).frame_s)


def test_a_body_without_a_shipped_teacher_says_how_to_train_one():
    with pytest.raises(ValueError, match=r"train.py teacher --world hopper\."):
        load_teacher(Distill(world="hopper"))


def test_a_teacher_is_trained_and_measured(type_command, capsys, tmp_path):
    words = "teacher --algorithm sac --steps 64 --first-steps 32 --examination-episodes 1"
    words += " --evaluation-episodes 1"
    assert type_command(train, JOBS, *words.split()) == 0
    printed = capsys.readouterr().out
    assert "| teacher | halfcheetah | full" in printed
    (run,) = (tmp_path / "runs").iterdir()
    policy = Policy.load(run / "policy")
    assert isinstance(policy.circuit.cell, Feedforward)
    rows = read_rows(run / "metrics.csv")
    assert [row["step"] for row in rows] == ["0", "64"]


@pytest.mark.parametrize("asked", [(), ("tracks=validation",)])
def test_who_learned_on_tracks_is_measured_on_others(type_command, monkeypatch, tmp_path, asked):
    tracks = []

    def measure_noting(policy, where):
        tracks.append(where.options.get("tracks", "train"))
        return returns_in(policy, where)

    monkeypatch.setattr("scripts.training.teacher.returns_in", measure_noting)
    words = "teacher --algorithm sac --steps 8 --first-steps 4 --examination-episodes 1"
    words += " --evaluation-episodes 1"
    world = ["--world", "LaneKeeping-v0", "--world-options", "observe=numbers", "episode_s=0.5"]
    assert type_command(train, JOBS, *words.split(), *world, *asked) == 0
    learned = "validation" if asked else "train"
    assert set(tracks[:-1]) == {learned}
    assert tracks[-1] == ("validation" if asked else "held_out")


def test_rounds_shorter_than_an_episode_are_told(type_command):
    words = ["distill", *QUICK, "--neurons", "16"]
    with pytest.warns(UserWarning, match="`steps_per_round` should be at least the 1000 steps"):
        assert type_command(train, JOBS, *words) == 0


def test_a_stopped_teacher_goes_on(type_command, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    words = "teacher --algorithm sac --steps 64 --first-steps 32 --examination-episodes 1"
    words += " --evaluation-episodes 1"
    with monkeypatch.context() as patch:
        patch.setattr("scripts.training.teacher.write_returns", stop)
        assert type_command(train, JOBS, *words.split()) == 130
    (run,) = (tmp_path / "runs").iterdir()
    # As if stopped half-way: the settings say 96 steps, the checkpoint has 64.
    config = run / "config.json"
    config.write_text(config.read_text().replace('"steps": 64', '"steps": 96'))
    assert type_command(train, JOBS, "teacher", "--resume", run) == 0
    assert [row["step"] for row in read_rows(run / "metrics.csv")] == ["0", "64", "96"]
    assert not list(run.glob("checkpoints/*.pt")), "nothing is left to go on with"
    assert type_command(train, JOBS, "teacher", "--resume", run) == 2
    told = f"`resume` must be a run that was stopped, got '{run}', which has ended."
    assert f"{told} Its policy is {run}/policy." in capsys.readouterr().err


def test_a_walking_policy_is_evaluated_under_disturbances(
    type_command, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "scripts.evaluation.film._rendered_env", lambda *_: (None, "No film in this test.")
    )
    cell = LTC(auto_ncp(8, 19, 6), frame_s=0.008)
    walker = VectorPolicy(cell, observation_size=8)
    walker.contract = open_world("walker2d", {"observe": "positions"}).contract
    walker.save(tmp_path / "walker")
    words = ["walker", "--episodes", "2", "--sensor-noise", "0", "0.2", "--drop", "0.3"]
    words += ["--overwrite", "0.1", "--delay", "0", "2", "--results", "results/walking.csv"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    printed = capsys.readouterr().out
    assert printed.count("| walker | walker2d | positions") == 4, "told by the contract"
    rows = read_rows(tmp_path / "results" / "walking.csv")
    where = "walker2d positions noise=0.2 drop=0.3 overwrite=0.1 delay=2 episodes=2"
    assert rows[3]["settings"] == where
    assert rows[3]["mean_return"] != rows[2]["mean_return"], "late actions do something else"
    assert all(float(row["lowest_return"]) <= float(row["mean_return"]) for row in rows)
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report" / "robustness.png").stat().st_size > 5_000
    page = (run / "report" / "report.md").read_text()
    assert "No film in this test." in page and "| 0.2   | 0.3  | 0.1       | 2" in page
    assert len(read_rows(run / "report" / "returns.csv")) == 8


def test_each_disturbance_is_drawn_with_the_other_at_rest():
    places = [
        WorldSettings(env="walker2d", strengths={"noise": noise, "drop": drop})
        for noise in (0.0, 0.1)
        for drop in (0.0, 0.2, 0.4)
    ]
    rows = [measured_returns("m", place, np.ones(3)) for place in places]
    figure = robustness(rows, places[0].world.disturbances)
    assert figure is not None
    panels = figure.axes
    points = [np.asarray(panel.lines[0].get_xdata()).tolist() for panel in panels]
    assert points == [[0.0, 0.1], [0.0, 0.2, 0.4]]
    lowest, highest = panels[0].get_ylim()
    assert lowest == 0.0 and highest > 1.0, "nothing is cut off"


def test_what_a_condition_costs_is_no_point_of_a_disturbance():
    """Pixel noise is a condition and a disturbance: only what was asked for as one is drawn."""
    asked = [(0.2, "clean"), (0.0, "clean"), (0.3, "noise:5")]
    places = [WorldSettings(env="walker2d", strengths={"noise": noise}) for noise, _ in asked]
    rows = [
        replace(measured_returns("m", place, np.array([-9.0, -11.0])), labels={"condition": told})
        for place, (_, told) in zip(places, asked, strict=True)
    ]
    disturbances = places[0].world.disturbances
    figure = robustness(rows, disturbances)
    assert figure is not None
    (panel,) = figure.axes
    np.testing.assert_array_equal(panel.lines[0].get_xdata(), [0.0, 0.2])
    assert panel.get_ylim()[0] < -10.0 - 12.7, "an error bar is not cut off"
    assert robustness(rows[2:], disturbances) is None
    assert robustness([rows[1]], disturbances) is None


@pytest.mark.parametrize(("env", "drop"), [("halfcheetah", 0.6), ("walker2d", 0.3)])
def test_a_film_lasts_as_long_as_what_it_shows(monkeypatch, tmp_path, env, drop):
    """With dropped frames a step lasts several, and so does its picture."""
    where = WorldSettings(env=env, strengths={"drop": drop})
    world, shown, rate = where.make_world(), [], []
    elapsed_s = [0.0]
    take_step = world.step

    def step(action):
        result = take_step(action)
        elapsed_s[0] += result[4]["dt_s"]
        return result

    def picture():
        return np.full((BODY_HEIGHT_PX, BODY_WIDTH_PX, 3), elapsed_s[0] * 30.0, np.uint8)

    class FakeFile(contextlib.nullcontext):
        def __init__(self, path, width_px, height_px, rate_hz):
            super().__init__(self)
            rate.append(rate_hz)

        def add(self, frame):
            shown.append(frame[0, 0, 0] / 30.0)

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(world, "step", step)
    monkeypatch.setattr(world, "render", picture)
    shows = world, lambda _: world.render()
    monkeypatch.setattr("scripts.evaluation.film._rendered_env", lambda *_: shows)
    monkeypatch.setattr("scripts.evaluation.film.FilmFile", FakeFile)
    cell = Feedforward(17, 8, 6, frame_s=open_world(env).frame_s)
    policy = VectorPolicy(cell, observation_size=17)
    assert film(tmp_path / "film.mp4", policy, where.place, seconds=8.0)[1] is None
    filmed_s = (1 + np.arange(len(shown))) / rate[0]
    assert filmed_s[-1] == pytest.approx(8.0, abs=1.0 / rate[0])
    late_s = np.array(shown) - filmed_s  # how far the end of the step shown is ahead
    frame_s = open_world(env).frame_s
    assert late_s.min() > -1.0 / rate[0] - 1.0 / 30.0 and late_s.max() < 20 * frame_s


def test_without_opengl_there_is_a_sentence_instead_of_a_film(monkeypatch, tmp_path):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    policy = VectorPolicy(Feedforward(17, 8, 6, frame_s=0.05), observation_size=17)
    place = WorldSettings(env="halfcheetah").place
    episode, sentence = film(tmp_path / "film.mp4", policy, place, seconds=0.5)
    assert len(episode) == 10, "what it did is known all the same"
    assert sentence is not None and sentence.startswith("No film: there is no OpenGL")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "told"), [(RuntimeError("no driver"), "no driver"), (OSError(), "OSError")]
)
def test_a_broken_opengl_costs_the_film_alone(monkeypatch, tmp_path, error, told):
    def fail(*_):
        raise error

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr("gymnasium.envs.mujoco.MujocoEnv.render", fail)
    policy = VectorPolicy(Feedforward(17, 8, 6, frame_s=0.05), observation_size=17)
    place = WorldSettings(env="halfcheetah").place
    _, sentence = film(tmp_path / "film.mp4", policy, place, seconds=0.5)
    assert sentence == f"No film: rendering failed ({told})."
    assert not list(tmp_path.iterdir())


def test_a_world_of_pygame_is_drawn_without_looking_for_a_desktop(monkeypatch, tmp_path, capfd):
    for name in ("SDL_VIDEODRIVER", "XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    policy = VectorPolicy(Feedforward(3, 8, 1, frame_s=0.05), observation_size=3)
    place = WorldSettings(env="gymnasium:Pendulum-v1").place
    _, sentence = film(tmp_path / "film.mp4", policy, place, seconds=0.5)
    assert sentence is None and "XDG_RUNTIME_DIR" not in capfd.readouterr().err
    assert "SDL_VIDEODRIVER" not in os.environ


def test_a_policy_knows_its_home():
    for env, observe in itertools.product(BODIES, ("full", "positions")):
        contract = open_world(env, {"observe": observe}).contract
        size, num_actions = contract.observation.size, len(contract.action)
        cell = Feedforward(size, 8, num_actions, frame_s=contract.frame_s)
        policy = VectorPolicy(cell, observation_size=size)
        policy.contract = contract
        assert home_of(policy).words == (env, observe)
    policy.contract = None
    with pytest.raises(ValueError, match="`world` must be given for a policy whose config.json"):
        home_of(policy)


@pytest.mark.parametrize(
    ("job", "settings", "words", "message"),
    [
        (
            train,
            JOBS,
            ["distill", "--teacher", "nowhere"],
            "`teacher` must be the folder of a policy, got 'nowhere'",
        ),
        (
            train,
            JOBS,
            ["distill", "--world", "halfcheetah", "--teacher", "blind"],
            "`teacher` does not fit 'halfcheetah' with observe='full': it needs an observation of 8"
            " numbers",
        ),
        (
            train,
            JOBS,
            ["ppo", "--policy", "walker2d-ltc", "--drop-probability", "0.2"],
            "`drop_probability` must be left out with --policy, got 0.2. Only a new circuit is",
        ),
        (train, JOBS, ["ppo", "--resume", "nowhere"], "`resume` must be a run folder"),
        (train, JOBS, ["ppo", "--world", "hoper"], "`world` must be one of .*, got 'hoper'"),
        (
            train,
            JOBS,
            ["ppo", "--steps", "0"],
            "`steps` must be a whole number of at least 1, got 0",
        ),
        (train, JOBS, ["teacher", "--world", "hoper"], "`world` must be one of .*, got 'hoper'"),
        (train, JOBS, ["teacher", "--algorithm", "td4"], "`algorithm` must be one of .*'td4'"),
        (
            evaluate_policy,
            Evaluate,
            ["blind", "--world-options", "observe=full"],
            "does not fit 'halfcheetah' with observe='full': it needs an observation of 8 numbers",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["blind", "--episodes", "0"],
            "`episodes` must be a whole number of at least 1",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["blind", "--log", "x"],
            "`folder` must be the folder of a recording, got 'x', which does not exist",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["blind", "--world", "walker2d"],
            "does not fit 'walker2d' with observe='full': it needs an observation of 8 numbers",
        ),
        (
            train,
            JOBS,
            ["teacher", "--steps", "0"],
            "`steps` must be a whole number of at least 1, got 0",
        ),
        (
            train,
            JOBS,
            ["teacher", "--algorithm", "tqc", "--steps", "10000"],
            "`steps` must be more than the 10000 with random actions, got 10000. Raise it, or",
        ),
        (
            train,
            JOBS,
            ["teacher", "--algorithm", "ppo", "--first-steps", "100"],
            "`first_steps` must be left out with ppo, got 100",
        ),
        (
            train,
            JOBS,
            ["teacher", "--evaluation-episodes", "0"],
            "`evaluation_episodes` must be a whole number of at least 1, got 0",
        ),
        (evaluate_policy, Evaluate, ["blind", "--drop", "1"], "`drop` must be from 0"),
    ],
)
def test_mistakes_end_with_one_sentence_and_no_run(refuse, tmp_path, job, settings, words, message):
    cell = Feedforward(8, 4, 6, frame_s=0.05)
    blind = VectorPolicy(cell, observation_size=8)
    blind.contract = open_world("halfcheetah", {"observe": "positions"}).contract
    blind.save(tmp_path / "blind")
    refuse(job, settings, words, message)
