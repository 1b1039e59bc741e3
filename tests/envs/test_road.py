"""Roads: closed, smooth, clear of themselves, and measured by arc length."""

import numpy as np
import pytest

from envs.driving import HELD_OUT_TRACKS, TRAIN_TRACKS, VALIDATION_TRACKS, Road, make_road
from envs.driving.track_shapes import EXTENT_LIMIT_M, LENGTH_RANGE_M

SEEDS = (0, 1, 2, 10_500, 20_001, 20_002)


def circle(radius_m: float, num_points: int = 64) -> Road:
    # A uniform cubic B-spline runs inside its control circle by (2 + cos φ) / 3.
    angle = np.arange(num_points) * 2 * np.pi / num_points
    control_radius_m = radius_m * 3.0 / (2.0 + np.cos(angle[1]))
    return Road(control_radius_m * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def test_circle_has_its_length_and_curvature():
    road = circle(20.0)
    assert road.length_m == pytest.approx(2 * np.pi * 20.0, rel=1e-5)
    np.testing.assert_allclose(road.curvature_1pm, 1 / 20.0, rtol=2e-3)
    assert road.heading_rad[-1] - road.heading_rad[0] + road.spacing_m / 20 == pytest.approx(
        2 * np.pi, abs=1e-4
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_road_closes_smoothly(seed: int):
    road = Road.from_seed(seed)
    x_m, y_m = np.append(road.x_m, road.x_m[0]), np.append(road.y_m, road.y_m[0])
    # A step at the seam like any other, in place, heading and curvature.
    np.testing.assert_allclose(np.hypot(np.diff(x_m), np.diff(y_m)), road.spacing_m, rtol=1e-3)
    turned = np.exp(1j * np.append(road.heading_rad, road.heading_rad[0]))
    assert np.abs(np.angle(turned[1:] / turned[:-1])).max() < road.spacing_m / 12.0
    change = np.diff(np.append(road.curvature_1pm, road.curvature_1pm[0])) / road.spacing_m
    assert np.abs(change).max() < 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_curvature_and_heading_agree_with_differences(seed: int):
    road = Road.from_seed(seed)
    dx = np.roll(road.x_m, -1) - np.roll(road.x_m, 1)
    dy = np.roll(road.y_m, -1) - np.roll(road.y_m, 1)
    heading = np.exp(1j * (np.arctan2(dy, dx) - road.heading_rad))
    assert np.abs(np.angle(heading)).max() < 1e-3
    lap_rad = np.sign(np.sum(road.curvature_1pm)) * 2 * np.pi
    padded = np.concatenate(
        [[road.heading_rad[-1] - lap_rad], road.heading_rad, [road.heading_rad[0] + lap_rad]]
    )
    slope = (padded[2:] - padded[:-2]) / (2 * road.spacing_m)
    # The curvature has kinks at the knots of the spline, where differences are of first order.
    np.testing.assert_allclose(slope, road.curvature_1pm, atol=4e-3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_local", [True, False])
def test_project_inverts_point_at(seed: int, is_local: bool):
    road, rng = Road.from_seed(seed), np.random.default_rng(seed)
    arc_m, lateral_m = rng.uniform(0, road.length_m, 300), rng.uniform(-4, 4, 300)
    x_m, y_m = road.point_at(arc_m, lateral_m)
    near_m = (arc_m + rng.uniform(-2, 2, 300)) % road.length_m
    found = np.array(
        [
            road.project(x, y, near=near if is_local else None)
            for x, y, near in zip(x_m.tolist(), y_m.tolist(), near_m.tolist(), strict=True)
        ]
    )
    half_lap_m = road.length_m / 2
    missed_m = (found[:, 0] - arc_m + half_lap_m) % road.length_m - half_lap_m
    assert np.abs(missed_m).max() < 1e-4
    assert np.abs(found[:, 1] - lateral_m).max() < 1e-4


def test_project_is_left_positive_and_wraps_at_the_seam():
    road = Road.from_seed(4)
    x_m, y_m = (float(v) for v in road.point_at(0.01, 1.0))
    place = road.project(x_m, y_m, near=road.length_m - 0.5)
    assert place.arc_length_m == pytest.approx(0.01, abs=1e-6)
    assert place.lateral_m == pytest.approx(1.0, abs=1e-6)


def test_many_tracks_are_suitable_and_balanced():
    share_right = []
    for seed in [*range(40), *range(20_000, 20_020)]:
        road = make_road(seed)
        assert LENGTH_RANGE_M[0] - 1 <= road.length_m <= LENGTH_RANGE_M[1] + 1
        assert np.abs(road.curvature_1pm).max() < 1 / 12.0
        assert np.abs(road.curvature_1pm).max() > 1 / 20.0  # has a tight bend
        assert np.mean(np.abs(road.curvature_1pm) < 0.01) > 0.05  # and something like a straight
        share_right.append(np.mean(road.curvature_1pm < 0))
        assert 0.1 < share_right[-1] < 0.9
        assert max(np.ptp(road.x_m), np.ptp(road.y_m)) <= EXTENT_LIMIT_M + 1
        points = np.stack([road.x_m, road.y_m], axis=1)[::4]
        index = np.arange(len(points))
        apart = np.abs(index[:, None] - index)
        apart_m = np.minimum(apart, len(index) - apart) * 4 * road.spacing_m
        distance_m = np.linalg.norm(points[:, None] - points, axis=2)
        assert distance_m[apart_m > 34.0].min() > 15.0
    assert 0.4 < np.mean(share_right) < 0.6


def test_seed_decides_the_road_and_ranges_are_disjoint():
    first, again, other = Road.from_seed(7), Road.from_seed(7), Road.from_seed(8)
    np.testing.assert_array_equal(first.x_m, again.x_m)
    assert first.length_m != other.length_m
    ranges = [set(TRAIN_TRACKS), set(VALIDATION_TRACKS), set(HELD_OUT_TRACKS)]
    assert len(set.union(*ranges)) == sum(len(tracks) for tracks in ranges) == 21_000


def test_wrong_roads_are_refused():
    with pytest.raises(ValueError, match="`seed` must be >= 0, got -1"):
        Road.from_seed(-1)
    with pytest.raises(ValueError, match="`min_radius_m` must be > 0, got nan"):
        Road.from_seed(0, min_radius_m=float("nan"))
    with pytest.raises(ValueError, match=r"`min_radius_m` must be small enough .*, got 200"):
        Road.from_seed(0, min_radius_m=200.0)
    with pytest.raises(ValueError, match="at least 4 points"):
        Road(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="must be finite, got"):
        Road(np.full((5, 2), np.nan))
