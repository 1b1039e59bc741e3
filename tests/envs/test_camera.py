"""The OpenCV camera against the pinhole's closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest

from envs.driving import Appearance, CameraGeometry, OpenCvCamera, Pose, make_road, texture
from envs.driving.texture import (
    DRIVING_TEXELS,
    EXTENT_M,
    NUM_LEVELS,
    Ground,
    paint_ground,
    texel_from_world,
)

GEOMETRY = CameraGeometry()
BLACK = (0.0, 0.0, 0.0)


def ground_with_spot(x_m: float, y_m: float) -> Ground:
    """Black ground with one white square of side 0.5 m."""
    column, row, _ = texel_from_world(DRIVING_TEXELS) @ (x_m, y_m, 1.0)
    picture = np.zeros((DRIVING_TEXELS, DRIVING_TEXELS, 3), np.uint8)
    row, column = round(row), round(column)
    picture[row - 2 : row + 3, column - 2 : column + 3] = 255
    levels = [picture]
    while len(levels) < NUM_LEVELS:
        size = len(levels[-1]) // 2
        blocks = levels[-1].reshape(size, 2, size, 2, 3)
        levels.append(blocks.mean(axis=(1, 3)).astype(np.uint8))
    return Ground(tuple(levels), Appearance(grass_rgb=BLACK, haze_rgb=BLACK))


@pytest.mark.parametrize("spot", [(4.5, 0.5), (5.5, 2.0), (7.0, -3.0), (14.0, 6.0)])
@pytest.mark.parametrize("pitch_rad", [0.0, 0.15])
def test_ground_point_appears_at_its_pixel(spot: tuple[float, float], pitch_rad: float):
    # The pinhole by rotation of the ray: forward and up about the left axis, by the pitch.
    # Four times the pixels, for a spot of enough of them.
    geometry = replace(GEOMETRY, width_px=800, height_px=312, pitch_rad=pitch_rad)
    pose = Pose(20.05, -30.05, 0.5)
    cosine, sine = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    wanted = np.array([[cosine, -sine], [sine, cosine]]) @ spot + (pose.x_m, pose.y_m)
    # The spot lies on whole texels: where it was painted, seen from the car.
    x_m, y_m = np.round((wanted - 0.05) / 0.1) * 0.1 + 0.05
    dx, dy = x_m - pose.x_m, y_m - pose.y_m
    forward, left = cosine * dx + sine * dy - geometry.forward_m, cosine * dy - sine * dx
    depth = forward * math.cos(pitch_rad) + geometry.height_m * math.sin(pitch_rad)
    below = geometry.height_m * math.cos(pitch_rad) - forward * math.sin(pitch_rad)
    expected = 399.5 - 400.0 * left / depth, 155.5 + 400.0 * below / depth

    camera = OpenCvCamera(geometry)
    camera.set_ground(ground_with_spot(x_m, y_m))
    frame = camera.render(pose).astype(float)[geometry.first_ground_row :, :, 0]
    rows, columns = np.indices(frame.shape)
    weight = frame / frame.sum()
    centre = (weight * columns).sum(), (weight * rows).sum() + geometry.first_ground_row
    assert centre == pytest.approx(expected, abs=1.0)


def test_project_agrees_with_the_homography():
    rng = np.random.default_rng(0)
    pixels = np.stack([rng.uniform(0, 199, 50), rng.uniform(30, 77, 50), np.ones(50)])
    ground = GEOMETRY.car_from_pixel() @ pixels
    points = np.stack([ground[0] / ground[2], ground[1] / ground[2], np.zeros(50)], axis=1)
    np.testing.assert_allclose(GEOMETRY.project(points), pixels[:2].T, atol=1e-9)


def test_horizon_is_where_far_ground_goes():
    far = GEOMETRY.project(np.array([[1e7, 0.0, 0.0]]))
    assert far[0, 1] == pytest.approx(GEOMETRY.horizon_row, abs=1e-3)
    assert GEOMETRY.horizon_row == pytest.approx(38.5 - 100.0 * math.tan(0.15))


def test_mirrored_world_gives_mirrored_frame():
    ground = paint_ground(make_road(3), 2.0, Appearance())
    mirrored = Ground(
        tuple(np.ascontiguousarray(level[::-1]) for level in ground.levels), ground.appearance
    )
    x_m, y_m, yaw_rad, _ = (float(value) for value in make_road(3).frame_at(50.0))
    camera = OpenCvCamera(GEOMETRY)
    camera.set_ground(ground)
    frame = camera.render(Pose(x_m, y_m, yaw_rad))
    camera.set_ground(mirrored)
    other = camera.render(Pose(x_m, -y_m, -yaw_rad))[:, ::-1]
    difference = np.abs(frame.astype(int) - other)
    assert difference.mean() < 0.1
    assert difference.max() <= 8  # warping rounds positions to 1/32 texel


@pytest.mark.parametrize("arc_length_m", [0.0, 70.0, 140.0])
def test_markings_are_where_geometry_says(arc_length_m: float):
    road = make_road(20_000)
    camera = OpenCvCamera(GEOMETRY)
    camera.set_ground(paint_ground(road, 2.0, Appearance()))
    x_m, y_m, yaw_rad, _ = (float(value) for value in road.frame_at(arc_length_m))
    frame = camera.render(Pose(x_m, y_m, yaw_rad)).astype(int)

    def colour(lateral_m: float) -> np.ndarray:
        point_x, point_y = road.point_at(arc_length_m + 5.0, lateral_m)
        dx, dy = float(point_x) - x_m, float(point_y) - y_m
        cosine, sine = math.cos(yaw_rad), math.sin(yaw_rad)
        point = np.array([[cosine * dx + sine * dy, cosine * dy - sine * dx, 0.0]])
        column, row = np.rint(GEOMETRY.project(point)[0]).astype(int)
        return frame[row, column]

    for side in (-1.0, 1.0):
        assert colour(2.0 * side).min() > 170  # white
        asphalt, grass = colour(1.2 * side), colour(3.3 * side)
        assert np.ptp(asphalt) < 20 and 60 < asphalt.mean() < 125
        assert grass[1] > grass[0] + 10 > grass[2] + 20  # green
    sky = frame[: GEOMETRY.first_ground_row]
    assert (sky[:, :, 2] >= sky[:, :, 0]).all() and sky.mean() > 120


def test_appearance_changes_the_picture_and_keeps_the_lane_visible():
    road = make_road(1)
    x_m, y_m, yaw_rad, _ = (float(value) for value in road.frame_at(0.0))
    camera = OpenCvCamera(GEOMETRY)
    means = []
    for seed in range(12):
        appearance = Appearance.random(np.random.default_rng(seed))
        assert appearance == Appearance.random(np.random.default_rng(seed))
        # A shadow may lie anywhere; without it the line must stand out from the asphalt.
        camera.set_ground(paint_ground(road, 2.0, replace(appearance, num_shadows=0)))
        row = camera.render(Pose(x_m, y_m, yaw_rad))[60].mean(axis=1)
        assert row.max() - np.median(row[60:140]) > 30
        means.append(row.mean())
    assert np.std(means) > 8


def test_shadows_darken_the_ground():
    plain = paint_ground(make_road(1), 2.0, Appearance()).levels[0]
    shaded = paint_ground(make_road(1), 2.0, Appearance(num_shadows=20)).levels[0]
    darker = shaded.astype(int) < plain.astype(int) - 10
    assert (shaded.astype(int) <= plain.astype(int) + 1).all()
    assert 0.002 < darker.mean() < 0.1


def test_render_without_a_ground_is_refused():
    with pytest.raises(RuntimeError, match="`set_ground` must be called before `render`"):
        OpenCvCamera(GEOMETRY).render(Pose(0.0, 0.0, 0.0))


def test_ground_is_coloured_as_by_a_table_for_each_channel():
    appearance, rng = Appearance(), np.random.default_rng(0)
    picture = paint_ground(make_road(0), 2.0, appearance).levels[0]
    rows, columns = rng.integers(0, DRIVING_TEXELS, (2, 2000))
    grey = texture._noise("grass", DRIVING_TEXELS)[rows, columns].astype(float)
    contrast = texture._GRASS_CONTRAST
    wanted = (1.0 + contrast * (grey[:, None] / 255.0 - 0.5)) * np.array(appearance.grass_rgb)
    is_grass = (picture[rows, columns] == wanted.astype(np.uint8)).all(axis=1)
    assert 0.9 < is_grass.mean() < 1.0  # the others are road


def test_dashes_are_outlined_as_one_by_one():
    road, appearance = make_road(2), Appearance()
    dashes = texture._Brush(road, DRIVING_TEXELS).dashes(appearance)
    period_m, half_m = road.length_m / len(dashes), 0.5 * appearance.centre_width_m
    assert period_m == pytest.approx(appearance.dash_length_m + appearance.dash_gap_m, rel=0.1)
    size_m = EXTENT_M / DRIVING_TEXELS
    for number, dash in enumerate(dashes):
        along_m = number * period_m + np.linspace(0.0, appearance.dash_length_m, 6)
        left, right = road.point_at(along_m, half_m), road.point_at(along_m[::-1], -half_m)
        x_m, y_m = np.concatenate([left, right], axis=1)
        column, row = x_m / size_m + 1023.5, 1023.5 - y_m / size_m
        assert dash == pytest.approx(16.0 * np.stack([column, row], axis=1), abs=0.51)
