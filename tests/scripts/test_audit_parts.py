"""The parts of an audit: whole tables, names of sensors, and episodes that are short or still."""

import csv
import dataclasses
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from envs.driving.road import HELD_OUT_TRACKS
from ncp_control import LRC, LSTM, LTC, Wiring, auto_ncp
from ncp_control.audit.bounds import certify
from ncp_control.audit.inspection import inspected
from ncp_control.audit.inspector import write_inspector
from ncp_control.audit.timescales import correlate
from ncp_control.episode import Episode
from ncp_control.policy import VectorPolicy
from ncp_control.replay import look_inside, show
from policies.driving import make_driving_policy
from scripts import reporting
from scripts.auditing import models
from scripts.auditing.audit_figures import draw_signal, largest_steps, motor_shares
from scripts.auditing.audit_job import _of_durations, open_report
from scripts.auditing.certifying import bounds_part, certified_bounds
from scripts.auditing.maps import compute_saliency
from scripts.auditing.overview import overview
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
from scripts.auditing.recording import act
from scripts.auditing.seeing import overview_part, robustness_part, stability_part
from scripts.evaluation.driving import track_place
from scripts.evaluation.episode_figures import activity
from scripts.evaluation.worlds import WorldSettings
from scripts.reporting import Part, Report, Table


@pytest.fixture(scope="module")
def driving():
    torch.manual_seed(0)
    policy = make_driving_policy("ncp", head="light")
    place = track_place(HELD_OUT_TRACKS[0], 0.5, 0)
    return policy, act(policy, "untrained", place, seconds=0.5)


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


@pytest.fixture(scope="module")
def walking(tmp_path_factory):
    torch.manual_seed(0)
    policy = VectorPolicy(LTC(auto_ncp(17, 16, 6), frame_s=0.05), observation_size=17)
    where = WorldSettings(env="halfcheetah", seed=0)
    return policy, act(policy, "walker", where.place, seconds=0.5)


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
    table = sensors_part(audited, audited.sensor_names).tables["sensors"]
    heights = audited.observations[:, 0].astype(float)
    assert table.rows[0][:2] == ("sensory_0", "height [m]")
    outputs = sensors_part(audited, audited.sensor_names).tables["actions"].rows
    assert outputs[0][:2] == ("motor_0", "bthigh torque")
    chosen = dataclasses.replace(audited, action_names=["gait"], actions=audited.actions[:, :1])
    outputs = sensors_part(chosen, audited.sensor_names).tables["actions"].rows
    assert outputs[0][:2] == ("choice_0", "gait")
    mixed = dataclasses.replace(audited, sensor_names=None)  # by an encoder
    table_of_mixed = sensors_part(mixed, audited.sensor_names).tables["sensors"]
    assert table_of_mixed.rows[0][:2] == ("sensor_0", "height [m]")
    np.testing.assert_allclose(
        table.rows[0][2:], [heights.mean(), heights.min(), heights.max()], rtol=1e-6
    )


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


def test_only_cells_with_synapses_have_them_cut(walking):
    policy = VectorPolicy(LSTM(17, 8, 6, frame_s=0.05), observation_size=17)
    audited = show(policy, walking[1].observations, np.full(10, 0.05), action_names=["a"] * 6)
    for made, is_cut in ((ablation_part(policy, audited), False), (ablation_part(*walking), True)):
        label = made.figures["ablation"].axes[0].get_xlabel()
        assert ("synapse cut" in made.text[0], "synapse cut" in label) == (is_cut, is_cut)


def test_a_comparison_tells_lengths_that_differ_and_has_no_empty_column(walking):
    policy, audited = walking
    assert _of_durations([audited, audited]) == []
    brief = dataclasses.replace(audited, name="brief", infos={"time_s": np.array([0.2])})
    assert "in length: walker 0.5 s, brief 0.2 s." in _of_durations([audited, brief])[0]
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


def test_what_an_output_reads_directly_is_told_with_its_motor_neuron():
    policy = make_driving_policy("ncp", head="light", reads="all")
    audited = act(policy, "untrained", track_place(HELD_OUT_TRACKS[0], 0.1, 0), seconds=0.1)
    part = synapses_part(policy, audited)
    terms = [row[0] for row in part.tables["motor_contributions"].rows]
    assert all(term.endswith(" → motor_0") for term in terms)
    assert sum("(read)" in term for term in terms) == 18
    (panel,) = [axes for axes in part.figures["motor_contributions"].axes if axes.lines]
    assert panel.get_title(loc="left") == "parts of the command of motor_0: steering"


def shortened(audited, frames):
    """The first frames of an episode."""
    activity = audited.activity
    parts = ("states", "outputs", "timescales_s", "synaptic_currents", "dt_s")
    cut = {name: getattr(activity, name)[:, :frames] for name in parts}
    return dataclasses.replace(
        audited,
        time_s=audited.time_s[:frames],
        observations=audited.observations[:frames],
        features=audited.features[:frames],
        actions=audited.actions[:frames],
        activity=dataclasses.replace(activity, **cut),
        signals={name: values[:frames] for name, values in audited.signals.items()},
        pictures=audited.pictures[:frames],
        infos={},
    )


