"""Worlds: environments with a contract, found by name.

| name                  | world                                                             |
|-----------------------|-------------------------------------------------------------------|
| `LaneKeeping-v0`, …   | registered with `register_world`, by `envs` or by your own module  |
| `walker2d`, …         | short name of a registered world                                   |
| `gymnasium:Hopper-v5` | any environment that Gymnasium knows                               |
| `my_module:make_car`  | what your function returns: a `World`, or a Gymnasium environment  |

An environment with frames also takes the options of `ncp_control.views`, e.g. `crop_bottom=0.125
height=42 width=48 stack=2`. A registered world takes only its own options.

Training, evaluation and audit jobs take one of these names. They compare the contract of the world
with the contract of the policy, and never guess a contract from a size.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ncp_control.contract import Contract, check_contract
from ncp_control.imports import import_function
from ncp_control.keyword_options import check_needed, check_options, named_arguments, takes_any
from ncp_control.names import check_name
from ncp_control.registry import IMPORT_HINT, Registry
from ncp_control.returns import RETURNS, return_and_duration

if TYPE_CHECKING:
    import gymnasium

    from ncp_control.episode import Episode
    from ncp_control.tensor_worlds import TensorWorlds

Measures = Callable[[Sequence["Episode"]], dict[str, float]]
"""Function that computes metrics of episodes by name, e.g. the mean return."""
Expert = Callable[["gymnasium.Env", Any, dict[str, Any]], np.ndarray]
"""Function of the environment, the observation and its info that returns the expert's action, in
[-1, 1].

The observation is one array. If it holds a frame and numbers, it is a record: `frames_in` and
`numbers_in` of `ncp_control.records` take it apart."""
Infos = Mapping[str, np.ndarray]
"""Values that a world reported in `info` after each action of an episode, by name; shape
(time, …)."""


def speed_of(infos: Infos) -> dict[str, np.ndarray]:
    """Return the forward speed if the world reports `x_velocity`, as MuJoCo's environments do."""
    return {"speed [m/s]": infos["x_velocity"]} if "x_velocity" in infos else {}


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Disturbance between a policy and its world, e.g. dropped frames or a late actuator."""

    name: str
    """Short name, e.g. "drop"."""
    meaning: str
    """Meaning and unit of the strength, e.g. "share of dropped frames"."""
    put: Callable[["gymnasium.Env", float], "gymnasium.Env"]
    """Function that wraps an environment in the disturbance, at a given strength."""
    is_of_body: bool = False
    """Whether it changes commands on their way to the body, e.g. a late or faulty actuator."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Environment with its contract, metrics, expert and disturbances.

    Raises:
        TypeError: If `contract` is not a Contract.
    """

    name: str
    """Name of the world for `find_world`."""
    make: Callable[..., "gymnasium.Env"]
    """Function that builds an environment; takes `render_mode`. The `info` of the environment must
    hold `time_s`, the time since the episode began, and `dt_s`, the time since the previous step
    [s]; `world_of` adds both."""
    make_batch: Callable[..., "TensorWorlds"] | None = None
    """Function that builds many environments at once on a device, from `num_worlds`, `device` and
    `max_steps`; None if they can only be built one by one."""
    has_camera: bool = False
    """Whether `make` also takes `width`, `height` and `camera_name` of the rendered pictures."""
    contract: Contract
    """Observations, actions, frame rate and options of the world."""
    measures: Measures = return_and_duration
    """Function that computes the metrics of episodes."""
    measure_names: tuple[str, ...] = (*RETURNS, "mean_duration_s")
    """Names of the metrics, in order: the columns of a results file."""
    signals: Callable[[Infos], dict[str, np.ndarray]] = speed_of
    """Function that returns the signals to plot, by name and unit, from the values that the world
    reported."""
    expert: Expert | None = None
    """Function that returns the expert's action, e.g. for imitation; None if there is no expert."""
    expert_name: str = "expert"
    """Name of the expert."""
    disturbances: tuple[Disturbance, ...] = ()
    """Disturbances that can be put around the environment, the innermost first."""
    brake: Callable[["gymnasium.Env", bool], None] | None = None
    """Function that makes an environment's body brake to a standstill (True) or drive again
    (False); None if it can only be stopped by a neutral command."""
    max_steps: int = 1000
    """Maximum number of steps of an episode, even if the environment does not end it."""

    def __post_init__(self) -> None:
        check_contract(self.contract)

    @property
    def frame_s(self) -> float:
        """Nominal interval between frames [s]."""
        return self.contract.frame_s

    def measure(self, episodes: Sequence["Episode"]) -> dict[str, float]:
        """Return the metrics of episodes by name.

        Raises:
            ValueError: If `measures` returns other names than `measure_names`.
        """
        measured = self.measures(episodes)
        if tuple(measured) != self.measure_names:
            raise ValueError(
                f"`measures` of the world {self.name!r} must give {self.measure_names}, its"
                f" `measure_names`, got {tuple(measured)}. Name them in the world."
            )
        return measured

    def disturbed(self, strengths: Mapping[str, float]) -> "World":
        """Return a copy of the world whose environments are wrapped in disturbances.

        Args:
            strengths: Strength of each disturbance by name; 0 leaves the disturbance out.

        Raises:
            ValueError: If the world has no disturbance of that name.
        """
        known = {one.name: one for one in self.disturbances}
        for name, strength in strengths.items():
            if strength:
                check_name("disturbance", name, known)

        def make(**rendering: Any) -> "gymnasium.Env":
            env = self.make(**rendering)
            for name, disturbance in known.items():
                if strengths.get(name):
                    env = disturbance.put(env, strengths[name])
            return env

        return replace(self, make=make)

    def check_policy(self, contract: Contract | None, name: str = "policy") -> None:
        """Check that a policy with this contract can act in the world.

        Args:
            contract: Contract of the policy.
            name: Setting that names the policy, e.g. "expert".

        Raises:
            ValueError: If an entry does not fit, or the policy has no contract.
        """
        if contract is None:
            raise ValueError(
                f"`{name}` must carry a contract to act in {self.name!r}, got none. Set"
                " policy.contract to that of the world it was trained in, and save it again."
            )
        contract.check_offer(self.contract, f"the world {self.name!r}", name)


