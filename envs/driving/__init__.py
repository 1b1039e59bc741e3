"""Driving environments: a simulated car, seeded roads and a camera on the car.

    from envs.driving import LaneKeepingConfig, LaneKeepingEnv

    env = LaneKeepingEnv(LaneKeepingConfig(tracks="held_out"))
    frame, info = env.reset(seed=0)

Lengths are in metres, angles in radians. Left is positive.
"""

from envs.driving.appearance import Appearance
from envs.driving.camera import Camera, CameraGeometry, OpenCvCamera, Pose
from envs.driving.config import LaneKeepingConfig
from envs.driving.lane_keeping import LaneKeepingEnv
from envs.driving.road import (
    HELD_OUT_TRACKS,
    TRAIN_TRACKS,
    VALIDATION_TRACKS,
    Road,
    RoadPoint,
    make_road,
)
from envs.driving.vector_observation import VectorObservation

__all__ = [
    "HELD_OUT_TRACKS",
    "TRAIN_TRACKS",
    "VALIDATION_TRACKS",
    "Appearance",
    "Camera",
    "CameraGeometry",
    "LaneKeepingConfig",
    "LaneKeepingEnv",
    "OpenCvCamera",
    "Pose",
    "Road",
    "RoadPoint",
    "VectorObservation",
    "make_road",
]