@pytest.mark.parametrize("frames", [1, 4])
def test_every_frame_has_a_cell_as_long_as_itself_in_a_map(driving, frames):
    policy, whole = driving
    audited = shortened(whole, frames)
    maps = compute_saliency(policy, audited, [])
    end_s = pytest.approx(frames / 30, abs=1e-5)
    for figure in (activity(audited), overview(audited, maps, certify(policy.circuit.cell))):
        (drawn, *_) = [x for x in figure.axes if x.images and x.get_ylabel() == ""
                       and x.images[0].get_array().shape[1:] == (frames,)]  # fmt: skip
        assert drawn.images[0].get_extent()[:2] == [0.0, end_s]
        shared = [x for x in figure.axes if drawn.get_shared_x_axes().joined(drawn, x)]
        assert len(shared) > 1 and all(x.get_xlim() == (0.0, end_s) for x in shared)


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


def test_an_action_holds_to_the_end_of_its_frame(walking):
    _, whole = walking
    name = whole.action_names[0]
    audited = dataclasses.replace(whole, signals={name: whole.actions[:, 0]})
    axes = Figure().subplots()
    draw_signal(axes, audited)
    (filled,) = axes.collections
    assert filled.get_paths()[0].get_extents().x1 == pytest.approx(0.5)


def test_a_single_frame_is_drawn_as_dots(driving):
    policy, whole = driving
    audited = shortened(whole, 1)
    certificate = certify(policy.circuit.cell)
    drawn = timescales_part(audited, certificate).figures | synapses_part(policy, audited).figures
    for figure in drawn.values():
        for axes in [x for x in figure.axes if x.get_title(loc="left")]:
            lines = [line for line in axes.lines if len(line.get_xdata()) == 1]
            assert lines and all(line.get_marker() != "None" for line in lines)


def test_the_text_says_which_neurons_are_drawn(walking):
    _, audited = walking
    text = " ".join(timescales_part(audited, None).text)
    assert "The figure shows 10 of the 16 neurons, of the command" in text


def test_every_policy_has_a_line_of_its_own_style():
    (axes,) = largest_steps({f"policy_{i}": np.ones(3) for i in range(9)}).axes
    styles = [(x.get_color(), x.get_marker(), x.get_linestyle()) for x in axes.lines]
    assert len(set(styles)) == 9


def test_a_motor_neuron_has_the_name_of_an_action_where_there_are_as_many(walking):
    _, audited = walking
    names = [f"command_0 → motor_{i}" for i in range(6)]
    for actions, title in ((audited.action_names, ": bthigh torque"), (["action"], "")):
        figure = motor_shares(
            dataclasses.replace(audited, action_names=actions), names, np.ones((10, 6))
        )
        assert figure.axes[0].get_title(loc="left").endswith(f"motor_0{title}")


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


def test_a_correlation_of_too_few_frames_is_a_dash(driving):
    policy, whole = driving
    audited = shortened(whole, 4)
    states = audited.activity.states[0, :, 0].numpy()
    one = correlate(states, audited.signals["curvature [1/m]"])
    assert (one.low, one.high, one.is_known) == (-1.0, 1.0, False)
    part = activity_part(policy, audited)
    assert {row[1] for row in part.tables["activity_correlations"].rows} == {"–"}
    assert "too few frames" in part.text[-1]
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


def test_a_circuit_of_one_neuron_is_audited():
    wiring = Wiring(num_sensory=17, num_inter=0, num_command=0, num_motor=1,
                    synapses=[(i, 17, 1) for i in range(17)])  # fmt: skip
    policy = VectorPolicy(LTC(wiring, frame_s=0.05), observation_size=17)
    observations = np.random.default_rng(0).normal(size=(9, 17)).astype(np.float32)
    features, activity = look_inside(policy, observations, np.full(9, 0.05, np.float32))
    actions = activity.outputs[0].numpy()
    zeros = np.zeros(9)
    audited = Episode(
        name="one", where="here", time_s=0.05 * np.arange(9), observations=observations,
        dt_s=zeros, rewards=zeros,
        features=features, actions=actions, action_names=["torque"], activity=activity,
        signals={"torque": actions[:, 0]},
    )  # fmt: skip
    certificate = certify(policy.circuit.cell)
    for make in (
        lambda: timescales_part(audited, certificate),
        lambda: activity_part(policy, audited),
        lambda: synapses_part(policy, audited),
        lambda: ablation_part(policy, audited),
        lambda: bounds_part(policy, audited, certificate),
        lambda: steps_part([(policy, audited)]),
    ):
        for figure in make().figures.values():
            figure.draw_without_rendering()
    assert inspected(policy, audited, certificate=certificate).wiring == wiring


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


def test_the_human_is_drawn_over_the_policy(driving):
    _, whole = driving
    audited = dataclasses.replace(
        whole,
        signals={"steering": whole.actions[:, 0], "human steering": -whole.actions[:, 0]},
        overlays={"human steering": "steering"},
    )
    assert audited.main_signal == "steering"
    figure = Figure()
    axes = figure.subplots()
    draw_signal(axes, audited)
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), -whole.actions[:, 0])
    assert axes.get_title(loc="left") == "steering (green), human steering (line)"
