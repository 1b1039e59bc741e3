"""The figures of an audit: what they draw, and whose name stands where."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from envs.driving.road import HELD_OUT_TRACKS
from ncp_control import LSTM, LTC, Wiring
from ncp_control.audit.bounds import certify
from ncp_control.audit.inspection import inspected
from ncp_control.episode import Episode
from ncp_control.policy import VectorPolicy
from ncp_control.replay import look_inside, show
from policies.driving import make_driving_policy
from scripts.auditing.audit_figures import draw_signal, largest_steps, motor_shares
from scripts.auditing.certifying import bounds_part
from scripts.auditing.maps import compute_saliency
from scripts.auditing.overview import overview
from scripts.auditing.parts import (
    ablation_part,
    activity_part,
    steps_part,
    synapses_part,
    timescales_part,
)
from scripts.auditing.recording import act
from scripts.evaluation.driving import track_place
from scripts.evaluation.episode_figures import activity
from tests.scripts.audited_episodes import drive_untrained, shortened, walk_untrained


@pytest.fixture(scope="module")
def driving():
    return drive_untrained()


@pytest.fixture(scope="module")
def walking():
    return walk_untrained()


def test_only_cells_with_synapses_have_them_cut(walking):
    policy = VectorPolicy(LSTM(17, 8, 6, frame_s=0.05), observation_size=17)
    audited = show(policy, walking[1].observations, np.full(10, 0.05), action_names=["a"] * 6)
    for made, is_cut in ((ablation_part(policy, audited), False), (ablation_part(*walking), True)):
        label = made.figures["ablation"].axes[0].get_xlabel()
        assert ("synapse cut" in made.text[0], "synapse cut" in label) == (is_cut, is_cut)


def test_what_an_output_reads_directly_is_told_with_its_motor_neuron():
    policy = make_driving_policy("ncp", head="light", reads="all")
    audited = act(policy, "untrained", track_place(HELD_OUT_TRACKS[0], 0.1, 0), seconds=0.1)
    part = synapses_part(policy, audited)
    terms = [row[0] for row in part.tables["motor_contributions"].rows]
    assert all(term.endswith(" → motor_0") for term in terms)
    assert sum("(read)" in term for term in terms) == 18
    (panel,) = [axes for axes in part.figures["motor_contributions"].axes if axes.lines]
    assert panel.get_title(loc="left") == "parts of the command of motor_0: steering"


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
