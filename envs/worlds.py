"""The built-in worlds by name, with their contracts.

| name                             | option    | what a policy observes               |
|----------------------------------|-----------|--------------------------------------|
| `LaneKeeping-v0`                 | `observe` | frames, or the road in numbers       |
|                                  | others    | see `lane_keeping`                   |
| `RoadDriving-v0`                 | `observe` | frames and own speed, or frames      |
|                                  | others    | see `road_driving`                   |
| `HalfCheetah-v5`, `Walker2d-v5`, | `observe` | the full body, or its positions only |
| `Hopper-v5`                      |           |                                      |
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np

from envs.bodies import BODIES
from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    ObservationContract,
    VectorContract,
)
from ncp_control.names import check_name
from ncp_control.returns import RETURNS, returns_of
from ncp_control.worlds import Infos, World, register_world

if TYPE_CHECKING:
    from envs.driving.config import DrivingConfig
    from envs.driving.driving_env import DrivingEnv
    from ncp_control.episode import Episode
    from ncp_control.tensor_worlds import TensorWorlds


def lane_keeping(
    observe: str = "frames",
    camera: str = "opencv",
    tracks: str = "train",
    on_crash: str = "terminate",
    episode_s: float = 60.0,
    randomize_appearance: bool = True,
) -> World:
    """Return the lane keeping world, observed by frames or by numbers.

    Args:
        observe: "frames", or "numbers" for the observation of `VectorObservation`.
        camera: See `LaneKeepingConfig`, as for the options below; ignored for numbers.
        tracks: Range of tracks.
        on_crash: What happens when the car leaves its lane.
        episode_s: Longest episode [s].
        randomize_appearance: Whether to draw new light, colours, markings and shadows at each
            reset, if frames are observed.

    Raises:
        ValueError: If `observe` or another setting is unknown.
    """
    from envs.driving import LaneKeepingConfig, LaneKeepingEnv, VectorObservation
    from envs.driving.metrics import LaneMetrics
    from envs.driving.pure_pursuit import keep_lane
    from envs.faults import disturbances_of

    check_name("observe", observe, ("frames", "numbers"))
    sees_frames = observe == "frames"
    config = LaneKeepingConfig(
        camera=camera if sees_frames else "none",
        tracks=tracks,
        on_crash=on_crash,
        episode_s=episode_s,
        randomize_appearance=sees_frames and randomize_appearance,
    )
    observation: ObservationContract = FramesContract(shape=LaneKeepingEnv.frame_shape)
    if not sees_frames:
        previews = [f"centre line {distance:g} m ahead" for distance in config.preview_distances_m]
        entries = [
            Entry(name="offset from the centre line", unit="m"),
            Entry(name="heading error", unit="rad"),
            Entry(name="curvature", unit="1/m"),
            Entry(name="speed", unit="m/s"),
            *(Entry(name=name, unit="m") for name in previews),
        ]
        observation = VectorContract(entries=tuple(entries))
    contract = Contract(
        observation=observation,
        action=(_steering(config),),
        frame_s=config.control_period_s,
        world="LaneKeeping-v0",
        world_options={} if sees_frames else {"observe": observe},
    )

    def make(render_mode: str | None = None) -> gymnasium.Env:
        env = LaneKeepingEnv(config, render_mode)
        return env if sees_frames else VectorObservation(env)

    def make_batch(num_worlds: int, device: Any, max_steps: int = 1_000_000) -> "TensorWorlds":
        from envs.driving.tensor_lane_keeping import LaneKeepingWorlds

        return LaneKeepingWorlds(config, num_worlds, device, observe=observe, max_steps=max_steps)

    return World(
        name="LaneKeeping-v0",
        make=make,
        make_batch=make_batch,
        brake=_brake,
        contract=contract,
        measures=lane_measures,
        measure_names=tuple(field.name for field in dataclasses.fields(LaneMetrics)),
        signals=lane_signals,
        expert=keep_lane,
        expert_name="pure pursuit",
        # Dropping a frame would hide the crash reported in it.
        disturbances=tuple(d for d in disturbances_of(contract) if d.name != "drop"),
        max_steps=config.max_steps,
    )


def lane_measures(episodes: "Sequence[Episode]") -> dict[str, float]:
    """Return the fields of `LaneMetrics` by name."""
    from envs.driving.metrics import summarize

    return dataclasses.asdict(summarize(episodes))


def lane_signals(infos: Infos) -> dict[str, np.ndarray]:
    """Return the road's curvature, the car's speed and its offset from the centre line."""
    return {
        "curvature [1/m]": infos["curvature_1pm"],
        "|curvature| [1/m]": np.abs(infos["curvature_1pm"]),
        "speed [m/s]": infos["speed_mps"],
        "cross-track error [m]": infos["cross_track_m"],
    }


def road_driving(
    observe: str = "full",
    traffic: str = "full",
    friction: float | tuple[float, float] = 1.0,
    camera: str = "opencv",
    tracks: str = "train",
    on_crash: str = "terminate",
    episode_s: float = 60.0,
    randomize_appearance: bool = True,
) -> World:
    """Return the world of a road with bends, traffic and people.

    Args:
        observe: "full" for frames and the own speed, or "frames" for frames alone.
        traffic: none, light, full or crowded.
        friction: See `RoadDrivingConfig`, as for the options below.
        camera: "opencv", or "none" for an expert that ignores frames.
        tracks: Range of tracks.
        on_crash: What happens when the car touches another body or leaves its lane.
        episode_s: Longest episode [s].
        randomize_appearance: Whether to draw new light, colours, markings and shadows at each
            reset.

    Raises:
        ValueError: If a setting is unknown.
    """
    from envs.driving.road_config import RoadDrivingConfig
    from envs.driving.road_driving import RoadDrivingEnv
    from envs.driving.road_expert import drive_road
    from envs.driving.road_metrics import RoadMetrics
    from envs.faults import disturbances_of
    from ncp_control.adapted import Adapted

    config = RoadDrivingConfig(
        observe=observe,
        traffic=traffic,
        friction=friction,
        camera=camera,
        tracks=tracks,
        on_crash=on_crash,
        episode_s=episode_s,
        randomize_appearance=randomize_appearance,
    )
    frames = FramesContract(shape=RoadDrivingEnv.frame_shape)
    observation: ObservationContract = frames
    if observe == "full":
        speed = VectorContract(entries=(Entry(name="speed", unit="m/s"),))
        observation = DictContract(parts={"frame": frames, "speed": speed})
    pedals = f"1 is {config.throttle_mps2:g} m/s², -1 is -{config.braking_mps2:g} m/s²"
    options = {"observe": observe, "traffic": traffic}
    contract = Contract(
        observation=observation,
        action=(
            _steering(config),
            ActionContract(name="acceleration", unit=pedals, positive="faster"),
        ),
        frame_s=config.control_period_s,
        world="RoadDriving-v0",
        world_options={name: value for name, value in options.items() if value != "full"},
    )

    def make(render_mode: str | None = None) -> gymnasium.Env:
        return Adapted(RoadDrivingEnv(config, render_mode), contract)

    return World(
        name="RoadDriving-v0",
        make=make,
        brake=_brake,
        contract=contract,
        measures=road_measures,
        measure_names=tuple(field.name for field in dataclasses.fields(RoadMetrics)),
        signals=road_signals,
        expert=drive_road,
        expert_name="driver who sees everything",
        # Dropping a frame would hide the crash reported in it.
        disturbances=tuple(d for d in disturbances_of(contract) if d.name != "drop"),
        max_steps=config.max_steps,
    )


def road_measures(episodes: "Sequence[Episode]") -> dict[str, float]:
    """Return the fields of `RoadMetrics` by name."""
    from envs.driving.road_metrics import summarize_road

    return dataclasses.asdict(summarize_road(episodes))


def road_signals(infos: Infos) -> dict[str, np.ndarray]:
    """Return the signals of `lane_signals`, and the free distance ahead in the lane."""
    return {**lane_signals(infos), "gap [m]": infos["gap_m"]}


def _steering(config: "DrivingConfig") -> ActionContract:
    unit = f"fraction of {config.max_steer_rad:g} rad"
    return ActionContract(name="steering", unit=unit, positive="left")


def _brake(env: gymnasium.Env, is_braking: bool) -> None:
    """Make a car brake to a standstill, or release its brake."""
    cast("DrivingEnv[Any]", env.unwrapped).is_braking = is_braking


def body(name: str, observe: str = "full") -> World:
    """Return a walking world; `observe` is "full", or "positions" to hide velocities."""
    from envs.faults import disturbances_of
    from envs.locomotion import make_locomotion
    from ncp_control.gymnasium_contracts import contract_of_env

    env_id = BODIES[name]

    def make(render_mode: str | None = None, **camera: Any) -> gymnasium.Env:
        rendering = {} if render_mode is None else {"render_mode": render_mode}
        return make_locomotion(name, observe=observe, **rendering, **camera)

    def make_batch(num_worlds: int, device: Any, max_steps: int = 1000) -> "TensorWorlds":
        from envs.locomotion.warp_worlds import WarpWorlds

        return WarpWorlds(env_id, num_worlds, device, observe=observe, max_steps=max_steps)

    probe = make()
    options = {} if observe == "full" else {"observe": observe}
    contract = contract_of_env(probe, name=env_id, options=options)
    probe.close()
    return World(
        name=env_id,
        make=make,
        make_batch=make_batch,
        has_camera=True,
        contract=contract,
        measures=returns_of,
        measure_names=RETURNS,
        disturbances=disturbances_of(contract),
        max_steps=1000,
    )


def register() -> None:
    """Register the built-in worlds by name."""
    register_world("LaneKeeping-v0", lane_keeping)
    register_world("RoadDriving-v0", road_driving)
    for short_name, env_id in BODIES.items():
        register_world(env_id, partial(body, short_name), short_name=short_name)
