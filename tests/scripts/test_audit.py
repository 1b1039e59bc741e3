import csv

import numpy as np
import pytest
import torch

from envs.driving.road import HELD_OUT_TRACKS
from ncp_control import CTRNN, LTC, NCP19, STC, auto_ncp
from ncp_control.audit.bounds import certify
from ncp_control.audit.timescales import correlate
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.learning.demonstrations import DemonstrationWriter
from ncp_control.learning.results import ResultsFile
from ncp_control.policy import FramesPolicy, VectorPolicy
from policies.driving import make_driving_policy
from scripts import reporting
from scripts.audit import audit
from scripts.auditing import models, recording
from scripts.auditing.audit_job import MEASURES
from scripts.auditing.certifying import bounds_part
from scripts.auditing.maps import ACTION_STRIDE, compute_saliency
from scripts.auditing.parts import activity_part, timescales_part
from scripts.auditing.recording import act, watch
from scripts.auditing.settings import FIRST_HELD_OUT, Audit
from scripts.evaluation.driving import track_place
from scripts.evaluation.worlds import WorldSettings


@pytest.fixture(scope="module")
def driving():
    torch.manual_seed(0)
    policy = make_driving_policy("ncp", head="light")
    place = track_place(HELD_OUT_TRACKS[0], 1.0, 0)
    return policy, act(policy, "untrained", place, seconds=1.0)


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def report_of(tmp_path):
    (run,) = (tmp_path / "runs").iterdir()
    return run / "report", (run / "report" / "report.md").read_text()


@pytest.mark.slow
def test_a_driving_policy_is_audited_beside_another(type_command, tmp_path, monkeypatch):
    torch.manual_seed(0)
    for model in ("ncp", "cnn"):
        make_driving_policy(model, head="light").save(tmp_path / model)
    whole = models.resting_values
    monkeypatch.setattr(models, "resting_values", lambda *a: dict(list(whole(*a).items())[-1:]))
    words = ["ncp", "--compare", "cnn", "--seconds", 1, "--ablation-km", 0.004]
    assert type_command(audit, Audit, *words, "--results", "audit.csv") == 0
    folder, text = report_of(tmp_path)
    for name in ("overview", "saliency", "timescales", "components", "motor_contributions",
                 "ablation", "bounds", "robustness", "largest_steps"):  # fmt: skip
        assert (folder / f"{name}.png").stat().st_size > 5_000
        assert (folder / f"{name}.svg").read_text().startswith("<?xml")
        assert f"]({name}.png)" in text
    assert "In this episode: **never violated**" in text
    assert (folder / "inspector.html").stat().st_size > 50_000
    rows = read(folder / "comparison.csv")
    kept = ResultsFile(tmp_path / "audit.csv", MEASURES).rows()
    assert [[row["model"], *(row[name] for name in MEASURES)] for row in kept] == rows[1:]
    assert "--ablation-km 0.004" in kept[0]["command"]
    found = {(row[0], row[1], row[2]) for row in rows[1:]}
    assert {("ncp", "crashes_per_km", ""), ("cnn", "crashes_per_km_without", "unit_63"),
            ("ncp", "curvature_r", "command_0"), ("ncp", "components_for_90", "19 units"),
            ("cnn", "ssim_visual_backprop", "variance 0.3")} <= found  # fmt: skip
    assert len([row for row in rows if row[1] == "crashes_per_km_without"]) == 2


def test_tables_hold_what_was_recorded(driving):
    policy, audited = driving
    table = timescales_part(audited, None).tables["timescales"]
    header, rows = table.header, table.rows
    taus_ms = 1e3 * audited.activity.timescales_s[0].numpy()
    assert header[:4] == ["neuron", "mean τ [ms]", "min", "max"]
    np.testing.assert_allclose([row[1] for row in rows], taus_ms.mean(axis=0), rtol=1e-5)
    table = activity_part(policy, audited).tables["activity_correlations"]
    header, rows = table.header, table.rows
    state = audited.activity.states[0, :, 4].double().numpy()
    steering = correlate(state, audited.signals["steering"])
    assert rows[4][header.index("r with steering")].startswith(f"{steering.r:+.2f} [")


def test_a_broken_record_is_reported_as_violated(driving):
    policy, audited = driving
    audited.activity.states[0, 7, 3] += 9.0
    try:
        text = bounds_part(policy, audited, certify(policy.circuit.cell)).text[0]
    finally:
        audited.activity.states[0, 7, 3] -= 9.0
    assert "violated: state of inter_3 at frame 7 of sequence 0" in text


