"""The words and tables of an audit: sensors, bounds, and episodes that are short or still."""

import csv
import dataclasses
import math

import numpy as np
import pytest
import torch

from ncp_control import LRC, LSTM, LTC, auto_ncp
from ncp_control.audit.bounds import certify
from ncp_control.audit.inspection import inspected
from ncp_control.audit.inspector import write_inspector
from ncp_control.audit.timescales import correlate
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.policy import VectorPolicy
from ncp_control.replay import show
from scripts import reporting
from scripts.auditing import models
from scripts.auditing.audit_job import _of_durations, open_report
from scripts.auditing.certifying import bounds_part, certified_bounds
from scripts.auditing.maps import compute_saliency
from scripts.auditing.parts import (
    ablation_part,
    activity_part,
    followed_neurons,
    sensor_effects_part,
    sensors_part,
    steps_part,
    synapses_part,
    timescales_part,
    traced_neurons,
)
from scripts.auditing.seeing import overview_part, robustness_part, stability_part
from scripts.evaluation.episode_figures import activity
from scripts.evaluation.worlds import WorldSettings
from scripts.reporting import Part, Report, Table
from tests.scripts.audited_episodes import drive_untrained, shortened, walk_untrained


@pytest.fixture(scope="module")
def driving():
    return drive_untrained()


@pytest.fixture(scope="module")
def walking():
    return walk_untrained()


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("env", ["halfcheetah", "walker2d"])
def test_sensors_have_the_names_of_the_models_joints(env):
    """Against the table of units in the world's docstring, and by moving one joint at a time."""
    world = WorldSettings(env=env).make_world()
    world.reset(seed=0)
    contract = WorldSettings(env=env).world.contract
    names = [f"{entry.name} [{entry.unit}]" for entry in contract.observation.entries]
    motors = [entry.name for entry in contract.action]
    assert len(set(names)) == 17 and len(set(motors)) == 6
    units = [name.partition(" [")[2] for name in names]
    assert units == ["m]"] + ["rad]"] * 7 + ["m/s]"] * 2 + ["rad/s]"] * 7
    joints = [name.removesuffix(" torque") for name in motors]
    assert names[2:8] == [f"{joint} angle [rad]" for joint in joints]
    assert names[11:] == [f"{joint} rate [rad/s]" for joint in joints]
    assert names[:2] == ["height [m]", "pitch [rad]"]
    body = world.unwrapped
    for i, joint in enumerate(joints):
        position, rate = body.data.qpos.copy(), body.data.qvel.copy()
        index = body.model.actuator(i).trnid[0]
        assert joint.split()[-1] in body.model.joint(index).name
        position[index] += 0.01
        before = body._get_obs()
        body.set_state(position, rate)
        assert np.flatnonzero(np.abs(body._get_obs() - before) > 1e-6).tolist() == [2 + i]
    positions = WorldSettings(env=env, options={"observe": "positions"}).world.contract
    assert positions.observation.entries == contract.observation.entries[:8]


def test_every_neuron_is_listed_and_correlated_with_every_action(walking, tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "write_picture", lambda *_: None)  # it takes the longest
    policy, audited = walking
    names = policy.circuit.cell.neuron_names
    report = open_report(tmp_path, None, audited)
    for table in ("timescales", "activity_correlations", "bounds", "ablation"):
        report.part(table, {
            "timescales": lambda: timescales_part(audited, None),
            "activity_correlations": lambda: activity_part(policy, audited),
            "bounds": lambda: bounds_part(policy, audited, certify(policy.circuit.cell)),
            "ablation": lambda: ablation_part(policy, audited),
        }[table])  # fmt: skip
        text = report.text.split(f"## {table}")[1]
        for name in names:
            assert f"| {name} " in text, (table, name)
    assert "(activity.png)" in report.text.split("## activity_correlations")[1]
    header = read(tmp_path / "activity_correlations.csv")[0]
    assert header[2:] == [f"r with {name}" for name in audited.action_names]
    motors = [f"motor_{i}" for i in range(6)]
    assert traced_neurons(audited)[-6:] == motors and followed_neurons(audited)[:6] == motors


