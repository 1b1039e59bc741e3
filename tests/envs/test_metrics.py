import math

import numpy as np
import pytest

from envs.driving.metrics import summarize
from ncp_control.episode import Episode


def drive(infos):
    """The episode of a car that was told these."""
    zeros = np.zeros(len(infos))
    told = {name: np.array([info[name] for info in infos]) for name in infos[0]}
    return Episode(
        time_s=zeros, dt_s=zeros, actions=zeros[:, None], rewards=zeros, infos=told
    )  # fmt: skip


def make_trace(crashes=0, error_m=0.5, steer_rate_radps=0.2, steps=100, distance_m=250.0):
    return drive(
        [
            {
                "time_s": 0.1 * i,
                "cross_track_m": error_m * (-1) ** i,
                "steer_rad": 0.1 * steer_rate_radps * (i % 2),
                "distance_m": distance_m * (i + 1) / steps,
                "crashed": i < crashes,
            }
            for i in range(steps)
        ]
    )


def test_summary_of_known_drives():
    metrics = summarize([make_trace(crashes=2), make_trace(crashes=1, error_m=0.1)])
    assert metrics.driven_km == pytest.approx(0.5)
    assert metrics.crashes == 3
    assert metrics.crashes_per_km == pytest.approx(6.0)
    assert metrics.mean_cross_track_m == pytest.approx((98 * 0.5 + 99 * 0.1) / 197)
    assert metrics.roughness_radps == pytest.approx(0.2)


def test_putting_the_car_back_is_neither_steering_nor_driving_well():
    steps = [(0.4, 1.0), (0.4, 1.9), (0.0, 0.0), (0.1, 0.1)]
    infos = [
        {
            "time_s": 1.0 * i,
            "cross_track_m": cross_track_m,
            "steer_rad": steer_rad,
            "distance_m": 8.0 * i,
            "crashed": i == 2,
        }
        for i, (steer_rad, cross_track_m) in enumerate(steps)
    ]
    metrics = summarize([drive(infos)])
    assert metrics.crashes == 1
    assert metrics.mean_cross_track_m == pytest.approx((1.0 + 1.9 + 0.1) / 3)
    assert metrics.roughness_radps == pytest.approx((0.0 + 0.1) / 2)


def test_crash_interval_is_the_exact_poisson_one():
    none = summarize([make_trace(distance_m=1000.0)])
    assert none.crashes_per_km_low == 0.0
    assert none.crashes_per_km_high == pytest.approx(-math.log(0.025))
    # Garwood 1936, table of limits: 10 events, 95 %: 4.795 to 18.390.
    ten = summarize([make_trace(crashes=10, distance_m=1000.0)])
    assert ten.crashes_per_km_low == pytest.approx(4.795, abs=1e-3)
    assert ten.crashes_per_km_high == pytest.approx(18.390, abs=1e-3)


def test_cross_track_interval_over_tracks():
    metrics = summarize([make_trace(error_m=e) for e in (0.1, 0.2, 0.3)])
    # t(2) = 4.3027, sd 0.1: half width 4.3027 · 0.1 / √3.
    assert metrics.mean_cross_track_m_halfwidth == pytest.approx(0.24842, abs=1e-4)
    assert math.isnan(summarize([make_trace()]).mean_cross_track_m_halfwidth)


def test_a_drive_that_crashes_in_its_first_step_counts():
    metrics = summarize([make_trace(crashes=1, steps=1, distance_m=0.5), make_trace()])
    assert metrics.crashes == 1 and metrics.driven_km == pytest.approx(0.2505)
    alone = summarize([make_trace(crashes=1, steps=1, distance_m=0.5)])
    assert alone.crashes_per_km == pytest.approx(2000.0) and math.isnan(alone.roughness_radps)


def test_no_driving_is_refused():
    with pytest.raises(ValueError, match="`episodes` must be at least one, got none"):
        summarize([])
