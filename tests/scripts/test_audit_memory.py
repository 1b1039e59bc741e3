"""The part of an audit about memory: its words, its numbers in a world, and its rows in tables."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from envs.driving.road import HELD_OUT_TRACKS
from ncp_control import LTC, auto_ncp
from ncp_control.audit.memory import Reach, WipeEffect, describe_reach
from ncp_control.cells import Feedforward
from ncp_control.episode import Episode
from ncp_control.policy import VectorPolicy
from scripts.auditing import models, remembering
from scripts.auditing.parts import timescales_part
from scripts.auditing.recording import act
from scripts.auditing.remembering import WipingCost, draw_reach, memory_part, verdict, wipe_place
from scripts.evaluation.driving import track_place
from scripts.evaluation.worlds import WorldSettings

PLACE = WorldSettings(env="halfcheetah", seed=0, episodes=1).place


@pytest.fixture(scope="module")
def walking():
    torch.manual_seed(0)
    policy = VectorPolicy(LTC(auto_ncp(17, 16, 6), frame_s=0.05), observation_size=17)
    return policy, act(policy, "walker", PLACE, seconds=1.0)


def effect(share, correlation=0.5):
    return WipeEffect(every=1, correlation=correlation, rms=0.3 * share, share=share)


def cost(whole, wiped):
    """Episodes that earn so much with the state whole, and wiped before every frame."""

    def episode(reward):
        one = np.ones((1, 1))
        return Episode(time_s=one[0], dt_s=one[0], actions=one, rewards=np.array([reward]))

    by_every = {0: [episode(x) for x in whole], 1: [episode(x) for x in wiped]}
    return WipingCost(by_every=by_every, world=PLACE.world)


@pytest.mark.parametrize(
    ("share", "found", "begins"),
    [
        (0.06, None, "**Memory is not used here**: wiping the state before every frame changes"),
        (0.0, None, "**Memory is not used here**: wiping the state before every frame changes no"),
        (0.3, None, "**Memory shapes the actions**"),
        (0.06, cost([100.0] * 2, [99.0] * 2), "**Memory is not used here**"),
        (0.06, cost([100.0] * 2, [80.0] * 2), "**Memory is used**"),
        (0.3, cost([100.0] * 2, [99.0] * 2), "**Memory shapes the actions, but the world hardly"),
        (0.3, cost([-100.0] * 2, [-300.0] * 2), "**Memory is used**"),
        (0.3, cost([0.0] * 2, [0.0] * 2), "**Memory shapes the actions, but the world hardly"),
        (0.3, cost([100.0, 100.0], [90.0, 102.0]), "**Memory shapes the actions; what it is worth"),
        (0.06, cost([100.0, 100.0], [90.0, 102.0]), "**Memory may not be used here; what it"),
        (0.06, cost([100.0, 100.0], [80.0, 81.0]), "**Memory is used**"),
        (0.06, cost([100.0, 100.0], [99.0, 99.1]), "**Memory is not used here**"),
        (math.inf, cost([0.0] * 2, [-4.0] * 2), "**Memory is used**"),
    ],
)
def test_plain_words_follow_from_both_tests(share, found, begins):
    assert verdict(effect(share), found).startswith(begins)


def test_a_change_of_the_return_is_that_of_pairs():
    whole, change, half = cost([100.0, 300.0], [90.0, 280.0]).change(1)
    assert (whole, change) == (200.0, -15.0)
    assert half == pytest.approx(12.706 * math.sqrt(50.0) / math.sqrt(2.0), rel=1e-3)
    told = verdict(effect(1.0), cost([200.0], [185.0]))
    assert "the return in the world by -7.5%" in told and "not certain** after 1 episode:" in told
    assert "hardly notices" in verdict(effect(1.0), cost([200.0], [200.0]))


def test_memory_is_wiped_in_the_world_and_along_the_episode(walking):
    policy, audited = walking
    place = wipe_place(PLACE, 2, 0.5)
    assert (place.num_steps, list(place.seeds)) == (10, [0, 1])
    part = memory_part(policy, audited, place)
    table = part.tables["memory"]
    assert table.header[-3:] == list(place.world.measure_names)
    assert [row[0] for row in table.rows] == [
        "never", "before every frame", "before every 4th frame", "before every 16th frame"
    ]  # fmt: skip
    returns = [row[4] for row in table.rows]
    intact = [episode.total_reward for episode in place.run(policy)]
    assert returns[0] == pytest.approx(np.mean(intact))
    assert returns[1] != returns[0]
    # Ten frames are wiped at the first alone, where the state is clear anyway.
    assert returns[3] == returns[0]
    assert "In the world, 2 episodes of at most 0.5 s, begun alike" in part.text[1]
    assert len(part.tables["reach"].rows) == 11
    (figure,) = part.figures.values()
    figure.draw_without_rendering()
    assert [row.quantity for row in models.memory_rows(policy, audited)] == [
        "wiped_r", "wiped_share", "reach_half_life_ms", "median_tau_frames"
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 2])
def test_intervals_are_explained_where_there_are_some(walking, count):
    told = memory_part(*walking, wipe_place(PLACE, count, 0.5)).text[1]
    assert ("±" in told, "95 % intervals" in told) == (count > 1, count > 1)


def test_nobody_acts_wiped_where_wiping_changes_nothing(monkeypatch):
    monkeypatch.setattr(remembering, "act_wiped", None)
    torch.manual_seed(0)
    policy = VectorPolicy(Feedforward(17, 8, 6, frame_s=0.05), observation_size=17)
    audited = act(policy, "reflex", PLACE, seconds=0.5)
    part = memory_part(policy, audited, PLACE)
    assert "changes no action at all" in part.text[0]
    assert len(part.tables["memory"].header) == 4


def test_a_drive_is_repeated_on_the_tracks_that_follow():
    first = HELD_OUT_TRACKS[0]
    place = wipe_place(track_place(first, 40.0, 3), 2, 40.0)
    assert place.options == [{"track": first + i, "start_m": 0.0} for i in range(2)]
    assert list(place.seeds) == [300_000 + first + i for i in range(2)]
    assert place.num_steps == 1200


def test_a_policy_that_nothing_moves_has_no_reach():
    reach = Reach(norm=np.zeros(3), frame_s=0.1)
    draw_reach("$dead$", reach).draw_without_rendering()
    (axes,) = draw_reach("slow", Reach(norm=np.arange(3.0), frame_s=7200.0)).axes
    assert axes.get_xlabel() == "time ago [h]"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0.0, 2.0, 4.0])
    assert "nothing that is seen moves the actions" in describe_reach(reach)
    slow = Reach(norm=np.array([1.0, 0.9, 0.8]), frame_s=0.1)
    assert "to half later than 2 frames (200 ms)" in describe_reach(slow)


def test_time_constants_are_told_in_frames(walking):
    _, audited = walking
    part = timescales_part(audited, None)
    column = part.tables["timescales"].header.index("mean τ / frame")
    taus_s = audited.activity.timescales_s[0].double().numpy().mean(axis=0)
    rows = part.tables["timescales"].rows
    np.testing.assert_allclose([row[column] for row in rows], taus_s / 0.05, rtol=1e-5)
    quick = int((taus_s < 0.05).sum())
    assert any(f"50 ms: {quick} of 16 neurons have a shorter mean τ" in line for line in part.text)
    still = dataclasses.replace(audited.activity, dt_s=torch.zeros_like(audited.activity.dt_s))
    table = timescales_part(dataclasses.replace(audited, activity=still), None)
    assert math.isnan(table.tables["timescales"].rows[0][column])
