import csv
import json
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from envs.driving import LaneKeepingEnv
from envs.driving.metrics import LaneMetrics, mean_cross_track_m, summarize
from envs.driving.pure_pursuit import keep_lane
from envs.driving.road import HELD_OUT_TRACKS, make_road
from ncp_control import LSTM, LTC, auto_ncp
from ncp_control.cells import MixedMemory
from ncp_control.episode import Episode
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.run import Run
from ncp_control.markdown import markdown_table
from ncp_control.policy import VectorPolicy
from ncp_control.replay import replay, show, with_activity
from policies.driving import make_driving_policy
from scripts.evaluation import episode_figures as figures
from scripts.evaluation.driving import track_place
from scripts.evaluation.film import HEIGHT_PX, WIDTH_PX, DriveLayout, Shot
from scripts.evaluation.report import (
    _surest_choice,
    write_recorded_report,
    write_report,
)
from scripts.evaluation.tables import Measured, of_returns, results_table
from scripts.reporting import Table

METRICS = LaneMetrics(
    driven_km=2.0,
    crashes=3,
    crashes_per_km=1.5,
    crashes_per_km_low=0.31,
    crashes_per_km_high=4.38,
    mean_cross_track_m=0.1234,
    mean_cross_track_m_halfwidth=0.0101,
    roughness_radps=0.056,
)


@dataclass(frozen=True)
class Settings:
    seed: int = 0


@pytest.fixture
def run(tmp_path):
    run = Run.create("drive", "ncp", Settings(), root=tmp_path)
    run.log(1, loss=0.5, score=0.3, cross_track_m=0.3)
    run.log(2, loss=0.1, score=0.2, cross_track_m=0.2)
    return run


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return make_driving_policy("ncp", head="light")


@pytest.fixture(scope="module")
def episode(policy):
    with track_place(HELD_OUT_TRACKS[0], 2.0, 0).open(policy, seconds=2.0) as (_, steps, recorder):
        for step in steps:
            recorder.add(step)
    return with_activity(policy, recorder.episode())


def measured_drive(model, noise, metrics, episodes=()):
    """The row of a drive in a report's table."""
    labels, measures = {"noise variance": noise}, vars(metrics)
    return Measured(model=model, labels=labels, measures=measures, episodes=episodes)


def circle_trace(crashed=()):
    """A trace along the centre line of a held-out track, with crashes at some steps."""
    road, k = make_road(HELD_OUT_TRACKS[0]), np.arange(60)
    told = {
        "track": np.full(60, HELD_OUT_TRACKS[0]),
        "time_s": k / 30,
        "position_m": np.stack(road.point_at(0.3 * k), axis=1),
        "cross_track_m": 0.01 * k,
        "steer_rad": np.zeros(60),
        "distance_m": 0.3 * k,
        "crashed": np.isin(k, list(crashed)),
        "lane_edges_m": np.tile([2.0, -2.0], (60, 1)),
    }
    zeros = np.zeros(60)
    return Episode(time_s=k / 30, dt_s=zeros, actions=zeros[:, None], rewards=zeros, infos=told)


def test_a_mean_error_leaves_out_crashes_as_the_table_does():
    trace = circle_trace(crashed={50, 59})
    assert mean_cross_track_m(trace) == pytest.approx(summarize([trace]).mean_cross_track_m)