def test_an_lrc_that_drives_is_audited_and_its_vacuous_bounds_are_told():
    torch.manual_seed(0)
    policy = make_driving_policy("lrcu", head="light")
    audited = act(policy, "lrcu", track_place(HELD_OUT_TRACKS[0], 0.3, 0), seconds=0.3)
    certificate = certify(policy.circuit.cell)
    bounds = bounds_part(policy, audited, certificate)
    assert "In this episode: **never violated**." in bounds.text[0]
    assert bounds.text[-1].startswith("The upper bound of τ is **vacuous** for 12 of 19 neurons")
    assert len(timescales_part(audited, certificate).tables["timescales"].rows) == 19


def test_maps_between_computed_frames_show_the_one_before(driving):
    policy, audited = driving
    maps = compute_saliency(policy, audited, ["motor_0"])
    values = maps.over_time["gradient"]
    assert values.shape == (30, 78, 200) and values.dtype == np.uint8
    np.testing.assert_array_equal(values[ACTION_STRIDE], values[2 * ACTION_STRIDE - 1])
    assert (values[ACTION_STRIDE] != values[ACTION_STRIDE - 1]).any()
    # The readout only scales the motor neuron, so its map is the action's.
    shared = maps.over_time["gradient: motor_0"][0].astype(int) - values[0]
    assert np.abs(shared).max() <= 1


def test_an_episode_is_audited_where_the_camera_fails(type_command, driving, tmp_path, capsys):
    policy, clean = driving
    policy.save(tmp_path / "driver")
    words = ["driver", "--seconds", 1, "--wipe-episodes", 1, "--condition", "night:5-5"]
    words += ["--world-options", "randomize_appearance=false"]
    assert type_command(audit, Audit, *words) == 0
    assert "measured  LaneKeeping-v0 randomize_appearance=false\n" in capsys.readouterr().out
    _, text = report_of(tmp_path)
    assert "Measured in LaneKeeping-v0 randomize_appearance=false." in text
    assert f"track {HELD_OUT_TRACKS[0]} in night:5, 1.0 s" in text  # the range of one severity
    place = track_place(HELD_OUT_TRACKS[0], 1.0, 0).under("night", 5)
    dark = act(policy, "untrained", place, seconds=1.0)
    assert dark.where == f"track {HELD_OUT_TRACKS[0]} in night:5"
    assert dark.observations.mean() < 0.5 * clean.observations.mean()


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_a_log_of_one_frame_by_a_cell_without_tau_leaves_sentences(
    type_command, udacity_log, tmp_path
):
    torch.manual_seed(0)
    make_driving_policy("lstm", head="light").save(tmp_path / "lstm")
    assert type_command(audit, Audit, "lstm", "--log", udacity_log, "--seconds", 0.1) == 0
    folder, text = report_of(tmp_path)
    assert ", 1 frames." in text
    for sentence in (
        "Bounds are known only for circuits of LTC, STC or LRC neurons; this policy has LSTM.",
        "The neurons of this policy have no time constants.",
        "`states` must have at least 2 frames, got 1",
        "do the parts of single synapses add up to the command; this policy has LSTM.",
    ):
        assert sentence in text
    assert (folder / "saliency.png").is_file(), "the rest is made"
    assert (folder / "inspector.html").is_file()


@pytest.mark.filterwarnings("ignore:.*skipped:UserWarning")
def test_an_activity_that_is_not_finite_leaves_sentences(type_command, udacity_log, tmp_path):
    """Finite weights, which are loaded, whose product is not."""
    broken = make_driving_policy("ncp", head="light")
    with torch.no_grad():
        broken.circuit.cell.leak_potential[3] = 3e38
        broken.circuit.cell.raw_leak_conductance[3] = 9.0
    broken.save(tmp_path / "broken")
    assert type_command(audit, Audit, "broken", "--log", udacity_log, "--seconds", 1) == 0
    _, text = report_of(tmp_path)
    assert "signals['steering']" in text
    assert "must be finite, got nan in frame 0 of inter_3" in text
    assert "input_gradient: not made. `policy` must give finite maps, got nan" in text
    assert "| visual_backprop | 0.3" in text, "what needs no circuit is made"
    assert "| nan" not in text


def demonstrations(folder, observations, actions):
    """A store of one episode."""
    shape, size = observations.shape[1:], actions.shape[1]
    with DemonstrationWriter(folder, shape, observations.dtype, size) as writer:
        writer.append_episode(
            observations, actions.astype(np.float32), np.full(len(actions), 0.1, np.float32)
        )


