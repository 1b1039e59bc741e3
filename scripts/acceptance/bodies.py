"""Worlds in mujoco-warp on a device: bodies beside MuJoCo's C, and how many frames a second."""

import time
from collections.abc import Sequence
from typing import Any

from scripts.acceptance.cars import COMPARED as CARS
from scripts.acceptance.cars import FRAMES as CAR_FRAMES
from scripts.acceptance.cars import compare_cars

DRIVING = "LaneKeeping-v0"
ERRORS = {"median": 2e-5, "largest": 1e-3}
"""Errors of an observation after one frame that pass; float32 beside float64."""
COMPARED, FRAMES = 8, 20
"""Worlds and frames that are compared."""
TIMED_S = 3.0
"""Time for which each number of worlds is stepped [s]."""


def compare_with_c(env_id: str, device: str) -> tuple[list[str], bool]:
    """Compare frames from the same states with MuJoCo's C; return a row, and whether it passes."""
    import gymnasium
    import numpy as np
    import torch

    from envs.locomotion.warp_worlds import WarpWorlds

    batch = WarpWorlds(env_id, COMPARED, device)
    batch.seed(0)
    batch.reset()
    env: Any = gymnasium.make(env_id, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    rng, errors = np.random.default_rng(0), []
    for _ in range(FRAMES):
        actions = rng.uniform(-1.0, 1.0, (COMPARED, *batch.action_space.shape)).astype(np.float32)
        before = [batch.positions.double().cpu().numpy(), batch.velocities.double().cpu().numpy()]
        after = batch.step(torch.from_numpy(actions).to(device)).last_observation.cpu().numpy()
        for i, (position, velocity) in enumerate(zip(*before, strict=True)):
            env.reset()  # clears what the solver remembers
            env.set_state(position, velocity)
            errors.append(float(np.abs(after[i] - env.step(actions[i].astype(float))[0]).max()))
    env.close()
    found = {"median": float(np.median(errors)), "largest": max(errors)}
    passes = all(found[name] < allowed for name, allowed in ERRORS.items())
    return [env_id, *(f"{x:.1e}" for x in found.values()), "yes" if passes else "NO"], passes


def frames_per_s(name: str, num_worlds: int, device: str) -> list[str]:
    """Step worlds with random actions; return a row with frames of all of them a second."""
    import torch

    from ncp_control.worlds import find_world

    make_batch = find_world(name).make_batch
    assert make_batch is not None, "worlds that are timed can be built at once"
    batch = make_batch(num_worlds, torch.device(device))
    batch.seed(0)
    batch.reset()
    generator = torch.Generator(device).manual_seed(0)
    shape = (num_worlds, *batch.action_space.shape)

    def step() -> None:
        batch.step(2.0 * torch.rand(shape, generator=generator, device=device) - 1.0)

    def wait() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(3):  # the first one records a graph
        step()
    began, steps = wait(), 0
    while (seconds := time.perf_counter() - began) < TIMED_S:
        step()
        steps += 1
        if steps % 20 == 0:
            wait()
    seconds = wait() - began
    each_kb = batch.bytes_each / 1000
    return [name, str(num_worlds), f"{steps * num_worlds / seconds:.0f}", f"{each_kb:.0f}"]


def simulate(device: str, bodies: Sequence[str], counts: Sequence[int]) -> dict[str, Any]:
    """Return the result of the part: all beside the C, speeds of the first body and of cars."""
    compared = [compare_with_c(env_id, device) for env_id in bodies]
    driven, is_driven = compare_cars(device)
    timed = [frames_per_s(name, n, device) for name in (bodies[0], DRIVING) for n in counts]
    is_good = is_driven and all(passes for _, passes in compared)
    fastest = max(float(row[2]) for row in timed)
    title = f"one frame of {COMPARED} worlds beside MuJoCo's C, {FRAMES} times"
    header = ["body", "median error", "largest", "passes"]
    cars = f"{CARS} cars beside MuJoCo's C and OpenCV, {CAR_FRAMES} frames"
    of_cars = ["largest error of a number", "mean error of a pixel", "passes"]
    speeds = ["world", "worlds", "frames/s of all", "kB a world"]
    return {
        "state": "passed" if is_good else "failed",
        "summary": f"{len(compared)} bodies and a car compared; up to {fastest:.0f} frames/s",
        "tables": [
            {"title": title, "header": header, "rows": [row for row, _ in compared]},
            {"title": cars, "header": of_cars, "rows": [driven]},
            {"title": "speed with random actions", "header": speeds, "rows": timed},
        ],
    }