WORLDS: Registry[Callable[..., World]] = Registry("world")
"""Factory of each registered world, by name."""
SHORT_NAMES: dict[str, str] = {}
"""Full name of a registered world, by its short name."""


def register_world(
    name: str, factory: Callable[..., World], *, short_name: str | None = None
) -> None:
    """Register a world under a name.

    Args:
        name: Name of the world, without a colon.
        factory: Function that builds the world; its keyword arguments are the world's options.
        short_name: Short name that a user may type instead.

    Raises:
        ValueError: If the name has a colon, or `name` or `short_name` is already the name or the
            short name of another world.
    """
    if (owner := full_name(name)) != name:
        raise ValueError(
            f"`name` of a world must be free, got {name!r}, which is short for {owner!r}. Choose"
            " another name."
        )
    if short_name is not None:
        owner = short_name if short_name in WORLDS else SHORT_NAMES.get(short_name, name)
        if owner != name:
            raise ValueError(
                f"`short_name` of a world must be free, got {short_name!r}, which is that of"
                f" {owner!r}. Choose another one."
            )
    WORLDS.register(name, factory)
    if short_name is not None:
        SHORT_NAMES[short_name] = name


def full_name(name: str) -> str:
    """Return the full name of a world, given its short name; other names are returned as is."""
    return SHORT_NAMES.get(name, name)


def short_name_of(name: str) -> str:
    """Return the short name of a world, or its name if it has no short name."""
    return next((short for short, known in SHORT_NAMES.items() if known == name), name)


def check_home(contract: Contract) -> None:
    """Check that the world of a contract is registered in this process.

    Raises:
        ValueError: If the world's name has no colon and is not registered.
    """
    name = contract.world
    if name and ":" not in name and full_name(name) not in WORLDS:
        raise ValueError(
            f"`policy` must be of a world that is known here, got one of {name!r}. Add --import"
            " MODULE with your module that registers the world, or name another world. A policy"
            " that learned from a recorded drive takes --log."
        )


def find_world(name: str, /, **options: Any) -> World:
    """Build a world by its name.

    Args:
        name: Registered name or short name, `gymnasium:<id>`, or `<module>:<function>`.
        options: Options of the world, e.g. observe="positions".

    Raises:
        ValueError: If the name is unknown, the world does not have an option, a required option is
            missing, or the function returns neither a `World` nor a Gymnasium environment.
    """
    if ":" not in name:
        known = full_name(name)
        if known not in WORLDS:
            _refuse_bare_id(name)
            others = "gymnasium:<id>", "<module>:<function>"
            check_name("world", name, [*SHORT_NAMES, *WORLDS, *others], hint=IMPORT_HINT)
        return _built(name, WORLDS[known], options)
    module, _, attribute = name.partition(":")
    if module == "gymnasium":
        return _gymnasium_world(name, attribute, options)
    factory = import_function("world", name)
    taken = options if takes_any(factory) else named_arguments(factory)
    own, frame_s, view = _split(options, taken)
    built = _built(name, factory, own)
    if isinstance(built, World):  # its contract already states the view and the frame interval
        check_options(f"option of {name}", options, factory)
        return built
    _check_environment(name, built)
    built.close()
    make = partial(factory, **own)
    return world_of(make, name=name, options=options, frame_s=frame_s, view=view)