def test_demonstrations_are_watched_by_any_policy_that_takes_them(
    type_command, tmp_path, monkeypatch
):
    """A policy of a series: numbers, and a contract without a world."""
    monkeypatch.setattr(reporting, "write_picture", lambda *_: None)  # it takes the longest
    torch.manual_seed(0)
    sensors = tuple(Entry(name=name, unit="m") for name in ("height", "depth"))
    policy = VectorPolicy(CTRNN(2, 6, 1, frame_s=0.1), observation_size=2)
    policy.contract = Contract(
        observation=VectorContract(entries=sensors), action=(ActionContract(name="load"),),
        frame_s=0.1,
    )  # fmt: skip
    policy.save(tmp_path / "forecaster")
    waves = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    demonstrations(tmp_path / "test", waves, np.sin(np.arange(40.0))[:, None] / 2)
    words = ["forecaster", "--log", "test", "--seconds", 3]
    assert type_command(audit, Audit, *words) == 0
    folder, text = report_of(tmp_path)
    assert "recording test, 3.0 s, 30 frames." in text
    assert "recorded load" in text and "human" not in text
    assert "| height [m] " in text
    assert "**Memory shapes the actions**" in text and "In the world" not in text
    assert len(read(folder / "reach.csv")) == 17
    assert (folder / "inspector.html").is_file()


def test_a_recording_is_watched_as_a_whole_unless_it_is_long(tmp_path, monkeypatch):
    """Rows a minute apart: 30 s would be half a row."""
    policy = VectorPolicy(CTRNN(2, 6, 1, frame_s=60.0), observation_size=2)
    rows, actions = np.ones((40, 2), np.float32), np.zeros((40, 1), np.float32)
    with DemonstrationWriter(tmp_path / "test", (2,), rows.dtype, 1) as writer:
        for num_rows in (10, 40):
            times_s = np.full(num_rows, 60.0, np.float32)
            writer.append_episode(rows[:num_rows], actions[:num_rows], times_s)
    whole = watch(policy, "forecaster", tmp_path / "test")
    assert len(whole) == 40
    assert whole.notes == ["this is the longest of the recording's 2 episodes."]
    assert len(watch(policy, "forecaster", tmp_path / "test", seconds=600.0)) == 10
    with pytest.raises(ValueError, match="at most 6.48e"):
        watch(policy, "forecaster", tmp_path / "test", seconds=1e9)
    monkeypatch.setattr(recording, "LOG_FRAMES", 25)
    cut = watch(policy, "forecaster", tmp_path / "test")
    assert len(cut) == 25
    assert "its first 25 of 40 frames; --seconds sets how many." in cut.notes[1]


@pytest.mark.slow
def test_a_locomotion_policy_is_audited_as_far_as_it_goes(type_command, tmp_path):
    torch.manual_seed(0)
    cell = LTC(auto_ncp(17, 16, 6), frame_s=0.05)
    VectorPolicy(cell, observation_size=17).save(tmp_path / "walker")
    words = ["walker", "--seconds", 0.5, "--world", "halfcheetah"]
    assert type_command(audit, Audit, *words) == 0
    folder, text = report_of(tmp_path)
    assert "halfcheetah, 0.5 s, 10 frames" in text
    assert "there are no saliency maps and no faults of pictures" in text
    assert "not made" not in text
    assert "never violated" in text
    assert "In the world, 4 episodes of at most 0.5 s, begun alike: mean return" in text
    assert (folder / "inspector.html").is_file() and (folder / "timescales.png").is_file()


def nobody_acts(*_, **__):
    raise AssertionError("an episode was recorded before all settings were checked")


