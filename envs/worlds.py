"""The built-in worlds by name, each with its contract.

| name                            | option    | what a policy senses                 |
|---------------------------------|-----------|--------------------------------------|
| `LaneKeeping-v0`                | `observe` | frames, or the road in numbers       |
| `HalfCheetah-v5`, `Walker2d-v5` | `observe` | the full body, or its positions only |
"""

from functools import partial
from typing import Any

import gymnasium

from ncp_control.contract import (
    ActionContract,
    Contract,
    Entry,
    FramesContract,
    ObservationContract,
    VectorContract,
)
from ncp_control.names import check_name
from ncp_control.worlds import World, register_world


def lane_keeping(observe: str = "frames") -> World:
    """Return the driving world of a policy that sees frames, or where the road goes.

    Light, colours, markings and shadows of frames are drawn anew at each reset.

    Raises:
        ValueError: If `observe` is neither.
    """
    from envs.driving import CameraGeometry, LaneKeepingConfig, LaneKeepingEnv, VectorObservation

    check_name("observe", observe, ("frames", "numbers"))
    sees = observe == "frames"
    config = LaneKeepingConfig(camera="opencv" if sees else "none", randomize_appearance=sees)
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

    steps = round(config.episode_s * config.control_rate_hz)
    return World(name="LaneKeeping-v0", make=make, contract=contract, max_steps=steps)


def body(env_id: str, observe: str = "full") -> World:
    """Return a world to walk in, whose body is seen whole or by its positions alone."""
    from envs.locomotion import WORLDS, make_locomotion
    from ncp_control.gymnasium_contracts import contract_of

    name = next(name for name, known in WORLDS.items() if known == env_id)

    def make(render_mode: str | None = None, **settings: Any) -> gymnasium.Env:
        rendering = {} if render_mode is None else {"render_mode": render_mode}
        return make_locomotion(name, observe=observe, **rendering, **settings)

    probe = make()
    options = {} if observe == "full" else {"observe": observe}
    contract = contract_of(probe, name=env_id, options=options)
    probe.close()
    return World(name=env_id, make=make, contract=contract, max_steps=1000)


def register() -> None:
    """Make the built-in worlds known by name."""
    register_world("LaneKeeping-v0", lane_keeping)
    for env_id in ("HalfCheetah-v5", "Walker2d-v5"):
        register_world(env_id, partial(body, env_id))
