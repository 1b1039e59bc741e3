"""The table of conditions: each policy is trained once, driven under each, and both are drawn."""

import csv

import pytest

from envs.conditions import PICTURES
from ncp_control.learning.run import watch_runs
from policies.driving import make_driving_policy
from scripts.reproduce import reproduce
from scripts.reproduction import condition_figures, conditions
from scripts.reproduction.asked_drives import HELD_OUT, TRAININGS, AskedDrives, drives, spread
from scripts.reproduction.completion import Reproduce


@pytest.fixture
def trained(monkeypatch):
    """Policies that learned nothing, and which were asked for."""
    asked = []

    def learn(self, model, seed, training, runs, *, epochs):
        asked.append((model, training, seed))
        return make_driving_policy(conditions.CELL_OF.get(model, model), seed=seed)

    monkeypatch.setattr(conditions.Lesson, "learn", learn)
    monkeypatch.setattr(conditions, "draw_conditions", lambda: condition_figures.Figure())
    return asked


def test_each_policy_is_trained_once_and_driven_under_each_condition(trained, tmp_path, capsys):
    told = {"table": "conditions", "models": ("ncp", "cnn-stack"), "seeds": 1, "km": 0.02,
            "results": tmp_path, "runs": tmp_path / "runs"}  # fmt: skip
    reproduce(Reproduce(**told, tasks=("fog:5",)))
    assert sorted(trained) == [
        (m, t, 0) for m in ("cnn-stack", "ncp") for t in ("clean", "conditions")
    ]
    reproduce(Reproduce(**told, tasks=("fog:5", "blackout:1")))
    assert len(trained) == 4, "a table that goes on trains nothing twice"
    with (tmp_path / "conditions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for training in ("clean", "conditions"):
        driven = {row["settings"].split()[1]: row for row in rows
                  if row["model"] == "ncp" and row["settings"].startswith(training)}  # fmt: skip
        assert set(driven) == {"none", "fog:5", "blackout:1"}
        assert float(driven["none"]["driven_km"]) == pytest.approx(0.02, rel=0.2)
    assert "| clean      | blackout:1 " in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= {"conditions.png", "conditions-seen.jpg"}


def test_a_third_of_the_kinds_is_held_out_and_then_driven_in(trained, tmp_path, capsys):
    thirds = list(HELD_OUT.values())
    assert sorted(sum(thirds, ())) == sorted(PICTURES), "each kind is held out once"
    for training, left_out in HELD_OUT.items():
        met = {word.split(":")[0] for word in TRAININGS[training]}
        assert met == set(PICTURES) - set(left_out)
    told = {"table": "conditions", "models": ("ncp",), "seeds": 1, "km": 0.02, "results": tmp_path}
    one, other = thirds[0][0], thirds[1][0]
    reproduce(Reproduce(**told, runs=tmp_path / "runs", tasks=(f"{one}:2", f"{other}:2"),
                        trainings=("without-1",)))  # fmt: skip
    assert trained == [("ncp", "without-1", 0)]
    printed = capsys.readouterr().out
    assert f"| without-1  | {one}:2" in printed and f"{other}:2" not in printed
    with pytest.raises(ValueError, match="`trainings` must be one of .*without-3.*, got 'dark'"):
        reproduce(Reproduce(**told, runs=tmp_path / "runs", trainings=("dark",)))


def test_drives_are_repeated_with_the_memory_wiped(trained, tmp_path, capsys):
    told = {"table": "conditions", "models": ("ncp", "cnn"), "seeds": 1, "km": 0.02,
            "trainings": ("clean",), "tasks": ("night:5",), "runs": tmp_path / "runs"}  # fmt: skip
    reproduce(Reproduce(**told, results=tmp_path, wipe_every=(1, 10_000)))
    assert len(trained) == 2, "a policy is trained once, whatever becomes of its memory"
    with (tmp_path / "conditions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["command"].endswith("--wipe-every 1 10000 --seeds 1 --km 0.02") for row in rows)
    rough = {
        (row["model"], row["settings"].partition("wiped=")[2]): float(row["roughness_radps"])
        for row in rows
        if row["settings"].startswith("clean night:5 km=0.02 epochs=6")
    }
    assert set(rough) == {("ncp", ""), ("ncp", "1"), ("ncp", "10000"), ("cnn", "")}
    assert rough["ncp", "10000"] == rough["ncp", ""], "wiped where it is clear anyway"
    assert rough["ncp", "1"] != rough["ncp", ""]
    assert "| night:5, wiped before every frame " in capsys.readouterr().out


def test_drives_side_by_side_are_of_different_trainings():
    jobs = drives(["ncp", "lstm"], ["fog:5"], [0], ["clean"], "km=2 epochs=6", ())
    assert [job.model for job in jobs] == ["ncp", "ncp", "lstm", "lstm"]
    assert [job.model for job in spread(jobs)] == ["ncp", "lstm", "ncp", "lstm"]
    assert sorted(spread(jobs)) == sorted(jobs)


def test_a_table_tells_each_seed_and_the_interval_of_their_sum(tmp_path):
    results = conditions.ResultsFile(tmp_path / "conditions.csv", conditions.MEASURES)
    jobs = drives(["lstm"], ["fog:5"], [0, 1], ["clean"], "km=2 epochs=6", ())
    for seed, crashes in ((1, 3), (0, 0)):
        measured = {"driven_km": 2.0, "crashes": crashes, "cross_track_m": 0.05 + 0.01 * crashes}
        for job in jobs:
            if job.seed == seed and "fog:5" in job.settings:
                row = measured | {"roughness_radps": 0.1}
                results.append(*job.key, row, "")
    # Half the quantiles of chi-squared at 6 and 8 degrees of freedom are 0.619 and 8.767.
    told = conditions.describe(results, jobs, conditions.Lesson(tmp_path))
    assert "| clean      | fog:5     | 0, 3: 0.75 [0.15, 2.19]; 0.065; 0.100 |" in told
    (of_all,) = (line for line in told.splitlines() if line.startswith("| all "))
    assert "0, 3: 0.75 [0.15, 2.19]; 0.065; 0.100" in of_all, "each drive counts once"
    assert "| clean      | none      | – " in told


def test_a_memory_is_not_wiped_before_every_zeroth_frame():
    with pytest.raises(ValueError, match="`wipe_every` must be a whole number of at least 1"):
        Reproduce(table="conditions", wipe_every=(4, 0))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"km": 5000.0}, "`km` must be from 0.001 to 4000, got 5000.0"),
        ({"models": ("cnn",), "wipe_every": (1,)}, "`wipe_every` must be left out with cnn"),
        ({"trainings": ("without-2",), "tasks": ("noise:3",)}, "leaves out, got noise:3"),
        (
            {"trainings": ("own-drives",), "epochs": 3},
            "`epochs` must be more than 3 for own-drives",
        ),
    ],
)
def test_what_nobody_could_do_is_refused_before_a_training(asked, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        reproduce(Reproduce(table="conditions", **asked, runs=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_table_that_was_stopped_stays(monkeypatch, tmp_path):
    def stop(self, model, seed, training, runs, *, epochs):
        raise KeyboardInterrupt

    monkeypatch.setattr(conditions.Lesson, "learn", stop)
    told = {"table": "conditions", "models": ("ncp",), "tasks": ("fog:5",), "runs": tmp_path}
    with watch_runs() as runs, pytest.raises(KeyboardInterrupt):
        reproduce(Reproduce(**told))
    assert not runs[0].remove_if_unused()
    assert "conditions.csv" in runs[0].kept()
    assert (runs[0].folder / "conditions.csv").read_text().startswith("model,seed,")


def test_a_training_meets_what_the_table_says(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        conditions, "imitate_expert", lambda policy, task, asked, run: seen.append(asked)
    )
    lesson = conditions.Lesson(tmp_path)
    lesson.learn("ncp", 1, "conditions", tmp_path / "a", epochs=3)
    lesson.learn("ncp-fast", 1, "clean", tmp_path / "b", epochs=3)
    lesson.learn("cnn-stack", 1, "clean", tmp_path / "c", epochs=3)
    assert [asked.tau_s for asked in seen] == [(0.02, 0.5), None, None]
    assert [asked.model for asked in seen] == ["ncp", "ncp", "stacked"]
    assert "fog:1-3" in seen[0].conditions and seen[1].conditions == ()
    assert seen[0].imitation.epochs == 3 and seen[0].seed == 1
    assert seen[0].imitation.weight_average == 0.0 and not seen[0].dagger_conditions
    for training, name, value in (
        ("averaged", "weight_average", 0.995),
        ("long-windows", "window", 256),
        ("short-windows", "batch_size", 64),
    ):
        lesson.learn("ncp", 1, training, tmp_path / training, epochs=3)
        assert getattr(seen[-1].imitation, name) == value
        assert seen[-1].conditions == seen[0].conditions
    lesson.learn("ncp", 1, "own-drives", tmp_path / "own", epochs=4)
    assert seen[-1].dagger_conditions and seen[-1].imitation.weight_average == 0.0


def test_a_training_that_was_stopped_goes_on_in_its_run(monkeypatch, tmp_path):
    runs = []

    def imitate(policy, task, asked, run):
        runs.append(run.folder)
        recorded = run.folder / "dagger" / "epoch-3"
        recorded.mkdir(parents=True, exist_ok=True)
        if len(runs) == 1:
            raise KeyboardInterrupt
        return policy

    monkeypatch.setattr(conditions, "imitate_expert", imitate)
    lesson, asked = conditions.Lesson(tmp_path), AskedDrives.read("clean none km=2 epochs=4")
    with pytest.raises(KeyboardInterrupt):
        lesson.learned("ncp", 0, asked)
    assert (runs[0] / "dagger" / "epoch-3").is_dir(), "what was recorded is needed again"
    for _ in range(2):
        lesson.learned("ncp", 0, asked)
    assert len(runs) == 2 and runs[0] == runs[1]
    assert not (runs[0] / "dagger").exists()
    lesson.learned("ncp", 1, asked)
    assert runs[2] != runs[0]


def test_the_picture_of_conditions_shows_what_becomes_of_actions():
    world = condition_figures.find_world("LaneKeeping-v0", tracks="held_out", on_crash="recover")
    said = condition_figures.np.linspace(-0.4, 0.4, 30)
    done = condition_figures._applied(world, "delay", 3, said, seed=0)
    assert (done[:3] == 0.0).all()
    assert done[3:] == pytest.approx(said[:-3], abs=1e-6)