def test_driving_report_is_complete(run, policy):
    traces = [circle_trace(crashed={10}), circle_trace()]
    row = measured_drive("ncp", "0", summarize(traces), traces)
    place = track_place(HELD_OUT_TRACKS[0], 2.0, 0)
    page = write_report(run, policy, [row], place, seconds=2.0)
    names = {path.name for path in run.report.iterdir()}
    pictures = {"learning_curves", "steering", "track", "wiring", "activity"}
    assert names == {f"{p}.png" for p in pictures} | {"film.mp4", "table.csv", "report.md"}
    text = page.read_text()
    for name in names - {"report.md", "table.csv"}:
        assert f"({name})" in text
    assert results_table([row]) in text
    assert "the worst drives first (2 of the 2).\n" in text
    assert "Its strip shows every neuron over the last seconds, a row each" in text
    assert "activity at the largest steering (pure pursuit).\n" in text
    config = text.split("```json\n")[1].split("\n```")[0]
    assert json.loads(config) == json.loads((run.folder / "config.json").read_text())
    for name in pictures:
        assert cv2.imread(str(run.report / f"{name}.png")).std() > 1.0, f"{name} is empty"

    film = cv2.VideoCapture(str(run.report / "film.mp4"))
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) == 60
    assert film.get(cv2.CAP_PROP_FPS) == 30.0
    is_read, picture = film.read()
    assert is_read and picture.shape == (HEIGHT_PX, WIDTH_PX, 3)


def test_a_policy_without_wiring_or_learning_gets_the_rest(tmp_path):
    run = Run.create("evaluate", "lstm", Settings(), root=tmp_path)
    run.log(0, noise_variance=0.0)
    policy = make_driving_policy("lstm", head="light")
    rows = [measured_drive("lstm", "0.1", METRICS, [circle_trace()])]
    write_report(run, policy, rows, track_place(HELD_OUT_TRACKS[0], 0.2, 0), seconds=0.2)
    names = {path.name for path in run.report.glob("*.png")}
    assert names == {"steering.png", "track.png", "activity.png"}
    (row,) = csv.DictReader((run.report / "table.csv").read_text().splitlines())
    assert (row["model"], row["noise_variance"], row["mean_cross_track_m"]) == (
        "lstm",
        "0.1",
        "0.1234",
    )


def test_the_wiring_of_choices_is_shown_where_the_policy_is_surest():
    policy = VectorPolicy(LTC(auto_ncp(4, 12, 3), frame_s=0.05), observation_size=4, choices=(2, 1))
    seen = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    shown = show(policy, seen, np.full(9, 0.05))
    outputs = torch.zeros(1, 9, 3)
    outputs[0, 6] = torch.tensor([-3.0, -1.0, 9.0])
    outputs[0, 7] = torch.tensor([8.0, 7.0, 0.0])
    recorded = replace(shown.recorded_activity, outputs=outputs)
    actions = np.zeros((9, 2))
    actions[6, 0] = 1.0
    frame, moment, which = _surest_choice(
        policy, replace(shown, activity=recorded, actions=actions)
    )
    assert (frame, moment) == (6, f"at {shown.time_s[6]:.1f} s: action 0 1")
    assert which == "where the policy is surest of its action 0"


def test_recorded_report(run, policy):
    frames = np.random.default_rng(0).integers(0, 256, (40, 78, 200, 3), dtype=np.uint8)
    store = Demonstrations(
        observations=frames,
        actions=np.linspace(-0.5, 0.5, 40, dtype=np.float32)[:, None],
        dt_s=np.full(40, 0.1, dtype=np.float32),
        episode_starts=np.array([0, 10]),
    )
    errors = Table(header=["RMSE of", "policy"], rows=[["steering", 0.125]])
    page = write_recorded_report(run, policy, store, errors, ["The test part never steers."])
    assert "**Warning:** The test part never steers." in page.read_text()
    assert {"steering.png", "wiring.png", "activity.png"} <= {p.name for p in run.report.iterdir()}
    assert "Shown: 30 frames, 3 s." in page.read_text()
    assert "| steering | 0.125  |" in page.read_text()
    episode = replay(policy, store)
    np.testing.assert_allclose(episode.time_s, 0.1 * np.arange(30), atol=1e-6)
    np.testing.assert_array_equal(episode.expert_actions, store.actions[10:])


def test_episode_recorded_again_is_what_was_driven(episode):
    """The circuit run over the frames at once steers as it did frame by frame."""
    assert len(episode.actions) == len(episode.infos["time_s"]) == 60
    outputs = episode.activity.outputs[0, :, 0].clamp(-1.0, 1.0).numpy()
    np.testing.assert_allclose(outputs, episode.actions[:, 0], atol=1e-5)
    assert episode.activity.states.shape == (1, 60, 19)
    np.testing.assert_allclose(np.diff(episode.time_s), 1 / 30, atol=1e-9)


