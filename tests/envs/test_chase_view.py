"""The view from behind: the car is in it, whole, and only there."""

from itertools import pairwise

import numpy as np
import pytest

from envs.driving import Appearance, Pose, make_road
from envs.driving.car_shape import Face, car_faces
from envs.driving.chase_view import ChaseView
from envs.driving.texture import paint_ground


@pytest.fixture
def view() -> ChaseView:
    view = ChaseView(wheelbase_m=2.4, track_width_m=1.44)
    view.set_ground(paint_ground(make_road(0), 2.0, Appearance()))
    return view


def pose_at(arc_length_m: float) -> Pose:
    x_m, y_m, yaw_rad, _ = (float(value) for value in make_road(0).frame_at(arc_length_m))
    return Pose(x_m, y_m, yaw_rad)


def is_red(frame: np.ndarray) -> np.ndarray:
    red, green, blue = frame.astype(int).transpose(2, 0, 1)
    return (red > 80) & (red > 2 * green) & (red > 2 * blue)


def test_car_is_in_the_middle_of_the_picture(view: ChaseView):
    frame = view.render(pose_at(0.0), steer_rad=0.0)
    assert frame.shape == (360, 640, 3) and frame.dtype == np.uint8
    rows, columns = np.nonzero(is_red(frame))
    assert columns.mean() == pytest.approx(319.5, abs=2.0)
    assert 4_000 < len(rows) < 40_000
    assert columns.min() > 150 and columns.max() < 490 and 100 < rows.min() and rows.max() < 350


def test_camera_follows_a_turn_with_delay(view: ChaseView):
    view.render(pose_at(0.0), steer_rad=0.0)
    straight = pose_at(0.0)
    turned = straight._replace(yaw_rad=straight.yaw_rad + 0.3)
    first = view.render(turned, steer_rad=0.0)
    for _ in range(80):
        last = view.render(turned, steer_rad=0.0)
    # Seen askew at first, straight from behind in the end: as wide as it is from there.
    assert np.ptp(np.nonzero(is_red(first))[1]) > np.ptp(np.nonzero(is_red(last))[1]) + 20


def test_body_is_closed_and_faces_outwards():
    def volume(faces: list[Face]) -> float:
        total = 0.0
        for _, corners, _ in faces:
            for second, third in pairwise(corners):
                total += float(np.dot(corners[0], np.cross(second, third))) / 6.0
        return total

    faces = car_faces(2.4, 1.44, 0.3)
    # Turned inside out anywhere, a prism's volume would be smaller: π r² w for each wheel.
    tread_and_sides = [face for face in faces if face.colour == (30.0, 30.0, 32.0)]
    sides = 18
    area_m2 = 0.5 * sides * 0.30**2 * np.sin(2 * np.pi / sides)
    assert volume(tread_and_sides) == pytest.approx(4 * area_m2 * 0.20, rel=1e-6)
