"""The rendered camera, held to the OpenCV one."""

import ctypes.util
from collections.abc import Iterator

import numpy as np
import pytest

from envs.driving import Appearance, CameraGeometry, OpenCvCamera, Pose, make_road
from envs.driving.mujoco_camera import MujocoCamera
from envs.driving.texture import paint_ground


@pytest.fixture
def mujoco_camera() -> Iterator[MujocoCamera]:
    try:
        camera = MujocoCamera(CameraGeometry())
    except ValueError as error:
        pytest.skip(str(error))
    yield camera
    camera.close()


def test_two_cameras_agree_on_every_track(mujoco_camera: MujocoCamera):
    opencv_camera = OpenCvCamera(CameraGeometry())
    first_row = opencv_camera.geometry.first_ground_row
    rng = np.random.default_rng(0)
    for track in (3, 20_000):  # the second one is copied over the first
        road = make_road(track)
        ground = paint_ground(road, 2.0, Appearance.random(rng))
        opencv_camera.set_ground(ground)
        mujoco_camera.set_ground(ground)
        for arc_length_m in (0.0, 100.0, 200.0):
            x_m, y_m, yaw_rad, _ = (float(value) for value in road.frame_at(arc_length_m))
            pose = Pose(x_m, y_m, yaw_rad + rng.uniform(-0.2, 0.2))
            warped = opencv_camera.render(pose).astype(int)
            rendered = mujoco_camera.render(pose).astype(int)
            difference = np.abs(warped - rendered)
            # Near the car both interpolate the same texels; far away they average differently.
            assert difference[first_row:].mean() < 6.0
            assert difference[60:].mean() < 1.0
            assert not difference[:first_row].any()


def test_absent_opengl_names_the_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(ValueError, match=r"`camera` must be 'opencv' .* libegl1 .*libosmesa6"):
        MujocoCamera(CameraGeometry())
