"""The job that learns from recordings, with several actions, numbers and recordings."""

import shutil

import numpy as np
import pytest

from envs.recorded import LoggedFrame, Quantity, register_reader
from ncp_control.command_line import run_command
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.policy import Policy
from scripts.data import COMMANDS
from scripts.evaluate import evaluate_policy
from scripts.evaluation.settings import Evaluate
from scripts.train import train
from scripts.training.jobs import JOBS

WORDS = ["recorded", "--models", "ncp", "--imitation.epochs", "1", "--imitation.window", "8"]
WORDS += ["--imitation.epoch-steps", "4"]
ONE_WAY = "--smoothing-s 0 --balance False".split()
pytestmark = pytest.mark.filterwarnings("ignore:Skipped:UserWarning")


def data(settings):
    run_command(COMMANDS, settings)


def the_run(tmp_path):
    (run,) = (tmp_path / "runs").iterdir()
    return run


def test_two_actions_are_learned_from_frames_and_speed_and_judged(
    type_command, udacity_log, tmp_path, read
):
    asked = ["--actions", "steering", "throttle", "--inputs", "speed"]
    log = udacity_log / "driving_log.csv"
    lines = [line.split(",") for line in log.read_text().splitlines()]
    for i, cells in enumerate(lines):
        cells[4], cells[6] = f"{0.5 + 0.3 * np.sin(i / 5):.3f}", f"{20 + 5 * np.cos(i / 5):.3f}"
    log.write_text("\n".join(map(",".join, lines)))
    assert type_command(train, JOBS, *WORDS, *ONE_WAY, "--log", udacity_log, *asked) == 0
    run = the_run(tmp_path)  # one alone: nobody knows what mirrors and shifts do to a number
    policy = Policy.load(run / "policy")
    contract = policy.contract
    assert [entry.name for entry in contract.action] == ["steering", "throttle"]
    assert contract.observation.parts["numbers"].entries[0].unit == "m/s"
    store = Demonstrations.open(run / "demonstrations" / "test")
    assert store.actions.shape == (24, 2)
    speeds = 0.44704 * (20 + 5 * np.cos(np.arange(120) / 5))
    assert float(policy.observation_mean[0]) == pytest.approx(speeds[:82].mean(), rel=0.05)
    words = [run / "policy", "--log", udacity_log, "--log-share", 0.2, "--results", "judged.csv"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    (row,) = read(tmp_path / "judged.csv")
    trained = read(run / "results.csv")[-1]
    assert float(row["mean_squared_error"]) == pytest.approx(float(trained["test_mse"]), rel=1e-4)


def test_a_mirror_is_refused_where_numbers_are_sensed(refuse, udacity_log):
    words = [*WORDS, "--log", udacity_log, "--inputs", "speed", "--mirror", "True"]
    refuse(train, JOBS, words, "`mirror` must be left out where numbers are sensed")


def test_a_head_of_two_frames_is_refused_where_numbers_are_sensed(refuse, udacity_log):
    words = [*WORDS, "--log", udacity_log, "--inputs", "speed", "--head", "motion"]
    refuse(train, JOBS, words, "`head` must see one frame where numbers are sensed beside it")


def test_an_arm_without_a_camera_is_learned(type_command, tmp_path, own_names, capsys, read):
    def read_arm(path):
        for i in range(200):
            numbers = {"action.elbow": 90 * np.sin(i / 9), "state.elbow": 90 * np.sin((i - 1) / 9)}
            yield LoggedFrame(row=i, time_s=0.05 * i, numbers=numbers)

    elbow = Quantity(name="action.elbow", unit="deg")
    register_reader(
        "arm", recognises=lambda path: path.name == "arm", read=read_arm, quantities=[elbow]
    )
    (tmp_path / "arm").mkdir()
    asked = ["--actions", "action", "--log", tmp_path / "arm"]
    assert type_command(train, JOBS, "recorded", "--models", "ncp", "cnn", *asked) == 2
    assert "`models` must be another where there are no frames, got" in capsys.readouterr().err
    assert type_command(train, JOBS, *WORDS, *asked) == 0
    assert "learned: action.elbow; sensed: state.elbow" in capsys.readouterr().out
    policy = Policy.load(the_run(tmp_path) / "policy")
    (entry,) = policy.contract.action
    assert (entry.unit, entry.scale) == ("deg", pytest.approx((0.0, 1.1 * 90), abs=0.5))
    words = [the_run(tmp_path) / "policy", "--log", tmp_path / "arm", "--results", "judged.csv"]
    with pytest.warns(UserWarning, match="the policy was trained on a recording 'arm'"):
        assert type_command(evaluate_policy, Evaluate, *words) == 0
    assert float(read(tmp_path / "judged.csv")[0]["mean_squared_error"]) < 2.0, "it is scaled"


def test_each_recording_is_split_on_its_own_and_all_are_learned(
    type_command, udacity_log, tmp_path, read, capsys
):
    for name, frames in (("other", 60), ("short", 1)):
        shutil.copytree(udacity_log, tmp_path / "logs" / name)
        log = tmp_path / "logs" / name / "driving_log.csv"
        log.write_text("\n".join(log.read_text().splitlines()[:frames]))
    one_way = [*ONE_WAY, "--mirror", "False", "--shift", "False"]
    words = [*WORDS, *one_way, "--log", udacity_log, tmp_path / "logs"]
    with pytest.warns(UserWarning, match="Nothing of '.*short' is used: two frames must"):
        assert type_command(train, JOBS, *words) == 0
    folder = the_run(tmp_path) / "demonstrations"
    train_store, test = (Demonstrations.open(folder / name) for name in ("train", "test"))
    assert (train_store.num_episodes, test.num_episodes) == (2, 2)
    assert np.diff([*test.episode_starts, len(test)]).tolist() == [24, 12]
    assert [one["recording"] for one in test.meta["source"]["recordings"]] == ["log", "other"]
    assert read(the_run(tmp_path) / "results.csv")[-1]["settings"].startswith("log+other {")
    assert Policy.load(the_run(tmp_path) / "policy").contract.provenance["data"] == "log+other"
    assert "recordings: log+other" in capsys.readouterr().out


def test_an_arm_in_a_ros_2_bag_is_looked_into_and_learned(type_command, tmp_path, capsys):
    pytest.importorskip("rosbags", reason="rosbags is not installed")
    from tests.envs.recorded import bag_files

    messages, _ = bag_files.arm(80)
    bag = bag_files.write_bag(tmp_path / "arm", messages)
    log = ["--log", bag, "--log-options", "command_topic=/leader"]
    assert type_command(data, COMMANDS, "inspect", *log[1:]) == 0
    printed = capsys.readouterr().out
    assert "action.elbow.position" in printed and "rad/s" in printed
    asked = ["--actions", "action", "--inputs", "observation.state"]
    assert type_command(train, JOBS, *WORDS, "--models", "lstm", *log, *asked) == 0
    (run,) = (tmp_path / "runs").glob("recorded-*")
    contract = Policy.load(run / "policy").contract
    assert [(one.name, one.unit) for one in contract.action] == [
        ("action.elbow.position", "rad"), ("action.wrist.position", "rad"),
    ]  # fmt: skip
    assert len(contract.observation.entries) == 4
