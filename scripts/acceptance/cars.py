"""Cars in mujoco-warp on a device: beside MuJoCo's C, with the pictures beside OpenCV's."""

from typing import Any

ERRORS = {"numbers": 2e-3, "frames": 0.1}
"""Errors that pass: the largest of a number after `FRAMES` [m, rad, m/s], and the mean of a pixel,
of 255; float32 beside float64."""
COMPARED, FRAMES = 4, 30
"""Cars and frames that are compared."""


def compare_cars(device: str) -> tuple[list[str], bool]:
    """Drive `LaneKeeping-v0` on a device and in MuJoCo's C; return a row, and whether it passes.

    Frames are compared at each step, numbers at the last one, when all errors have added up.
    """
    import numpy as np
    import torch

    from envs.driving import LaneKeepingConfig, LaneKeepingEnv
    from envs.driving.tensor_lane_keeping import LaneKeepingWorlds

    config = LaneKeepingConfig()
    batch = LaneKeepingWorlds(config, COMPARED, device, num_tracks=2)
    batch.reset()
    envs = [LaneKeepingEnv(config) for _ in range(COMPARED)]
    places = zip(batch.tracks.tolist(), batch.arc_length_m.tolist(), strict=True)
    for env, (track, start_m) in zip(envs, places, strict=True):
        env.reset(seed=0, options={"track": track, "start_m": start_m})
    rng, of_frames, last = np.random.default_rng(0), [], []
    for _ in range(FRAMES):
        actions = rng.uniform(-0.2, 0.2, (COMPARED, 1)).astype(np.float32)
        frames = batch.step(torch.from_numpy(actions).to(device)).last_observation.cpu().numpy()
        steps = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        wanted: Any = np.stack([step[0] for step in steps])
        of_frames.append(float(np.abs(frames.astype(float) - wanted).mean()))
        last = [step[-1] for step in steps]
    names = ("yaw_rad", "speed_mps", "steer_rad")
    wanted = np.array([[info[name] for info in last] for name in ("cross_track_m", *names)])
    state = batch.car_state
    reached = torch.stack([batch.cross_track_m, *(getattr(state, name) for name in names)])
    errors = np.abs(reached.cpu().numpy() - wanted)
    found = {"numbers": float(errors.max()), "frames": max(of_frames)}
    passes = all(found[name] < allowed for name, allowed in ERRORS.items())
    return [f"{x:.1e}" for x in found.values()] + ["yes" if passes else "NO"], passes