def test_a_sensor_stands_beside_its_synapses(walking):
    policy, audited = walking
    rows = synapses_part(policy, audited).tables["synaptic_currents"].rows
    named = [row[0] for row in rows if row[0].startswith("sensory_0 ")]
    assert named and all(name.startswith("sensory_0 (height) → ") for name in named)
    table = sensors_part(policy, audited, audited.sensor_names).tables["sensors"]
    heights = audited.observations[:, 0].astype(float)
    assert table.rows[0][:2] == ("sensory_0", "height [m]")
    outputs = sensors_part(policy, audited, audited.sensor_names).tables["actions"].rows
    assert outputs[0][:2] == ("motor_0", "bthigh torque")
    mixed = dataclasses.replace(audited, sensor_names=None)  # by an encoder
    table_of_mixed = sensors_part(policy, mixed, audited.sensor_names).tables["sensors"]
    assert table_of_mixed.rows[0][:2] == ("sensor_0", "height [m]")
    np.testing.assert_allclose(
        table.rows[0][2:], [heights.mean(), heights.min(), heights.max()], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"gait": ("trot", "walk", "stand")}, ["trot", "walk", "stand"]),
        (
            {"gait": ("trot", "walk"), "lamp": ("off", "on")},
            ["gait: trot", "gait: walk", "lamp: off", "lamp: on"],
        ),
    ],
)
def test_choices_are_told_by_name_and_by_how_often_they_were_made(walking, choices, told):
    _, audited = walking
    cell, counts = LTC(auto_ncp(17, 16, len(told)), frame_s=0.05), [*map(len, choices.values())]
    policy = VectorPolicy(cell, choices=counts, observation_size=17)
    policy.contract = Contract(
        observation=VectorContract(entries=tuple(Entry(name=f"x{i}") for i in range(17))),
        action=tuple(ActionContract(name=name, choices=of) for name, of in choices.items()),
        frame_s=0.05,
    )
    actions = np.ones((len(audited.time_s), len(choices)), int)
    actions[:4, 0] = 0
    chosen = dataclasses.replace(audited, action_names=[*choices], actions=actions)
    table = sensors_part(policy, chosen, audited.sensor_names).tables["actions"]
    assert table.header == ("output", "choice", "share of frames")
    assert [row[:2] for row in table.rows] == [(f"motor_{i}", name) for i, name in enumerate(told)]
    share = 4 / len(actions)
    rest = [0.0] * (len(told) - 2) if len(choices) == 1 else [0.0, 1.0]
    assert [row[2] for row in table.rows] == pytest.approx([share, 1.0 - share, *rest])
    part = sensor_effects_part(policy, chosen, audited.sensor_names)
    assert part.tables["sensor_effects"].header == ("sensor held", *told)
    assert part.text[0].endswith("RMS change of the scores of the choices.")


def test_a_sensor_is_told_with_its_effect_on_each_action(walking):
    policy, audited = walking
    part = sensor_effects_part(policy, audited, audited.sensor_names)
    table = part.tables["sensor_effects"]
    assert table.header == ("sensor held", *audited.action_names)
    assert [row[0] for row in table.rows] == list(audited.sensor_names)
    assert all(min(row[1:]) >= 0.0 and max(row[1:]) > 0.0 for row in table.rows)
    strongest = max(table.rows, key=lambda row: max(row[1:]))[0]
    assert f"What counts most is {strongest}. " in part.text[1]