def test_expert_is_asked_where_the_policy_decides(episode):
    env = LaneKeepingEnv()
    _, info = env.reset(options={"track": HELD_OUT_TRACKS[0], "start_m": 0.0})
    expected = keep_lane(env, None, info)
    np.testing.assert_allclose(episode.expert_actions[0], expected)


def test_track_marks_crashes_where_they_are():
    trace = circle_trace(crashed={10, 40})
    axes = figures.tracks([trace]).axes[0]
    (marks,) = (line for line in axes.lines if line.get_label() == "crash")
    np.testing.assert_allclose(marks.get_xydata(), trace.infos["position_m"][[10, 40]])
    (driven,) = axes.collections
    errors_m = np.delete(trace.infos["cross_track_m"], [0, 10, 40])
    np.testing.assert_allclose(driven.get_array(), errors_m)
    assert "2 crashes" in axes.get_title()


def test_worst_tracks_are_drawn_first():
    traces = [circle_trace(), circle_trace(crashed={5}), circle_trace(crashed={5, 9})]
    axes = figures.tracks(traces).axes
    crashes = [a.get_title().splitlines()[0].split(", ")[1] for a in axes[:3]]
    assert crashes == ["2 crashes,", "1 crash,", "0 crashes,"]


def test_steering_shows_policy_and_expert(episode):
    axes = figures.steering(episode).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    for label, actions in (("policy", episode.actions), ("pure pursuit", episode.expert_actions)):
        held = [*actions[:, 0], actions[-1, 0]]
        np.testing.assert_array_equal(lines[label], held, err_msg="the last one holds, too")
    assert axes.get_ylabel() == "steering, scaled", "1 is full lock for some policies alone"


def test_activity_names_the_layers_of_many_neurons_and_holds_actions():
    policy = VectorPolicy(LSTM(3, 24, 2, frame_s=0.05), observation_size=3)
    seen = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    watched = show(policy, seen, np.full(9, 0.05), action_names=["push"])
    above, below, *_ = figures.activity(watched).axes
    assert above.lines[0].get_drawstyle() == "steps-post"
    assert [label.get_text() for label in below.get_yticklabels()] == ["hidden", "memory"]
    assert list(below.get_yticks()) == [11.5, 35.5]


def test_neurons_without_a_time_constant_stay_white():
    cell = MixedMemory(LTC(auto_ncp(3, 12, 2), frame_s=0.05))
    policy = VectorPolicy(cell, observation_size=3)
    seen = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    watched = show(policy, seen, np.full(9, 0.05), action_names=["push", "pull"])
    maps = [axes.images[0] for axes in figures.activity(watched).axes if axes.images]
    taus_s = watched.recorded_activity.timescales_s[0].numpy().T
    assert np.isnan(taus_s).any()
    assert maps[1].norm.vmin == pytest.approx(1e3 * np.nanmin(taus_s))
    assert (np.ma.getmaskarray(maps[1].get_array()) == np.isnan(taus_s)).all()


def test_a_colour_bar_has_pointed_ends_where_values_lie_beyond_it():
    policy = VectorPolicy(LSTM(1, 1, 1, frame_s=0.05), observation_size=1)
    episode = show(policy, np.ones((999, 1), np.float32), np.full(999, 0.05), action_names=["push"])
    states = torch.zeros(1, 999, 2)
    states[0, ::2] = 1.0
    for largest, ends in ((1.0, "neither"), (9.0, "both")):
        states[0, 0] = largest
        watched = replace(episode, activity=replace(episode.recorded_activity, states=states))
        (drawn,) = [axes.images[0] for axes in figures.activity(watched).axes if axes.images]
        assert drawn.colorbar.extend == ends


