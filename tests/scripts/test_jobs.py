"""Jobs as a person types them, on data small enough for a test."""

import csv
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.recorded import load_recording
from ncp_control import Policy
from ncp_control.cells import Feedforward
from ncp_control.policy import VectorPolicy
from ncp_control.worlds import find_world
from policies.driving import make_driving_policy
from policies.locomotion import make_policy_for
from scripts.evaluate import evaluate_policy
from scripts.evaluation import evaluation_job
from scripts.evaluation.settings import Evaluate
from scripts.train import train
from scripts.training import recorded
from scripts.training.costs import RECORD_MS, foretell, frame_counts
from scripts.training.drive import VALIDATION, driving_task
from scripts.training.from_expert import find_or_record
from scripts.training.imitation_settings import Drive
from scripts.training.jobs import JOBS
from scripts.training.recorded import train_model
from scripts.training.recorded_settings import Recorded
from scripts.training.recordings import PARTS, split

QUICK = ["--imitation.epochs", "1", "--imitation.batch-size", "2", "--imitation.window", "16"]
ONE_WAY = "--mirror False --smoothing-s 0 --shift False --balance False".split()
PLAIN = [*QUICK, "--imitation.epoch-steps", "4", *ONE_WAY]
SIMPLE = [
    "training mean",
    "always straight",
    "best constant in hindsight",
    "persistence of the person's own steering",
    "linear on shrunken grey frames",
]


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_recorded_driving_trains_and_is_compared(type_command, udacity_log, capsys, tmp_path):
    words = ["recorded", "--log", udacity_log, "--models", "ncp", "cnn", *PLAIN]
    assert type_command(train, JOBS, *words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("run folders: ")
    names = [*SIMPLE, "ncp", "cnn"]
    (run,) = (tmp_path / "runs").glob("recorded-ncp-*")
    with (run / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not (tmp_path / "results").exists(), "published tables are added to by name alone"
    assert [row["model"] for row in rows] == names
    assert all(name in printed for name in names)
    assert -1.0 <= float(rows[-1]["correlation"]) <= 1.0
    assert float(rows[2]["test_mse"]) < min(float(rows[0]["test_mse"]), float(rows[1]["test_mse"]))
    policy = Policy.load(run / "policy")
    assert policy.circuit.frame_s == pytest.approx(0.1, rel=1e-3), "the log's own frame interval"
    assert {p.name for p in run.iterdir()} >= {"config.json", "metrics.csv", "policy", "report"}


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_the_parts_follow_each_other_and_keep_the_persons_steering(udacity_log):
    recording = load_recording(udacity_log)
    parts = split(recording, Recorded(log=(udacity_log,)))
    assert tuple(parts) == PARTS
    episodes = [episode for part in parts.values() for episode in part.episodes]
    assert len(episodes) == len(PARTS)
    rows = np.concatenate([episode.rows for episode in episodes])
    np.testing.assert_array_equal(rows, np.arange(120))
    (whole,) = recording.episodes
    for episode in episodes:
        steered = whole.numbers["steering"][episode.rows]
        np.testing.assert_array_equal(episode.numbers["steering"], steered)


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_the_checkpoint_is_chosen_by_the_validation_part(
    type_command, udacity_log, tmp_path, monkeypatch
):
    judged = []

    def spy(policy, *given, measure):
        judged.append(len(given[-1]))
        return measure(policy, *given)

    for name in ("imitation_error", "error_of"):
        monkeypatch.setattr(recorded, name, partial(spy, measure=getattr(recorded, name)))
    words = ["recorded", "--log", udacity_log, "--models", "cnn", *PLAIN]
    assert type_command(train, JOBS, *words) == 0
    assert judged == [14, 24], "frames that choose the checkpoint, then those that test"


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_too_short_a_log_leaves_no_run_folder(type_command, udacity_log, tmp_path):
    log = udacity_log / "driving_log.csv"
    log.write_text("\n".join(log.read_text().splitlines()[:3]))
    assert type_command(train, JOBS, "recorded", "--log", udacity_log) == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_a_policy_can_be_judged_by_the_part_that_was_held_back(
    type_command, udacity_log, tmp_path, capsys
):
    make_driving_policy("cnn", head="light").save(tmp_path / "driver")
    words = ["driver", "--log", udacity_log, "--results", "r.csv"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    assert type_command(evaluate_policy, Evaluate, *words, "--log-share", "0.2") == 0
    with (tmp_path / "r.csv").open(newline="") as file:
        whole, last = csv.DictReader(file)
    assert (whole["settings"], last["settings"]) == ("recording log", "recording log last 0.2")
    train, test = load_recording(udacity_log).center_only().split(0.8)
    steering = test.episodes[0].numbers["steering"].astype(np.float32)
    variance = steering.var()
    assert float(last["action_variance"]) == pytest.approx(variance, rel=1e-5)
    assert float(whole["action_variance"]) != pytest.approx(variance, rel=0.01)
    steps = np.diff(steering, prepend=train.episodes[0].numbers["steering"][-1])
    persistence = np.sqrt(np.mean(steps**2))
    error = float(last["mean_squared_error"])
    known = *np.sqrt([error, variance, np.mean(steering**2)]), persistence
    told = capsys.readouterr().out.splitlines()
    (row,) = [line for line in told if line.startswith("| steering [")][1:]
    assert [float(cell) for cell in row.split("|")[2:-1]] == pytest.approx(known, rel=1e-3)
    page = next((tmp_path / "runs").glob("evaluate-*-2/report/report.md"))
    assert row in page.read_text()


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_a_stopped_job_keeps_the_models_that_are_done(
    type_command, udacity_log, tmp_path, monkeypatch
):
    def train_or_stop(model, *others, **options):
        if model == "cnn":
            raise KeyboardInterrupt
        return train_model(model, *others, **options)

    monkeypatch.setattr("scripts.training.recorded.train_model", train_or_stop)
    words = ["recorded", "--log", udacity_log, "--models", "ncp", "cnn", *PLAIN]
    assert type_command(train, JOBS, *words, "--results", "new/recorded.csv") == 130
    with (tmp_path / "new" / "recorded.csv").open(newline="") as file:
        models = [row["model"] for row in csv.DictReader(file)]
    assert models == [*SIMPLE, "ncp"]


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_a_test_part_driven_straight_has_no_error_to_compare_with(
    type_command, udacity_log, capsys, tmp_path
):
    log = udacity_log / "driving_log.csv"
    lines = [line.split(",") for line in log.read_text().splitlines()]
    for cells in lines[90:]:
        cells[3] = "0.1"
    log.write_text("\n".join(map(",".join, lines)))
    words = ["recorded", "--log", udacity_log, "--models", "cnn", *PLAIN]
    assert type_command(train, JOBS, *words, "--results", "recorded.csv") == 0
    assert re.search(r"best constant in hindsight +\| 0.00000 .*\| – ", capsys.readouterr().out)
    with (tmp_path / "recorded.csv").open(newline="") as file:
        assert list(csv.DictReader(file))[-1]["correlation"] == "0.0"


def test_back_ends_are_compared_on_the_same_tracks(type_command, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_job, "write_report", lambda *_, **__: None)  # films take long
    words = ["drive-ncp", "--km", "0.02", "--backend", "torch", "c:int8", "--results", "r.csv"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    with (tmp_path / "r.csv").open(newline="") as file:
        own, whole = csv.DictReader(file)
    assert [row["settings"].split()[-1] for row in (own, whole)] == [
        "backend=torch",
        "backend=c:int8",
    ]
    distances = [float(row["driven_km"]) for row in (own, whole)]
    assert distances[0] == pytest.approx(distances[1], rel=1e-3)
    assert own["mean_cross_track_m"] != whole["mean_cross_track_m"]


def test_policy_is_evaluated_in_closed_loop(type_command, capsys, tmp_path):
    torch.manual_seed(0)
    make_driving_policy("ncp", head="light").save(tmp_path / "untrained")
    words = [tmp_path / "untrained", "--km", "0.02", "--noise", "0", "0.2", "--live"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    assert "untrained" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    config = json.loads((run / "config.json").read_text())
    assert config["settings"]["km"] == 0.02
    assert '"reload_s":null' in (run / "live.html").read_text(), "the drive is over"
    assert (run / "report" / "report.md").is_file()
    with (run / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = [(row["model"], row["settings"]) for row in rows]
    assert told == [("untrained", f"opencv noise={noise} km=0.02") for noise in ("0", "0.2")]
    assert not (tmp_path / "results").exists(), "published tables are added to by name alone"


def test_a_driver_is_measured_under_conditions(type_command, capsys, tmp_path):
    make_driving_policy("ncp", seed=0).save(tmp_path / "policy")
    words = ["policy", "--km", 0.02, "--condition", "blackout:5", "gain:4-5"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    told = capsys.readouterr().out
    assert all(f"| {name} " in told for name in ("clean", "blackout:5", "gain:4", "gain:5"))
    (path,) = tmp_path.glob("runs/*/results.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["settings"].split()[-1] for row in rows][1:] == ["blackout:5", "gain:4", "gain:5"]


def test_a_driver_of_the_road_drives_so_far_with_and_without_a_filter(
    type_command, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("scripts.evaluation.report.film", lambda *_, **__: (None, "No film."))
    contract = find_world("RoadDriving-v0").contract
    policy = make_policy_for(contract, "ltc", num_neurons=12)
    policy.contract = contract
    policy.save(tmp_path / "policy")
    words = ["policy", "--km", 0.01, "--world-options", "episode_s=2", "traffic=none"]
    for name, more in (("plain", ()), ("kept", ("--safety-filter",))):
        results = tmp_path / f"{name}.csv"
        assert type_command(evaluate_policy, Evaluate, *words, *more, "--results", results) == 0
        with results.open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert row["settings"].endswith("km=0.01") and ("filtered_share" in row) == bool(more)
        assert ("safety-filter" in row["settings"]) == bool(more)
        assert 0.0 <= float(row["driven_km"]) < 0.02
    assert "RoadDriving-v0" in capsys.readouterr().out


def test_a_world_without_frames_names_the_conditions_that_it_has(refuse):
    words = ["walker2d-ltc", "--condition", "fog:3"]
    message = r"`condition` must be one of \['all', 'delay'\], got 'fog'"
    refuse(evaluate_policy, Evaluate, words, message)


def test_a_refused_evaluation_leaves_no_table(type_command, tmp_path):
    make_driving_policy("ncp", head="light").save(tmp_path / "driver")
    (tmp_path / "file").touch()
    words = ["driver", "--results", "new/table.csv", "--runs", "file"]
    assert type_command(evaluate_policy, Evaluate, *words) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"driver", "file"}


@pytest.mark.parametrize(
    ("job", "settings", "words", "message"),
    [
        (train, JOBS, ["recorded", "--log", "nowhere"], "nowhere"),
        (train, JOBS, ["drive", "--conditions", "wind:2"], "`conditions` must be one of .*'wind'"),
        (train, JOBS, ["drive", "--conditions", "fog:9"], "`conditions` must be a name.*'fog:9'"),
        (train, JOBS, ["drive", "--condition-share", "0.5"], "must be left out without"),
        (train, JOBS, ["drive", "--model", "lsmt"], "`model` must be one of .*, got 'lsmt'"),
        (train, JOBS, ["drive", "--head", "foo"], "`head` must be one of .*, got 'foo'"),
        (train, JOBS, ["drive", "--evaluation-km", "0"], "`evaluation_km` must be from 0.001 to"),
        (
            train,
            JOBS,
            ["drive", "--tracks", "0"],
            "`tracks` must be a whole number of at least 1, got 0",
        ),
        (train, JOBS, ["drive", "--tracks", "9990"], "must be at most 10000 together, got 10054"),
        (
            train,
            JOBS,
            ["drive", "--dagger-tracks", "0"],
            "`dagger_tracks` must be a whole number of at least 1",
        ),
        (train, JOBS, ["drive", "--data", "other.csv"], "`data` must be a folder, got the file"),
        *(
            (train, JOBS, [*words, "--results", "."], "`results` must be a file, got the folder")
            for words in (["drive"], ["ppo"], ["sac"], ["distill"])
        ),
        (train, JOBS, ["drive", "--expert-noise", "nan"], "`expert_noise` must be finite and >= 0"),
        (
            train,
            JOBS,
            ["drive", "--seconds-per-track", ".01"],
            "`seconds_per_track` must be at least a frame of 0.033 s, got 0.01",
        ),
        (
            train,
            JOBS,
            ["drive", "--imitation.epochs", "2", "--imitation.dagger-epochs", "2"],
            r"`dagger_epochs` must be from 0 to below `epochs`, got \(2,\) of 2",
        ),
        *(
            (train, JOBS, ["recorded", "--log", ".", *words], message)
            for words, message in (
                (["--models"], r"`models` must be at least one value, got \(\)"),
                (["--head", "foo"], "`head` must be one of .*, got 'foo'"),
                (["--train-share", "7"], "`train_share` must be above 0 and below 1, got 7"),
                (["--validation-share", "0"], "`validation_share` must be above 0 and below 1"),
                (["--smoothing-s", "nan"], "`smoothing_s` must be finite and >= 0, got nan"),
                (["--imitation.turn-weight", "nan"], "`turn_weight` must be finite and >= 0"),
                (
                    ["--imitation.dagger-epochs", "3"],
                    r"`dagger_epochs` must be left out for a recording, got \(3,\)",
                ),
            )
        ),
        (
            train,
            JOBS,
            ["recorded", "--log", ".", "--models", "ncp", "ncpp"],
            "`models` must be .* Did you mean 'ncp'",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["driver", "--km", "-1"],
            "`km` must be from 0.001 to 4000, got",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["walker2d-ltc", "--safety-filter"],
            "`safety_filter` must be left out for another world than RoadDriving-v0, got True",
        ),
        (evaluate_policy, Evaluate, ["driver", "--km", "inf"], "`km` must be from 0.001 to 4000"),
        (evaluate_policy, Evaluate, ["d", "--noise", "--km", "1"], "`noise` must be at least one"),
        (evaluate_policy, Evaluate, ["driver", "--drop"], "`drop` must be at least one value"),
        (evaluate_policy, Evaluate, ["driver", "--camera", "foo"], "`camera` must be one of"),
        (evaluate_policy, Evaluate, ["driver", "--noise", "0", "-1"], "`noise` must be finite"),
        (
            evaluate_policy,
            Evaluate,
            ["driver", "--episodes", "3"],
            "`episodes` must be left out for a policy that drives in LaneKeeping-v0, got 3",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["driver", "--log", ".", "--km", "1"],
            "`km` must be left out for a recording, got 1.0",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["driver", "--log-share", "0.2"],
            "`log_share` must be left out for driving without a recording, got 0.2",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["driver", "--log", ".", "--seed", "1"],
            "`seed` must be left out for a recording, got 1",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["foreign"],
            "`world` must be given for a policy whose config.json has no contract with a world",
        ),
        (
            evaluate_policy,
            Evaluate,
            ["driver", "--results", "other.csv"],
            "other.csv must have the columns .* Name another file",
        ),
        (evaluate_policy, Evaluate, ["driver", "--runs", "other.csv"], ": other.csv"),
        (evaluate_policy, Evaluate, ["nowhere"], "got 'nowhere'. Choose a listed name"),
    ],
)
def test_mistakes_end_with_one_sentence_and_no_run(refuse, tmp_path, job, settings, words, message):
    make_driving_policy("ncp", head="light").save(tmp_path / "driver")
    cell = Feedforward(5, 4, 1, frame_s=0.05)
    VectorPolicy(cell, observation_size=5).save(tmp_path / "foreign")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    refuse(job, settings, words, message)


def test_a_camera_that_cannot_render_is_refused(refuse, tmp_path, monkeypatch):
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    make_driving_policy("ncp", head="light").save(tmp_path / "driver")
    words = ["driver", "--camera", "mujoco"]
    refuse(evaluate_policy, Evaluate, words, "`camera` must be 'opencv' where there is no OpenGL")


def test_impossible_settings_are_refused_by_the_parser(type_command, capsys, tmp_path):
    """They are found while the command line is read, which frames its own sentences, not ours."""
    assert type_command(train, JOBS, "drive", "--imitation.epochs", "0") == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("error: `epochs` must be a whole number of at least 1, got 0")
    assert not (tmp_path / "runs").exists()


def test_a_short_training_to_drive_does_without_the_default_dagger_epoch(type_command):
    drives = []
    assert type_command(drives.append, Drive, "--imitation.epochs", "2") == 0
    assert type_command(drives.append, Drive) == 0
    assert [drive.imitation.asked_epochs for drive in drives] == [(), (3,)]


def test_ctrl_c_without_a_run_ends_with_status_130_and_promises_nothing(type_command, capsys):
    def stop(_):
        raise KeyboardInterrupt

    assert type_command(stop, Evaluate, "anything") == 130
    assert capsys.readouterr().err == "\nstopped\n"


@pytest.mark.slow
def test_drive_learns_from_the_expert(type_command, capsys, tmp_path):
    words = ["drive", "--tracks", "2", "--seconds-per-track", "4", "--evaluation-km", "0.05"]
    words += ["--conditions", "all:1-3"]
    assert type_command(train, JOBS, *words, "--dagger-tracks", "1", *QUICK) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("run folder: ") and "policy: " in printed
    (run,) = (tmp_path / "runs").iterdir()
    Policy.load(run / "policy")
    assert (run / "report" / "film.mp4").stat().st_size > 10_000
    assert list((tmp_path / "data").glob("LaneKeeping-v0-*")), "kept for the next run"


def test_what_a_training_will_take_is_told_before(tmp_path, capsys):
    asked = Drive(tracks=2, dagger_tracks=3, seconds_per_track=0.5, data=tmp_path)
    task = driving_task(asked)
    store = find_or_record(task, asked, tmp_path)
    frames, about, learned = frame_counts(asked)
    assert (frames, about) == (len(store), 3 * 15), "DAgger asks once, before epoch 3"
    assert learned == 6 * len(store) + 3 * 45
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert kept / len(store) == pytest.approx(78 * 200 * 3, rel=0.02)
    told = foretell(Drive(), VALIDATION, is_recorded=False)
    assert told.endswith("1.9 GB of disk for demonstrations"), "64 + 16 tracks of 17 s"
    assert "0.6 GB" in foretell(Drive(frames_as="png"), VALIDATION, is_recorded=False)
    assert "0.4 GB" in foretell(Drive(), VALIDATION, is_recorded=True), "those of DAgger are new"
    minutes = int(told.split("about ")[1].split(" min")[0])
    assert 3 <= minutes <= 10


def test_what_a_recorded_frame_takes_is_told_as_it_was_measured():
    path = Path(__file__).parents[2] / "results" / "benchmark" / "demonstrations.json"
    measured_us = [row["frame_us"] for row in json.loads(path.read_text())["rows"]]
    assert 1000.0 * RECORD_MS == pytest.approx(np.median(measured_us), rel=0.2)