@pytest.mark.parametrize(
    ("cell", "make", "reason"),
    [
        (
            LSTM(17, 8, 6, frame_s=0.05),
            certified_bounds,
            "LTC, STC or LRC neurons; this policy has",
        ),
        (LSTM(17, 8, 6, frame_s=0.05), timescales_part, "The neurons of this policy have no time"),
        (LSTM(17, 8, 6, frame_s=0.05), synapses_part, "of LTC neurons .* this policy has LSTM"),
        (LRC(auto_ncp(17, 16, 6), frame_s=0.05), synapses_part, "of LTC neurons .* has LRC"),
        (LRC(auto_ncp(17, 16, 6), frame_s=0.05), ablation_part, "can be held only in .* has LRC"),
    ],
)
def test_what_a_cell_does_not_allow_is_told_in_plain_words(walking, cell, make, reason):
    seen = walking[1].observations
    policy = VectorPolicy(cell, observation_size=17)
    audited = show(policy, seen, np.full(10, 0.05), action_names=walking[1].action_names)
    with pytest.raises(ValueError, match=f"^[^`]*{reason}[^`]*$"):
        make(audited, None) if make is timescales_part else make(policy, audited)


def test_a_comparison_tells_lengths_that_differ_and_has_no_empty_column(walking):
    policy, audited = walking
    assert _of_durations([audited, audited]) == []
    brief = dataclasses.replace(audited, name="brief", infos={"time_s": np.array([0.2])})
    assert "in length: walker 0.5 s, brief 0.2 s." in _of_durations([audited, brief])[0]
    slow = dataclasses.replace(audited, name="slow", infos={"time_s": np.array([90_000.0])})
    assert "walker 0.5 s, slow 25.0 h." in _of_durations([audited, slow])[0]
    (text,) = models.describe(models.activity_rows(policy, audited))
    header = text.splitlines()[0]
    assert [word.strip() for word in header.strip("|").split("|")] == [
        "policy", "components for 90 % of the variance", "variance of the first component",
    ]  # fmt: skip


def test_the_page_has_words_and_no_empty_column_where_the_file_has_all(tmp_path):
    table = Table(
        header=("mean_return", "half_width", "of"),
        rows=[(1.0, math.nan, ""), (2.0, math.nan, "")],
        words={"mean_return": "mean return"},
    )
    report = Report(tmp_path, None, "page")
    report.part("part", lambda: Part(text=[], tables={"table": table}))
    assert "| mean return |\n| ----------- |\n| 1           |" in report.text
    assert read(tmp_path / "table.csv")[0] == ["mean_return", "half_width", "of"]


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_few_frames_give_tables_without_nan(driving, tmp_path, monkeypatch, frames):
    def lay_out(path, figure):
        if path.name in ("overview.png", "timescales.png", "motor_contributions.png"):
            figure.draw_without_rendering()

    monkeypatch.setattr(reporting, "write_picture", lay_out)
    policy, whole = driving
    audited = shortened(whole, frames)
    report = open_report(tmp_path, None, audited)
    certificate, maps = certify(policy.circuit.cell), compute_saliency(policy, audited, ["motor_0"])
    makers = {
        "At a glance": lambda: overview_part(audited, maps, certificate),
        "How steady": lambda: stability_part(policy, audited, maps, 0),
        "How fast": lambda: timescales_part(audited, certificate),
        "What the neurons do": lambda: activity_part(policy, audited),
        "Synapses": lambda: synapses_part(policy, audited),
        "Bounds": lambda: bounds_part(policy, audited, certificate),
        "Faults": lambda: robustness_part(policy, audited, 0),
        "Steps": lambda: steps_part([(policy, audited)]),
        "Comparison": lambda: Part(text=models.describe(models.activity_rows(policy, audited))),
    }
    for title, make in makers.items():
        report.part(title, make)
    assert "nan" not in report.text.lower()
    for path in tmp_path.glob("*.csv"):
        assert "nan" not in path.read_text().lower(), path
    made = [title for title in makers if f"## {title}" in report.text]
    needs_two = {"What the neurons do", "Faults", "Steps", "Comparison"}
    assert set(makers) - set(made) == (needs_two if frames == 1 else set())
    panel = inspected(policy, audited, maps=maps.over_time, certificate=certificate)
    write_inspector(tmp_path / "page.html", [panel])