def test_learning_curves_mark_the_checkpoint_kept(run):
    figure = figures.learning_curves(run.folder / "metrics.csv")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["loss", "score", "cross track [m]"]
    kept = [line for line in figure.axes[2].lines if to_hex(line.get_color()) == "#d55e00"]
    assert kept[0].get_xydata().tolist() == [[2.0, 0.2]]


def test_film_says_when_the_car_was_put_back():
    picture, frame = np.full((360, 640, 3), 90, np.uint8), np.full((78, 200, 3), 30, np.uint8)
    numbers = {"steering": 0.5, "expert_steering": 0.4, "speed_mps": 8.0, "cross_track_m": 0.0}
    numbers["neurons"] = np.full((114, 240, 3), (1, 2, 3), np.uint8)
    fine = Shot(picture=picture, frame=frame, crashed=False, **numbers)
    film = DriveLayout()
    before = film.compose(fine)
    crash = film.compose(Shot(picture=picture, frame=frame, crashed=True, **numbers))
    after = [film.compose(fine) for _ in range(30)]
    assert (before[:200, :640] == 90).all()
    assert (before == (1, 2, 3)).all(axis=-1).sum() == 114 * 240
    assert (crash[:200, :640] != 90).any() and (after[-2][:200, :640] != 90).any()
    np.testing.assert_array_equal(after[-1], before)
    blue = (before == (86, 180, 233)).all(axis=-1)
    assert blue[-40:, :980].any() and not blue[-40:, 981:].any(), "left on the road is left"


def test_metrics_table_has_the_numbers():
    one_track = LaneMetrics(
        **{**vars(METRICS), "mean_cross_track_m_halfwidth": float("nan"), "crashes": 0}
    )
    rows = [measured_drive("ncp", "0", METRICS), measured_drive("lstm", "0.3", one_track)]
    table = results_table(rows)
    header, _, first, second = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    )
    assert header[0] == "model" and header[-1] == "roughness [rad/s]"
    assert first == ["ncp", "0", "2.00", "3", "1.50 [0.31, 4.38]", "0.123 ± 0.010", "0.056"]
    assert second[1] == "0.3" and second[5] == "0.123"


def test_measures_of_a_users_world_may_have_names_of_ours():
    measures = {"crashes": 3.0, "crashes_per_km": 0.1, "mean_cross_track_m": 0.25}
    header, _, row = results_table([Measured(model="m", labels={}, measures=measures)]).splitlines()
    returns = {"deviation": 3.0, "lowest_return": 0.1}
    assert "| 0.1" in results_table([Measured(model="m", labels={}, measures=returns)])
    assert "crashes [1/km]" in header and "mean cross track [m]" in header
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["m", "3", "0.1", "0.25"]


@pytest.mark.parametrize(
    ("returns", "told"),
    [
        ([5000.0, 5100.0, 4900.0], ["5000 ± 248", "100", "4900"]),
        ([-4.1, -4.6, -3.9, -4.4], ["-4.2 ± 0.5", "0.3", "-4.6"]),
        ([0.0, 1.0, 0.0, 0.0], ["0.2 ± 0.8", "0.5", "0.0"]),
        ([-0.6, -1.2], ["-0.9 ± 3.8", "0.4", "-1.2"]),
        ([0.04], ["0.0400", "–", "0.0400"]),
        ([0.0, 0.0], ["0 ± 0", "0", "0"]),
        ([0.1, 0.1, 0.1], ["0.100 ± 0.000", "0.000", "0.100"]),
    ],
)
def test_returns_have_as_many_digits_as_their_spread(returns, told):
    measures = of_returns(np.array(returns))
    row = Measured(model="m", labels={}, measures=measures, returns=np.array(returns))
    *_, line = results_table([row]).splitlines()
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["m", *told]


def test_markdown_table_lines_up():
    table = markdown_table(["a", "long name"], [["1", "2"], ["three", "4"]])
    assert len({len(line) for line in table.splitlines()}) == 1
    assert table.splitlines()[1] == "| ----- | --------- |"
