"""Bodies in a picture: where the camera's own projection puts their corners, and only there."""

import math

import numpy as np
import pytest

from envs.driving import CameraGeometry, Pose
from envs.driving.bodies import Body
from envs.driving.bodies_view import NEAR_M, BodiesView, _cut_near
from envs.driving.body_shapes import shape_of

GEOMETRY = CameraGeometry()
CAR = Body(kind="car", length_m=4.2, width_m=1.8, height_m=1.45, colour=(200.0, 30.0, 30.0))
VAN = Body(kind="car", length_m=5.0, width_m=1.9, height_m=2.1)
PERSON = Body(kind="person", length_m=0.4, width_m=0.55, height_m=1.75)


def draw(body: Body, ahead_m: float, left_m: float, turn_rad: float, pose: Pose) -> np.ndarray:
    """Draw one body into a frame of zeros; it stands where told from the car at a pose."""
    cosine, sine = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    x_m = pose.x_m + cosine * ahead_m - sine * left_m
    y_m = pose.y_m + sine * ahead_m + cosine * left_m
    frame = np.zeros((GEOMETRY.height_px, GEOMETRY.width_px, 3), np.uint8)
    placed = np.array([[x_m, y_m, pose.yaw_rad + turn_rad]])
    BodiesView(GEOMETRY).draw(frame, pose, [body], placed)
    return frame


@pytest.mark.parametrize("body", [CAR, VAN, PERSON])
@pytest.mark.parametrize("turn_rad", [0.0, 0.8, math.pi])
def test_a_body_fills_what_its_corners_span(body: Body, turn_rad: float):
    ahead_m, left_m = 9.0, 1.2
    frame = draw(body, ahead_m, left_m, turn_rad, Pose(12.0, -7.0, 0.6))
    cosine, sine = math.cos(turn_rad), math.sin(turn_rad)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    corners_m = shape_of(body).corners_m.reshape(-1, 3) @ turn.T + (ahead_m, left_m, 0.0)
    pixels = GEOMETRY.project(corners_m)
    rows, columns = np.nonzero(frame.any(axis=2))
    found = columns.min(), rows.min(), columns.max(), rows.max()
    expected = *pixels.min(axis=0), *np.minimum(pixels.max(axis=0), (199.0, 77.0))
    np.testing.assert_allclose(found, expected, atol=1.6)


@pytest.mark.parametrize("body", [CAR, VAN, PERSON])
def test_faces_look_outwards(body: Body):
    shape = shape_of(body)
    is_side = np.abs(shape.normals[:, 2]) < 0.9
    outwards = np.einsum("ij,ij->i", shape.normals[is_side], shape.middles_m[is_side])
    assert (outwards > 0.0).all()
    assert (shape.normals[~is_side, 2] > 0.0).all()


def test_what_is_behind_is_not_drawn_and_what_is_beside_is_cut():
    pose = Pose(0.0, 0.0, 0.0)
    assert not draw(CAR, -9.0, 0.0, 0.0, pose).any()
    beside = draw(CAR, 1.8, 2.5, 0.0, pose)  # reaches from behind the camera to before it
    rows, columns = np.nonzero(beside.any(axis=2))
    assert 0 < len(rows) and columns.max() < 100


def test_a_face_is_cut_where_it_meets_the_near_plane():
    corners = np.array([[0.0, 0.0, -1.0], [2.0, 0.0, -1.0], [2.0, 0.0, 3.0], [0.0, 0.0, 3.0]])
    cut = _cut_near(corners)
    assert cut[:, 2].min() == pytest.approx(NEAR_M) and cut[:, 2].max() == 3.0
    assert sorted(cut[:, 0].tolist()) == [0.0, 0.0, 2.0, 2.0]
    assert len(_cut_near(corners - (0.0, 0.0, 5.0))) == 0


def test_the_nearer_body_hides_the_farther_and_distance_fades():
    pose, placed = Pose(0.0, 0.0, 0.0), np.array([[8.0, 0.0, 0.0], [14.0, 0.0, 0.0]])
    frames = []
    for order in ([0, 1], [1, 0]):
        frame = np.zeros((GEOMETRY.height_px, GEOMETRY.width_px, 3), np.uint8)
        BodiesView(GEOMETRY).draw(frame, pose, [CAR, CAR], placed[order])
        frames.append(frame)
    np.testing.assert_array_equal(*frames)
    near, far = (draw(CAR, ahead_m, 0.0, 0.0, pose) for ahead_m in (8.0, 60.0))
    red = [frame[frame.any(axis=2)].astype(int) for frame in (near, far)]
    contrast = [np.ptp(pixels[:, 0] - pixels[:, 2]) for pixels in red]
    assert contrast[1] < 0.75 * contrast[0]