def test_the_text_says_which_neurons_are_drawn(walking):
    _, audited = walking
    text = " ".join(timescales_part(audited, None).text)
    assert "The figure shows 10 of the 16 neurons, of the command" in text


def test_a_constant_action_and_a_still_neuron_have_no_correlation(walking, tmp_path):
    policy, whole = walking
    states = whole.activity.states.clone()
    states[..., 3] = 0.25
    actions = whole.actions.copy()
    actions[:, 1] = -1.0
    name = whole.action_names[1]
    audited = dataclasses.replace(
        whole,
        actions=actions,
        signals=whole.signals | {name: actions[:, 1]},
        activity=dataclasses.replace(whole.activity, states=states),
    )
    part = activity_part(policy, audited)
    table = part.tables["activity_correlations"]
    column = table.header.index(f"r with {name}")
    assert {row[column] for row in table.rows} == {"–"} == set(table.rows[3][1:])
    assert any("is constant" in sentence for sentence in part.text)
    assert "is constant" in " ".join(timescales_part(audited, None).text)


def test_a_correlation_of_too_few_frames_is_too_short(driving):
    policy, whole = driving
    audited = shortened(whole, 4)
    states = audited.activity.states[0, :, 0].numpy()
    one = correlate(states, audited.signals["curvature [1/m]"])
    assert (one.low, one.high, one.is_known) == (-1.0, 1.0, False)
    part = activity_part(policy, audited)
    assert {row[1] for row in part.tables["activity_correlations"].rows} == {"too short"}
    assert "too few frames" in part.text[-1] and "constant" not in part.text[-1]
    panel = part.figures["activity_correlations"].axes[0]
    assert len(panel.lines) == 1, "the line at 0"


def test_frames_minutes_apart_have_time_constants_in_minutes(walking):
    policy, whole = walking
    record = whole.activity
    assert record.timescales_s is not None
    slow = dataclasses.replace(
        record, dt_s=6000.0 * record.dt_s, timescales_s=6000.0 * record.timescales_s
    )
    audited = dataclasses.replace(whole, activity=slow)
    certificate = dataclasses.replace(certify(policy.circuit.cell), gain_dt_s=300.0)
    part = timescales_part(audited, certificate)
    assert part.tables["timescales"].header[1] == "mean τ [min]"
    mean_s = float(slow.timescales_s[0, :, 0].mean())
    assert part.tables["timescales"].rows[0][1] == pytest.approx(mean_s / 60.0)
    assert "Against the frame interval of 5 min:" in part.text[1]
    assert part.figures["timescales"].get_supylabel() == "time constant τ [min]"
    drawn = activity(audited)
    assert drawn.axes[-1].get_ylabel() == "time constant [min]"
    bounds = bounds_part(policy, audited, certificate)
    assert bounds.tables["bounds"].header[3:5] == ["τ min [min]", "τ max [min]"]
    assert "the next frame, at most 5 min later" in bounds.text[2]
    assert bounds.figures["bounds"].axes[1].get_xlabel() == "time constant τ [min]"


def test_bounds_that_say_nothing_are_called_vacuous(walking):
    policy, audited = walking
    cell = policy.circuit.cell
    scale = cell.output_scale.detach().clone()
    told = []
    for factor in (0.01, 100.0):
        with torch.no_grad():
            cell.output_scale.copy_(factor * scale)
        certificate = certify(cell)
        told.append(bounds_part(policy, audited, certificate).text)
    with torch.no_grad():
        cell.output_scale.copy_(scale)
    low, high = certificate.output
    is_wide = (low <= -1.0) & (high >= 1.0)
    names = [name for name, wide in zip(audited.action_names, is_wide, strict=True) if wide]
    assert "Vacuous" not in told[0][1] and names
    assert f"**Vacuous** for {', '.join(names)}: an action lies" in told[1][1]
    assert "**Vacuous** for " in told[1][2] and " of 102 pairs of input and output" in told[1][2]