def _refuse_bare_id(name: str) -> None:
    """Raise ValueError if a name is an id of Gymnasium without its prefix."""
    with contextlib.suppress(ModuleNotFoundError):
        import gymnasium

        if name in gymnasium.registry:
            raise ValueError(
                f"`world` must be gymnasium:<id> for a world of Gymnasium, got {name!r}. Did you"
                f" mean 'gymnasium:{name}'?"
            )


def _built(name: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Check the options of a factory and call it."""
    check_options(f"option of {name}", options, factory)
    check_needed(f"options of {name}", options, factory)
    return factory(**options)


def _check_environment(name: str, built: object) -> None:
    import gymnasium

    if not isinstance(built, gymnasium.Env):
        raise ValueError(
            "`world` must name a function that returns a gymnasium.Env or a World, got"
            f" {name!r}, which returned {type(built).__name__!r}. Return what it built."
        )


def world_of(
    make: Callable[..., "gymnasium.Env"],
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    frame_s: float | None = None,
    view: Mapping[str, Any] | None = None,
    contract: Contract | None = None,
) -> World:
    """Build a world from a function that builds Gymnasium environments.

    Actions of another range are rescaled to [-1, 1]; `time_s` and `dt_s` are added to `info` if
    they are missing.

    Args:
        make: Function that builds an environment. If it takes `render_mode`, episodes can be
            filmed.
        name: Name of the world.
        options: Options that the environment was built with, for the contract.
        frame_s: Interval between frames [s]; if None: taken from the environment.
        view: How frames are cropped, scaled and stacked: options of `ncp_control.views`.
        contract: Observations and actions with names and units; if None: derived from the
            environment's spaces. An action whose range is the environment's own, e.g. -10 to 10 N,
            becomes a command from -1 to 1 with the scale to that range.

    Raises:
        ValueError: If a policy cannot use the environment's spaces, the spaces do not fit
            `contract`, or the environment does not state its frame interval.
    """
    from ncp_control.adapted import Adapted
    from ncp_control.gymnasium_contracts import (
        contract_of_env,
        silent_deprecations,
        stated_of_env,
    )
    from ncp_control.views import Viewed

    can_render = "render_mode" in named_arguments(make) or takes_any(make)

    def make_viewed(**rendering: str) -> "gymnasium.Env":
        env = make(**rendering)
        return Viewed(env, view) if view else env

    with silent_deprecations():
        probe = make_viewed()
    try:
        frame_s = contract.frame_s if contract is not None else frame_s
        found = contract_of_env(probe, name=name, options=options, frame_s=frame_s)
        contract = found if contract is None else stated_of_env(contract, found, probe.action_space)
        if isinstance(probe, Viewed):
            contract = replace(contract, observation=probe.complete(contract.observation))
        limit = probe.spec.max_episode_steps if probe.spec is not None else None
    finally:
        probe.close()

    def make_adapted(render_mode: str | None = None) -> "gymnasium.Env":
        rendering = {"render_mode": render_mode} if can_render and render_mode else {}
        with silent_deprecations():
            return Adapted(make_viewed(**rendering), contract)

    return World(name=name, make=make_adapted, contract=contract, max_steps=limit or 1000)


def _gymnasium_world(name: str, env_id: str, options: dict[str, Any]) -> World:
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        raise ValueError(
            f"`world` {name!r} needs Gymnasium, which is not installed."
            " Run `pip install gymnasium`."
        ) from error
    own, frame_s, view = _split(options)
    make = partial(gymnasium.make, env_id, disable_env_checker=True, **own)
    try:
        return world_of(make, name=name, options=options, frame_s=frame_s, view=view)
    except (gymnasium.error.Error, TypeError, ModuleNotFoundError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"`world` must be one that Gymnasium can make, got {name!r}: {reason}."
        ) from error


def _split(options: Mapping[str, Any], taken: Collection[str] = ()) -> tuple[dict, Any, dict]:
    """Return an environment's own options (`taken` are among them), `frame_s`, and the view."""
    from ncp_control.views import OPTIONS

    names = {"frame_s", *OPTIONS}.difference(taken)
    view = {key: value for key, value in options.items() if key in names}
    own = {key: value for key, value in options.items() if key not in names}
    return own, view.pop("frame_s", None), view
