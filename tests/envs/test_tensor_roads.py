"""Roads in torch against `Road`."""

import numpy as np
import pytest
import torch

from envs.driving.road import make_road
from envs.driving.tensor_roads import TensorRoads
from tests.no_waiting import NoWaiting

NUM_CARS = 400
ROADS = [make_road(number) for number in range(5)]


class Straight:
    """A kilometre without a bend: no road that is drawn is straight to rounding."""

    x_m = np.arange(0.0, 1000.0, 0.25)
    y_m = np.zeros_like(x_m)
    heading_rad = np.zeros_like(x_m)
    curvature_1pm = np.zeros_like(x_m)
    length_m, spacing_m = 1000.0, 0.25


@pytest.fixture(scope="module")
def drawn():
    """Cars beside their roads, some of them where a lap begins."""
    rng = np.random.default_rng(0)
    which = rng.integers(len(ROADS), size=NUM_CARS)
    lengths_m = np.array([road.length_m for road in ROADS])[which]
    arc_m = rng.uniform(0.0, 1.0, NUM_CARS) * lengths_m
    arc_m[:50] = rng.uniform(-0.3, 0.3, 50) % lengths_m[:50]
    return which, arc_m, rng.uniform(-3.0, 3.0, NUM_CARS), rng.uniform(-0.3, 0.3, NUM_CARS)


def test_cars_are_found_where_road_finds_them(drawn):
    which, arc_m, lateral_m, moved_m = drawn
    points = [ROADS[w].point_at(a, d) for w, a, d in zip(which, arc_m, lateral_m, strict=True)]
    x_m, y_m = np.array(points, dtype=np.float64).T
    near_m = arc_m + moved_m
    roads = TensorRoads(ROADS)
    with NoWaiting():
        found = roads.project(
            torch.tensor(which), torch.tensor(x_m), torch.tensor(y_m), torch.tensor(near_m)
        )
    wanted = [
        ROADS[w].project(x, y, near=n) for w, x, y, n in zip(which, x_m, y_m, near_m, strict=True)
    ]
    np.testing.assert_allclose(torch.stack(found, dim=1).numpy(), wanted, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[1].numpy(), lateral_m, rtol=0, atol=1e-2)


def test_points_ahead_are_those_of_road(drawn):
    which, arc_m, *_ = drawn
    ahead_m = arc_m[:, None] + np.arange(0.0, 700.0, 90.0)
    roads = TensorRoads(ROADS)
    with NoWaiting():
        found = roads.places_at(torch.tensor(which), torch.tensor(ahead_m))
        beside = roads.places_at(torch.tensor(which), torch.tensor(arc_m))
        curvature = roads.curvature_at(torch.tensor(which), torch.tensor(arc_m))
    for i, (w, points) in enumerate(zip(which, ahead_m, strict=True)):
        wanted = ROADS[w].frame_at(points)[:3]
        np.testing.assert_allclose([value[i].numpy() for value in found], wanted, atol=1e-9)
        at_car = ROADS[w].frame_at(arc_m[i])[:3]
        np.testing.assert_allclose([float(value[i]) for value in beside], at_car, atol=1e-9)
        assert float(curvature[i]) == ROADS[w].curvature_at(arc_m[i])


def test_a_straight_road_is_a_line():
    roads = TensorRoads([Straight(), ROADS[0]])  # type: ignore[list-item]
    arc_m, lateral_m = roads.project(
        torch.zeros(2, dtype=torch.int64),
        torch.tensor([100.1, 500.0], dtype=torch.float64),
        torch.tensor([1.5, -2.0], dtype=torch.float64),
        torch.tensor([100.0, 501.0], dtype=torch.float64),
    )
    assert torch.allclose(arc_m, torch.tensor([100.1, 500.0], dtype=torch.float64))
    assert lateral_m.tolist() == [1.5, -2.0]
