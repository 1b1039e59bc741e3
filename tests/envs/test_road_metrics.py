"""Measures of a road drive, on drives whose measures are known."""

import numpy as np
import pytest
from scipy import stats

from envs.driving.road_metrics import summarize_road
from ncp_control.episode import Episode


def drive(**told) -> Episode:
    steps = len(told["speed_mps"])
    columns = {
        "time_s": 0.1 * np.arange(steps),
        "distance_m": np.linspace(0.0, 500.0, steps),
        "collided": np.zeros(steps, bool),
        "departed": np.zeros(steps, bool),
        "stood_idle": np.zeros(steps, bool),
        "acceleration_mps2": np.zeros(steps),
        "lateral_mps2": np.zeros(steps),
    } | told
    columns["crashed"] = columns["collided"] | columns["departed"]
    zeros = np.zeros(steps)
    return Episode(time_s=zeros, dt_s=zeros, actions=zeros[:, None], rewards=zeros, infos=columns)


def test_summary_of_known_drives():
    collided, departed, idle = np.zeros((3, 101), bool)
    collided[40], departed[[40, 70]], idle[:10] = True, True, True
    episodes = [
        drive(speed_mps=np.full(101, 4.0), collided=collided, departed=departed, stood_idle=idle),
        drive(speed_mps=np.full(99, 6.0), lateral_mps2=np.linspace(-2.0, 2.0, 99)),
    ]
    found = summarize_road(episodes)
    assert found.driven_km == pytest.approx(1.0)
    assert (found.collisions, found.lane_departures) == (1, 2)
    assert found.interventions_per_km == pytest.approx(2.0)  # one step has both
    # The exact interval: with its ends as means, 2 or more and 2 or fewer are rare.
    assert stats.poisson.sf(1, found.interventions_per_km_low) == pytest.approx(0.025)
    assert stats.poisson.cdf(2, found.interventions_per_km_high) == pytest.approx(0.025)
    assert found.idle_share == pytest.approx(10 / 200)
    assert found.mean_speed_mps == pytest.approx((101 * 4 + 99 * 6) / 200)
    lateral = np.concatenate([np.zeros(101), np.abs(np.linspace(-2.0, 2.0, 99))])
    assert found.lateral_p95_mps2 == pytest.approx(np.percentile(lateral, 95))


def test_jerk_is_the_rate_of_acceleration_but_where_the_car_is_put_back():
    acceleration = np.where(np.arange(100) % 2, 0.1, 0.0)
    acceleration[50] = 90.0  # a crash
    collided = np.arange(100) == 50
    found = summarize_road(
        [drive(speed_mps=np.ones(100), acceleration_mps2=acceleration, collided=collided)]
    )
    assert found.mean_jerk_mps3 == pytest.approx(1.0)


def test_no_episode_has_no_summary():
    with pytest.raises(ValueError, match="`episodes` must be at least one"):
        summarize_road([])
