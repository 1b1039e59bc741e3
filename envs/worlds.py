"""The built-in worlds by name, each with its contract.

| name                            | option    | what a policy senses                 |
|---------------------------------|-----------|--------------------------------------|
| `LaneKeeping-v0`                | `observe` | frames, or the road in numbers       |
|                                 | others    | see `lane_keeping`                   |
| `HalfCheetah-v5`, `Walker2d-v5` | `observe` | the full body, or its positions only |
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np

from ncp_control.contract import (
    ActionContract,
    Contract,
    Entry,
    FramesContract,
    ObservationContract,
    VectorContract,
)
from ncp_control.names import check_name
from ncp_control.worlds import RETURNS, Told, World, register_world, returns_of

if TYPE_CHECKING:
    from ncp_control.episode import Episode


def lane_keeping(
    observe: str = "frames",
    camera: str = "opencv",
    tracks: str = "train",
    on_crash: str = "terminate",
    episode_s: float = 60.0,
    randomize_appearance: bool = True,
) -> World:
    """Return the driving world of a policy that sees frames, or where the road goes.

    Args:
        observe: frames or numbers.
        camera: See `LaneKeepingConfig`, as all that follow; of no use to numbers.
        tracks: Track range.
        on_crash: What happens to a car that leaves its lane.
        episode_s: Longest episode [s].
        randomize_appearance: Whether light, colours, markings and shadows of frames are drawn
            anew at each reset.

    Raises:
        ValueError: If `observe` or another setting is unknown.
    """
    from envs.driving import CameraGeometry, LaneKeepingConfig, LaneKeepingEnv, VectorObservation
    from envs.driving.metrics import LaneMetrics
    from envs.driving.pure_pursuit import keep_lane
    from envs.faults import disturbances_of

    check_name("observe", observe, ("frames", "numbers"))
    sees = observe == "frames"
    config = LaneKeepingConfig(
        camera=camera if sees else "none",
        tracks=tracks,
        on_crash=on_crash,
        episode_s=episode_s,
        randomize_appearance=randomize_appearance and sees,
    )
    geometry = CameraGeometry()
    observation: ObservationContract = FramesContract(
        shape=(geometry.height_px, geometry.width_px, 3)
    )
    if observe == "numbers":
        previews = [f"centre line {distance:g} m ahead" for distance in config.preview_distances_m]
        entries = [
            Entry(name="offset from the centre line", unit="m"),
            Entry(name="heading error", unit="rad"),
            Entry(name="curvature", unit="1/m"),
            Entry(name="speed", unit="m/s"),
            *(Entry(name=name, unit="m") for name in previews),
        ]
        observation = VectorContract(entries=tuple(entries))
    steering = ActionContract(
        name="steering", unit=f"fraction of {config.max_steer_rad:g} rad", positive="left"
    )
    contract = Contract(
        observation=observation,
        action=(steering,),
        frame_s=config.control_period_s,
        world="LaneKeeping-v0",
        world_options={} if observe == "frames" else {"observe": observe},
    )

    def make(render_mode: str | None = None) -> gymnasium.Env:
        env = LaneKeepingEnv(config, render_mode)
        return env if observe == "frames" else VectorObservation(env)

    def brake(env: gymnasium.Env, is_braking: bool) -> None:
        cast(LaneKeepingEnv, env.unwrapped).is_braking = is_braking

    return World(
        name="LaneKeeping-v0",
        make=make,
        brake=brake,
        contract=contract,
        measures=lane_measures,
        measure_names=tuple(field.name for field in dataclasses.fields(LaneMetrics)),
        signals=lane_signals,
        expert=keep_lane,
        expert_name="pure pursuit",
        # A lost frame would hide the crash in it.
        disturbances=tuple(d for d in disturbances_of(contract) if d.name != "drop"),
        max_steps=round(config.episode_s * config.control_rate_hz),
    )


def lane_measures(episodes: "Sequence[Episode]") -> dict[str, float]:
    """Return the fields of `LaneMetrics` by name."""
    from envs.driving.metrics import summarize

    return dataclasses.asdict(summarize(episodes))


def lane_signals(told: Told) -> dict[str, np.ndarray]:
    """Return the road's curvature, the car's speed, and how far it is off the centre line."""
    return {
        "curvature [1/m]": told["curvature_1pm"],
        "|curvature| [1/m]": np.abs(told["curvature_1pm"]),
        "speed [m/s]": told["speed_mps"],
        "cross-track error [m]": told["cross_track_m"],
    }


def body(env_id: str, observe: str = "full") -> World:
    """Return a world to walk in, whose body is seen whole or by its positions alone."""
    from envs.faults import disturbances_of
    from envs.locomotion import WORLDS, make_locomotion
    from ncp_control.gymnasium_contracts import contract_of

    name = next(name for name, known in WORLDS.items() if known == env_id)

    def make(render_mode: str | None = None, **camera: Any) -> gymnasium.Env:
        rendering = {} if render_mode is None else {"render_mode": render_mode}
        return make_locomotion(name, observe=observe, **rendering, **camera)

    probe = make()
    options = {} if observe == "full" else {"observe": observe}
    contract = contract_of(probe, name=env_id, options=options)
    probe.close()
    return World(
        name=env_id,
        make=make,
        has_camera=True,
        contract=contract,
        measures=returns_of,
        measure_names=RETURNS,
        disturbances=disturbances_of(contract),
        max_steps=1000,
    )


def register() -> None:
    """Make the built-in worlds known by name."""
    register_world("LaneKeeping-v0", lane_keeping)
    for env_id in ("HalfCheetah-v5", "Walker2d-v5"):
        register_world(env_id, partial(body, env_id))
