"""The job that learns from a person's driving: what it refuses, warns of and writes down."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from envs.recorded import load_recording
from ncp_control import GRU, LRC, StackedFrames
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.learning.demonstrations import Demonstrations, as_seen
from ncp_control.learning.imitation import imitation_error
from ncp_control.policy import Policy, load
from policies.driving import make_driving_policy
from scripts.auditing.recording import watch
from scripts.evaluate import evaluate_policy
from scripts.evaluation.settings import Evaluate
from scripts.train import train
from scripts.training.jobs import JOBS
from scripts.training.recordings import contract_of_recordings
from tests.scripts.recorded_drives import record_drive

WORDS = [
    "recorded",
    "--models",
    "cnn",
    "--mirror",
    "False",
    "--smoothing-s",
    "0",
    "--shift",
    "False",
    "--balance",
    "False",
    "--imitation.epochs",
    "1",
    "--imitation.epoch-steps",
    "4",
    "--imitation.window",
    "16",
]
SIMPLE = [
    "training mean",
    "always straight",
    "best constant in hindsight",
    "persistence of the person's own steering",
    "linear on shrunken grey frames",
]
pytestmark = pytest.mark.filterwarnings("ignore:Skipped:UserWarning")


@pytest.fixture
def steer(udacity_log):
    """Write other steering into the log, a number or a function of the frame from a frame on."""

    def write(steering, begin=0):
        log = udacity_log / "driving_log.csv"
        lines = [line.split(",") for line in log.read_text().splitlines()]
        for i, cells in enumerate(lines):
            if i >= begin:
                cells[3] = f"{steering(i):.4f}"
        log.write_text("\n".join(map(",".join, lines)))
        return udacity_log

    return write


@pytest.fixture
def untrained(monkeypatch, capsys):
    """Train nothing and draw nothing; tell what stderr had before, and the report's doubts."""
    seen = []

    def make(*_, way):
        seen.append(capsys.readouterr().err)
        return make_driving_policy("cnn", head="light")

    monkeypatch.setattr("scripts.training.recorded.train_model", make)
    monkeypatch.setattr(
        "scripts.training.recorded.write_recorded_report", lambda *given: seen.append(given[-1])
    )
    return seen


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("drive.zip", "got the file 'drive.zip'. Unpack it"),
        ("notes.csv", "got the file 'notes.csv'. Give the folder that holds a driving_log.csv"),
        ("notes.csv/x", "got 'notes.csv/x', which does not exist"),
    ],
)
def test_a_log_that_is_another_file_is_refused_by_what_it_is(refuse, tmp_path, name, message):
    (tmp_path / name.split("/")[0]).write_text("0,1\n")
    refuse(train, JOBS, [*WORDS, "--log", name], message)


