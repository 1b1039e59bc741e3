"""Pictures of many cars in torch against OpenCV's."""

import numpy as np
import pytest
import torch

from envs.driving import Appearance, CameraGeometry, OpenCvCamera, Pose, make_road
from envs.driving.tensor_camera import TensorCamera
from envs.driving.texture import DRIVING_TEXELS, paint_ground


@pytest.fixture(scope="module")
def grounds():
    rng = np.random.default_rng(0)
    looks = [Appearance(), *(Appearance.random(rng) for _ in range(2))]
    return [paint_ground(make_road(i), 2.0, look) for i, look in enumerate(looks)]


def draw_poses(num_cars, seed=0):
    """Cars on the tracks, beside them, and at the edge of the painted world."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(-105.0, 105.0, (num_cars, 2))
    return np.column_stack([place, rng.uniform(-np.pi, np.pi, num_cars)])


def on_tracks(num_cars, which, seed=0):
    rng = np.random.default_rng(seed)
    poses = []
    for index in which:
        road = make_road(int(index))
        i = rng.integers(len(road.x_m))
        poses.append((road.x_m[i], road.y_m[i], road.heading_rad[i] + rng.normal(0, 0.2)))
    return np.array(poses)


def by_opencv(geometry, grounds, poses, which):
    frames = []
    for pose, index in zip(poses, which, strict=True):
        camera = OpenCvCamera(geometry)
        camera.set_ground(grounds[index])
        frames.append(camera.render(Pose(*pose)))
    return np.stack(frames)


@pytest.mark.parametrize("draw", [on_tracks, lambda n, which: draw_poses(n)])
@pytest.mark.parametrize(
    "geometry",
    [
        CameraGeometry(),
        CameraGeometry(width_px=100, height_px=40, pitch_rad=0.3, horizontal_fov_rad=1.2),
    ],
)
def test_pictures_are_those_of_opencv(grounds, geometry, draw):
    which = np.arange(24) % len(grounds)
    poses = draw(24, which)
    camera = TensorCamera(geometry, grounds)
    found = camera.render(torch.tensor(poses), torch.tensor(which)).numpy()
    wanted = by_opencv(geometry, grounds, poses, which)
    assert found.shape == wanted.shape and found.dtype == np.uint8
    difference = np.abs(found.astype(int) - wanted)
    assert difference.mean() < 0.001
    assert difference.max() <= 1
    assert wanted.std() > 20, "there is something to see"


def test_each_car_sees_its_own_ground_and_pose(grounds):
    camera = TensorCamera(CameraGeometry(), grounds)
    poses = torch.tensor(on_tracks(3, [0, 1, 2]))
    all_at_once = camera.render(poses, torch.arange(3))
    for i in range(3):
        alone = camera.render(poses[i : i + 1], torch.tensor([i]))
        assert (alone[0].int() - all_at_once[i]).abs().max() <= 1


def test_grounds_of_other_sizes_are_refused(grounds):
    other = paint_ground(make_road(0), 2.0, Appearance(), DRIVING_TEXELS // 2)
    with pytest.raises(ValueError, match=r"`grounds` must have one number of texels, got \[1024, "):
        TensorCamera(CameraGeometry(), [grounds[0], other])
    with pytest.raises(ValueError, match=r"`grounds` must have one number of texels, got \[\]"):
        TensorCamera(CameraGeometry(), [])
