"""Errors of a policy on a recording, against closed forms."""

import dataclasses

import numpy as np
import pytest

from ncp_control.cells import LTC
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.policy import VectorPolicy
from ncp_control.wiring_rules import fully_connected
from scripts.evaluate import evaluate_policy
from scripts.evaluation.recorded import earlier_actions, errors_table, measure
from scripts.evaluation.settings import Evaluate


def test_errors_of_a_ramp_are_known_in_the_unit_of_each_action():
    """Two episodes of a ramp: persistence lags by its step, where there is a frame before."""
    ramp = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7])
    actions = np.column_stack([ramp, np.full(10, 0.25)]).astype(np.float32)
    store = Demonstrations(
        observations=np.zeros((10, 1), np.float32),
        actions=actions,
        dt_s=np.full(10, 0.1, np.float32),
        episode_starts=np.array([0, 5]),
    )
    action = [
        ActionContract(name="steering", unit="deg", scale=(10.0, -40.0)),  # neutral: 0.25
        ActionContract(name="throttle"),
    ]
    policy = VectorPolicy(LTC(fully_connected(1, 4, 2), frame_s=0.1), observation_size=1)
    table = errors_table("mine", policy, actions + np.array([-0.2, 0.1]), store, action)
    drivers = ["mine", "mean of the recording", "always neutral", "persistence"]
    assert table.header == ["RMSE of", *drivers]
    (steering, *degrees), (throttle, *shares) = table.rows
    assert (steering, throttle) == ("steering [deg]", "throttle")
    assert degrees == pytest.approx(
        [
            40 * 0.2,
            40 * ramp.std(),
            40 * np.sqrt(np.mean((ramp - 0.25) ** 2)),
            40 * 0.1,
        ],
        rel=1e-6,
    )
    assert shares == pytest.approx([0.1, 0.0, 0.25, 0.0], rel=1e-6)
    marked = dataclasses.replace(store, is_labelled=np.arange(10) < 5)
    acted = actions + np.array([-0.2, 0.1])
    (_, *degrees), (_, *shares) = errors_table("mine", policy, acted, marked, action).rows
    assert degrees[-1] == pytest.approx(40 * 0.1, rel=1e-6)
    assert shares == pytest.approx([0.1, 0.0, 0.25, 0.0], rel=1e-6)


def test_a_command_is_measured_as_it_is_given():
    """An output beyond the range is a command at its end."""
    policy = VectorPolicy(LTC(fully_connected(1, 4, 1), frame_s=0.1), observation_size=1)
    store = Demonstrations(
        observations=np.zeros((2, 1), np.float32),
        actions=np.float32([[1.0], [1.0]]),
        dt_s=np.full(2, 0.1, np.float32),
        episode_starts=np.array([0]),
    )
    action = [ActionContract(name="throttle")]
    ((_, own, *_),) = errors_table("mine", policy, np.array([[2.0], [1.0]]), store, action).rows
    assert own == 0.0


def test_persistence_of_a_forecast_does_not_know_the_future():
    """Each action is the value three rows later, so that of the row itself is three frames old."""
    values = np.arange(8, dtype=np.float32) / 10.0
    store = Demonstrations(
        observations=np.zeros((8, 1), np.float32),
        actions=values[:, None],
        dt_s=np.full(8, 0.1, np.float32),
        episode_starts=np.array([0]),
        meta={"source": {"rows_ahead": 3}},
    )
    known = earlier_actions(store)
    np.testing.assert_allclose(known[:, 0], [np.nan, np.nan, np.nan, *values[:5]])


def test_persistence_is_left_out_where_no_frame_follows_another():
    actions = np.float32([[0.5], [1.0]])
    store = Demonstrations(
        observations=np.zeros((2, 1), np.float32),
        actions=actions,
        dt_s=np.full(2, 0.1, np.float32),
        episode_starts=np.array([0, 1]),
    )
    policy = VectorPolicy(LTC(fully_connected(1, 4, 1), frame_s=0.1), observation_size=1)
    table = errors_table("mine", policy, actions, store, [ActionContract(name="throttle")])
    assert table.header == ["RMSE of", "mine", "mean of the recording", "always neutral"]


def test_choices_are_right_or_wrong():
    chosen = np.array([0, 2, 2, 1, 2, 2, 2, 0], np.float32)
    store = Demonstrations(
        observations=np.zeros((8, 1), np.float32),
        actions=chosen[:, None],
        dt_s=np.full(8, 0.1, np.float32),
        episode_starts=np.array([0, 4]),
    )
    cell = LTC(fully_connected(1, 6, 3), frame_s=0.1)
    policy = VectorPolicy(cell, observation_size=1, choices=(3,))
    scores = np.eye(3)[chosen.astype(int)]
    scores[3] = 5.0, 0.0, 0.0  # wrong in one frame
    action = [ActionContract(name="gear", choices=("low", "middle", "high"))]
    assert measure(policy, scores, store) == {"wrong_share": 0.125, "usual_wrong_share": 0.375}
    table = errors_table("mine", policy, scores, store, action)
    assert table.header == [
        *("share of wrong choices of", "mine", "most frequent choice", "persistence"),
    ]
    wrong = 1 / 8, 3 / 8, 3 / 6
    assert table.rows == [["gear", *wrong]]


@pytest.fixture
def heater(tmp_path):
    """Save a policy that outputs 0, which stands for 20 degrees, and demonstrations of a person."""
    policy = VectorPolicy(LTC(fully_connected(1, 4, 1), frame_s=0.1), observation_size=1)
    policy.contract = Contract(
        observation=VectorContract(entries=(Entry(name="room"),)),
        action=(ActionContract(name="heater", unit="degC", scale=(20.0, 5.0)),),
        frame_s=0.1,
    )
    for parameter in policy.circuit.parameters():
        parameter.data.zero_()
    policy.save(tmp_path / "policy")
    with DemonstrationWriter(tmp_path / "shown", (1,), np.float32, 1) as writer:
        wanted = np.float32([[1.0], [-1.0], [1.0], [-1.0]])
        writer.append_episode(np.zeros((4, 1), np.float32), wanted, np.full(4, 0.1, np.float32))


@pytest.mark.usefixtures("heater")
def test_demonstrations_are_a_recording(type_command, tmp_path, capsys):
    assert type_command(evaluate_policy, Evaluate, "policy", "--log", "shown") == 0
    (row,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("| heater [degC]")]
    assert [float(cell) for cell in row.split("|")[2:-1]] == pytest.approx(
        [5.0, 5.0, 5 * np.sqrt(2.0), 10.0], rel=1e-3
    )


@pytest.mark.usefixtures("heater")
def test_options_of_a_recording_have_no_effect_on_demonstrations(refuse):
    words = ["policy", "--log", "shown", "--log-share", "0.2"]
    told = "`log_share` must be left out for a folder of demonstrations, got 0.2"
    refuse(evaluate_policy, Evaluate, words, told)