def test_a_table_of_another_kind_is_refused_before_the_run(refuse, udacity_log, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,2\n")
    words = [*WORDS, "--log", udacity_log, "--results", table]
    refuse(train, JOBS, words, "must have the columns")
    assert table.read_text() == "a,b\n1,2\n"


def test_a_refused_log_leaves_no_table(refuse, tmp_path):
    refuse(
        train,
        JOBS,
        [*WORDS, "--log", "nowhere", "--results", "published/table.csv"],
        "does not exist",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("steering", "begin", "said"),
    [
        (lambda i: 0.0, 90, "The test part never steers: its steering stays at 0.00"),
        (lambda i: 0.1 * (-1) ** i, 90, "test part is driven unlike the training part: its"),
        (lambda i: 0.1 * (-1) ** i, 60, "validation part (it chooses the checkpoint) is driven"),
        (lambda i: 0.9 * (-1) ** i, 0, None),
    ],
)
def test_a_part_that_cannot_judge_is_told_before_the_training_and_handed_to_the_report(
    type_command, steer, capsys, untrained, steering, begin, said
):
    steer(lambda i: 0.9 * (-1) ** i)
    assert type_command(train, JOBS, *WORDS, "--log", steer(steering, begin)) == 0
    errors_before_training, doubts = untrained
    assert ("warning: " in errors_before_training) == bool(doubts) == (said is not None)
    assert said is None or (said in errors_before_training and said in " ".join(doubts))


@pytest.mark.usefixtures("untrained")
def test_the_published_table_is_added_to_only_when_asked(type_command, steer, read, tmp_path):
    log = steer(lambda i: 0.9 * (-1) ** i * np.sin(i))
    assert type_command(train, JOBS, *WORDS, "--log", log) == 0
    (run,) = (tmp_path / "runs").iterdir()
    own = read(run / "results.csv")
    assert [row["model"] for row in own] == [*SIMPLE, "cnn"]
    assert not (tmp_path / "results").exists()
    shared = ["--results", "results/recorded.csv"]
    for settings in ([], [], ["--seed", "1", "--imitation.batch-size", "2"]):
        assert type_command(train, JOBS, *WORDS, "--log", log, *shared, *settings) == 0
    rows = read(tmp_path / "results" / "recorded.csv")
    assert [row["model"] for row in rows] == [*SIMPLE, "cnn", "cnn", "cnn"]
    assert [row["seed"] for row in rows[5:]] == ["0", "0", "1"]
    assert [row["test_mse"] for row in own[:5]] == [row["test_mse"] for row in rows[:5]]


@pytest.mark.usefixtures("untrained")
def test_another_recording_of_the_same_name_has_constants_of_its_own(
    type_command, steer, read, tmp_path
):
    for straightness in (1.0, 0.5):
        log = steer(lambda i, s=straightness: s * 0.9 * (-1) ** i)
        assert type_command(train, JOBS, *WORDS, "--log", log, "--results", "recorded.csv") == 0
    rows = read(tmp_path / "recorded.csv")
    assert [row["model"] for row in rows] == [*SIMPLE, "cnn"] * 2


def test_the_first_model_is_trained_in_every_way_and_validation_chooses_for_all(
    type_command, steer, read, tmp_path, capsys
):
    log = steer(lambda i: 0.5 + 0.4 * np.sin(i))  # to one side only: a mirror misleads
    words = ["recorded", "--models", "cnn", "lstm", "--smoothing-s", "0", "--shift", "False"]
    words += ["--balance", "False", "--imitation.epochs", "2", "--imitation.epoch-steps", "8"]
    assert type_command(train, JOBS, *words, "--imitation.window", "4", "--log", log) == 0
    printed = capsys.readouterr().out
    plain, mirrored, other = sorted((tmp_path / "runs").iterdir())
    store = Demonstrations.open(plain / "demonstrations" / "validation")
    policies = [Policy.load(run / "policy") for run in (plain, mirrored)]
    errors = [imitation_error(one, as_seen(store, one.contract)) for one in policies]
    assert errors[0] < errors[1]
    told = f"validation part {errors[0]:.5f} as it is, {errors[1]:.5f} mirrored windows"
    assert "cnn: kept as it is; " in printed and told in printed
    rows = read(plain / "results.csv")[-2:]
    for row in rows:
        settings = json.loads(row["settings"].split(" ", 1)[1])
        assert settings["mirror"] == "False, chosen on validation"
        assert settings["shift"] is False
    test = Demonstrations.open(plain / "demonstrations" / "test")
    error = imitation_error(policies[0], as_seen(test, policies[0].contract))
    assert float(rows[0]["test_mse"]) == pytest.approx(error)
    kept = [str(run.relative_to(tmp_path) / "policy") for run in (plain, other)]
    assert f"policies: {' '.join(kept)}\n" in printed


def test_a_policy_that_looks_back_can_be_judged_and_audited_on_a_log(
    type_command, udacity_log, tmp_path, read
):
    words = [*WORDS, "--head", "motion", "--log", udacity_log, "--results", "r.csv"]
    assert type_command(train, JOBS, *words) == 0
    (run,) = (tmp_path / "runs").iterdir()
    words = [run / "policy", "--log", udacity_log, "--log-share", "0.2", "--results", "e.csv"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    trained, judged = read(tmp_path / "r.csv")[-1], read(tmp_path / "e.csv")[-1]
    # The first frame of the cut-off part follows no other in either job.
    assert float(judged["mean_squared_error"]) == pytest.approx(float(trained["test_mse"]))
    with pytest.warns(UserWarning, match="trained on a recording .*: its error is smaller on"):
        assert type_command(evaluate_policy, Evaluate, *words[:3], "--results", "all.csv") == 0
    watched = watch(Policy.load(run / "policy"), "driver", udacity_log, seconds=2.0)
    assert watched.recorded_observations.shape[1:] == (78, 200, 6)


def test_the_models_of_the_roads_table_learn_from_a_log_side_by_side(
    type_command, udacity_log, tmp_path, read, capsys
):
    models = ["lrc", "gru", "stacked"]
    words = [*WORDS, "--head", "motion", "--log", udacity_log, "--results", "r.csv"]
    words[1:3] = ["--models", *models]
    assert type_command(train, JOBS, *words) == 0
    rows = read(tmp_path / "r.csv")
    assert [row["model"] for row in rows] == [*SIMPLE, *models]
    cells = {name: Policy.load(run / "policy").circuit.cell for name in models
             for run in (tmp_path / "runs").glob(f"recorded-{name}-*")}  # fmt: skip
    assert isinstance(cells["lrc"], LRC) and cells["lrc"].wiring.num_neurons == 19
    assert isinstance(cells["gru"], GRU) and cells["gru"].hidden_size == 64
    stacked = cells["stacked"]
    assert isinstance(stacked, StackedFrames) and stacked.hidden_size == 64
    assert stacked.input_size == cells["gru"].input_size, "the head that the others have"
    assert {row["parameters"] for row in rows[: len(SIMPLE)]} == {""}
    (gru,) = (tmp_path / "runs").glob("recorded-gru-*")
    numbers = sum(p.numel() for p in Policy.load(gru / "policy").parameters())
    assert int(rows[6]["parameters"]) == numbers
    error, printed = float(rows[-1]["test_mse"]), capsys.readouterr().out
    sizes = [f"{row['model']}: {int(row['parameters']):,} parameters, " for row in rows[5:]]
    assert all(size in printed for size in sizes)
    (line,) = [line for line in printed.splitlines() if "| stacked " in line]
    assert f"| {error**0.5:.4f} " in line


def test_persistence_has_one_error_in_training_and_evaluation(
    type_command, steer, read, tmp_path, capsys
):
    """The frame before the test part is in the log, so that each frame of the part counts."""
    wanted = np.float32([0.9 * np.sin(i / 4) for i in range(120)]).round(4)
    log = steer(lambda i: wanted[i])
    assert type_command(train, JOBS, *WORDS, "--log", log) == 0
    capsys.readouterr()
    (run,) = (tmp_path / "runs").iterdir()
    row = read(run / "results.csv")[SIMPLE.index("persistence of the person's own steering")]
    assert float(row["test_mse"]) == pytest.approx(np.mean(np.diff(wanted[95:]) ** 2), rel=1e-4)
    assert len(Demonstrations.open(run / "demonstrations" / "test")) == 24
    for words in ([log, "--log-share", "0.2"], [run / "demonstrations" / "test"]):
        assert type_command(evaluate_policy, Evaluate, run / "policy", "--log", *words) == 0
        (told,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("| steering")]
        assert float(told.split("|")[-2]) == pytest.approx(float(row["test_mse"]) ** 0.5, rel=1e-3)


@pytest.mark.parametrize("is_told", [False, True])
def test_a_cell_that_knows_no_time_is_told_where_it_varies(
    type_command, udacity_log, capsys, tmp_path, is_told
):
    if is_told:  # every tenth frame was lost
        log = udacity_log / "driving_log.csv"
        lines = log.read_text().splitlines()
        log.write_text("\n".join(line for i, line in enumerate(lines) if i % 10 != 5))
    words = [*WORDS, "--log", udacity_log]
    words[1:3] = ["--models", "lstm"]
    assert type_command(train, JOBS, *words) == 0
    assert ("| lstm, told the elapsed time " in capsys.readouterr().out) == is_told
    (run,) = (tmp_path / "runs").iterdir()
    assert Policy.load(run / "policy").circuit.cell.sees_time == is_told
    assert ("sees_time" in (run / "results.csv").read_text()) == is_told


def test_circuits_that_learn_from_a_log_can_begin_with_time_constants(
    type_command, udacity_log, monkeypatch
):
    begun = {}

    def begin(cell, inputs, **asked):
        begun[type(cell).__name__] = asked

    monkeypatch.setattr("ncp_control.cells.first_values.set_first_values_", begin)
    words = [*WORDS, "--log", udacity_log, "--tau-s", 0.1, 2.0]
    words[1:3] = ["--models", "cnn", "ncp"]
    assert type_command(train, JOBS, *words) == 0
    assert begun == {"LTC": {"tau_s": (0.1, 2.0), "seed": 0}}, "a network without memory has none"


def test_images_of_another_size_teach_a_policy_that_sees_them(type_command, udacity_log, tmp_path):
    size = ["--log-options", "image_size=[60,120]", "crop=[0.25,0.0]"]
    words = [*WORDS, "--log", udacity_log, *size, "--results", "r.csv"]
    words[1:3] = ["--models", "cnn", "ncp"]
    assert type_command(train, JOBS, *words) == 0
    for run in (tmp_path / "runs").iterdir():
        policy = Policy.load(run / "policy")
        assert policy.frame_shape == policy.contract.observation.shape == (60, 120, 3)


def test_a_policy_of_a_log_acts_in_a_world_that_its_contract_fits_or_not_at_all(
    refuse, udacity_log, tmp_path
):
    contract = contract_of_recordings([load_recording(udacity_log).choose()])
    policy = make_driving_policy("cnn", head="light", frame_s=contract.frame_s)
    policy.contract = contract
    policy.save(tmp_path / "learned")
    told = "`world` must be given for a policy whose config.json has no contract with a world"
    refuse(evaluate_policy, Evaluate, [tmp_path / "learned"], told)
    told = "does not fit 'LaneKeeping-v0'.*it needs"
    refuse(evaluate_policy, Evaluate, [tmp_path / "learned", "--world", "LaneKeeping-v0"], told)


def test_a_recording_of_the_other_sign_is_not_compared(refuse, udacity_log, tmp_path):
    policy = load("drive-ncp")
    (entry,) = policy.contract.action
    right = dataclasses.replace(entry, positive="right")
    policy.contract = dataclasses.replace(policy.contract, action=(right,))
    policy.save(tmp_path / "right")
    told = "`log` must hold steering positive to the right, as the policy has it, got it positive"
    refuse(evaluate_policy, Evaluate, [tmp_path / "right", "--log", udacity_log], told)


def test_a_drive_of_the_other_sign_is_not_compared(refuse, tmp_path):
    policy = load("drive-ncp")
    (entry,) = policy.contract.action
    right = dataclasses.replace(entry, positive="right")
    policy.contract = dataclasses.replace(policy.contract, action=(right,))
    policy.save(tmp_path / "right")
    record_drive("drive-ncp", tmp_path / "drive.mcap", 1.0)
    told = "`log` must hold steering positive to the right, as the policy has it, got left in"
    refuse(evaluate_policy, Evaluate, [tmp_path / "right", "--log", tmp_path / "drive.mcap"], told)


@pytest.mark.parametrize("unit", ["", " [share of 5 N m]"])
def test_a_number_that_is_within_one_may_be_compared_without_a_range(unit, tmp_path):
    lines = [f"time_s,elbow{unit},speed", *(f"{0.1 * i},{0.3 * (-1) ** i},{i}" for i in range(9))]
    (tmp_path / "frames.csv").write_text("\n".join(lines))
    contract = Contract(
        observation=VectorContract(entries=(Entry(name="speed"),)),
        action=(ActionContract(name="elbow", unit=unit.strip(" []")),),
        frame_s=0.1,
    )
    assert load_recording(tmp_path).chosen_for(contract).actions == ("elbow",)


@pytest.mark.parametrize(("unit", "is_told"), [("", True), (" [fraction of 0.4 rad]", False)])
def test_fractions_of_different_angles_are_told(unit, is_told, type_command, tmp_path):
    lines = [f"time_s,path,steering{unit}"]
    for i in range(6):
        Image.fromarray(np.full((60, 80, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i / 30},{i}.png,{0.1 * i}")
    (tmp_path / "frames.csv").write_text("\n".join(lines))
    told = "as fraction of the car's largest angle, and the policy as fraction of 0.4 rad: they"
    with pytest.warns(UserWarning, match=told) if is_told else contextlib.nullcontext():
        assert type_command(evaluate_policy, Evaluate, "drive-ncp", "--log", tmp_path) == 0


def test_a_recording_in_another_unit_is_not_compared(refuse, tmp_path):
    folder = tmp_path / "degrees"
    (folder / "images").mkdir(parents=True)
    lines = ["time_s,path,steering [deg]"]
    for i in range(6):
        Image.fromarray(np.full((60, 80, 3), 40 * i, np.uint8)).save(folder / f"images/{i}.png")
        lines.append(f"{i / 30},images/{i}.png,{3.0 * i}")
    (folder / "frames.csv").write_text("\n".join(lines))
    told = "`log` must hold steering in the unit of the policy, fraction of 0.4 rad, got deg in"
    refuse(evaluate_policy, Evaluate, ["drive-ncp", "--log", folder], told)