def test_mistakes_end_with_one_sentence(type_command, capsys, tmp_path, monkeypatch):
    VectorPolicy(LTC(auto_ncp(5, 16, 6)), observation_size=5).save(tmp_path / "walker")
    names = ("halfcheetah", "walker2d")
    contracts = {name: WorldSettings(env=name).world.contract for name in names}
    cheetah = VectorPolicy(LTC(auto_ncp(17, 16, 6), frame_s=0.05), observation_size=17)
    cheetah.contract = contracts["halfcheetah"]
    for folder in (tmp_path, tmp_path / "other"):
        cheetah.save(folder / "cheetah")
    fast = VectorPolicy(LTC(auto_ncp(17, 16, 6), frame_s=0.008), observation_size=17)
    fast.contract = contracts["walker2d"]
    fast.save(tmp_path / "walker2d")
    driver = make_driving_policy("ncp", head="light")
    driver.save(tmp_path / "driver")
    for name, cell in (("rk4", LTC(NCP19, integrator="rk4")), ("stc", STC(NCP19))):
        FramesPolicy(cell, head="light").save(tmp_path / name)
    demonstrations(tmp_path / "series", np.zeros((8, 3), np.float32), np.zeros((8, 6)))
    monkeypatch.setattr("scripts.auditing.audit_job.act", nobody_acts)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for words, sentence in (
        (["nowhere"], "got 'nowhere'. Choose a listed name"),
        (
            ["walker", "--log", "x"],
            "`folder` must be the folder of a recording, got 'x', which does",
        ),
        (["cheetah", "--log", "x", "--world", "y"], "`world` must be left out with --log, got 'y'"),
        (["cheetah", "--log", "series"], "`observation` must hold 17 numbers, got shape (8, 3)"),
        (["driver", "--wipe-episodes", "-1"], "`wipe_episodes` must be a whole number of at"),
        (["walker"], "`world` must be given for a policy whose config.json has no contract"),
        (["walker", "--world", "walker2d"], "`policy` must take 17 numbers and give 6 actions"),
        (["cheetah", "--world", "walker2d"], "does not fit 'walker2d' with observe='full'"),
        (["cheetah", "--compare", "other/cheetah"], "got 'cheetah' twice"),
        (["walker", "--ablation-km", "1"], "`ablation_km` must be left out in another world"),
        (["walker", "--track", "3"], "`track` must be left out in another world than"),
        (["x", "--log", "y", "--track", "3"], "`track` must be left out with --log, got 3"),
        (["x", "--condition", "fog"], "`condition` must be one, with one severity, e.g. fog:3"),
        (["x", "--condition", "frog:3"], "got 'frog'. Did you mean 'fog'?"),
        (["x", "--log", "y", "--condition", "fog:3"], "`log` must be left out with --condition"),
        (["driver", "--condition", "fog:3", "--ablation-km", "1"], "`ablation_km` must be left"),
        (["cheetah", "--condition", "fog:3"], "`condition` must be one of ['delay']"),
        (["x", "--ablation-km", "-1"], "`ablation_km` must be from 0.001 to"),
        (["driver", "--seconds", "0.1"], "`seconds` must be at least 0.2 to drive, got 0.1"),
        (["x", "--log", "y", "--ablation-km", "1"], "`ablation_km` must be left out with --log"),
        (["driver", "--compare", "driver"], "of different names, got 'driver' twice"),
        (["driver", "--compare", "cheetah"], "policies of one world, 'driving', got 'cheetah' of"),
        (["cheetah", "--compare", "walker2d"], "of one world, 'halfcheetah', got 'walker2d'"),
        (["cheetah", "--world", "nowhere"], "`world` must be one of"),
        (["driver", "--seconds", "1e9"], "`seconds` must be at most 3600, which is 108,000 frames"),
        (["driver", "--seconds", "nan"], "`seconds` must be positive, got nan"),
        (["driver", "--track", "-3"], "`track` must be a whole number of at least 0, got -3"),
        (["driver", "--seed", "-1"], "`seed` must be a whole number of at least 0, got -1"),
        (["driver", "--runs", "other.csv"], "`runs` must be a folder, got the file 'other.csv'"),
        (["driver", "--ablation-km", "nan"], "`ablation_km` must be from 0.001 to"),
        (["driver", "--log", "nowhere"], "must be the folder of a recording, got 'nowhere'"),
        (["rk4", "--ablation-km", "1"], "must not be integrated by 'rk4' to hold neurons"),
        (
            ["driver", "--compare", "stc", "--ablation-km", "1"],
            "`policy` must have an LTC cell, a WiredCfC or an unwired one, got 'STC'",
        ),
        (["walker", "--results", "x.csv"], "`results` must come with --compare or --ablation-km"),
        (
            ["walker", "--ablation-km", "1", "--results", "other.csv"],
            "other.csv must have the columns",
        ),
    ):
        assert type_command(audit, Audit, *words) == 2
        errors = capsys.readouterr().err.strip()
        assert sentence in errors.splitlines()[-1]
    assert not (tmp_path / "runs").exists(), "a mistake leaves no run folder"


def test_the_track_by_default_is_the_first_that_nobody_has_learned_on():
    assert FIRST_HELD_OUT == HELD_OUT_TRACKS[0]
