"""Worlds by name: what a policy can act in, with the contract of each.

| name                  | world                                                             |
|-----------------------|-------------------------------------------------------------------|
| `LaneKeeping-v0`, …   | registered with `register_world`, by `envs` or by your own module  |
| `walker2d`, …         | the short name that one of these has beside its own                |
| `gymnasium:Hopper-v5` | any environment that Gymnasium knows                               |
| `my_module:make_car`  | what your function returns: a `World`, or a Gymnasium environment  |

An environment with frames takes the options of `ncp_control.views` as well, e.g. `crop_bottom=0.125
height=42 width=48 stack=2`. A registered world has only those of its own.

Everything that trains, evaluates or audits takes one of these names. It compares the contract of
the world with that of the policy, and never guesses one from a size.
"""

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
from ncp_control.returns import RETURNS, return_and_length

if TYPE_CHECKING:
    import gymnasium

    from ncp_control.episode import Episode
    from ncp_control.tensor_worlds import TensorWorlds

Measures = Callable[[Sequence["Episode"]], dict[str, float]]
"""Episodes to named numbers, e.g. the mean return."""
Expert = Callable[["gymnasium.Env", Any, dict[str, Any]], np.ndarray]
"""Environment, observation and info to the action that is right there, in [-1, 1].

The observation is one array; one of frames and numbers is a record, of which `ncp_control.records`
finds `frames_in` and `numbers_in`."""
Told = Mapping[str, np.ndarray]
"""What a world told after each action of an episode, by name."""


def speed_of(told: Told) -> dict[str, np.ndarray]:
    """Return the forward speed of a body that tells it, as MuJoCo's environments do."""
    return {"speed [m/s]": told["x_velocity"]} if "x_velocity" in told else {}


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Something that can be put between a policy and its world."""

    name: str
    """Short name, e.g. "drop"."""
    meaning: str
    """What its strength is, with its unit, e.g. "share of dropped frames"."""
    put: Callable[["gymnasium.Env", float], "gymnasium.Env"]
    """Puts it around an environment, in a strength."""
    is_of_body: bool = False
    """Whether it lies between the command and the body, as a late or a wrong actuator does."""


@dataclass(frozen=True, kw_only=True)
class World:
    """An environment with its contract, and how it is measured.

    Raises:
        TypeError: If `contract` is no contract.
    """

    name: str
    """The name by which `find_world` finds it."""
    make: Callable[..., "gymnasium.Env"]
    """Builds an environment; takes `render_mode`. Its `info` carries `time_s`, the time since the
    episode began, and `dt_s`, that since the last step [s]; `world_of` sees to both."""
    make_batch: Callable[..., "TensorWorlds"] | None = None
    """Builds many at once on a device, from `num_worlds`, `device` and `max_steps`; None if they
    can only be built one by one."""
    has_camera: bool = False
    """Whether `make` also takes `width`, `height` and `camera_name` of what it renders."""
    contract: Contract
    """What it shows and takes, at which rate, with which options."""
    measures: Measures = return_and_length
    """What is measured of episodes."""
    measure_names: tuple[str, ...] = (*RETURNS, "mean_length")
    """Names of what is measured, in order: the columns of a results file."""
    signals: Callable[[Told], dict[str, np.ndarray]] = speed_of
    """What of an episode is worth a trace, by name and unit, from what the world told."""
    expert: Expert | None = None
    """Who can be asked what to do, e.g. for imitation; None if nobody."""
    expert_name: str = "expert"
    """Who that is."""
    disturbances: tuple[Disturbance, ...] = ()
    """What can be put between a policy and the world, the innermost first."""
    brake: Callable[["gymnasium.Env", bool], None] | None = None
    """Lets an environment's body brake to a standstill, or go on; None if it can do no more than
    command nothing."""
    max_steps: int = 1000
    """Steps after which an episode is over, whatever the environment says."""

    def __post_init__(self) -> None:
        check_contract(self.contract)

    @property
    def frame_s(self) -> float:
        """Nominal interval between frames [s]."""
        return self.contract.frame_s

    def measure(self, episodes: Sequence["Episode"]) -> dict[str, float]:
        """Return what is measured of episodes.

        Raises:
            ValueError: If `measures` does not give what `measure_names` says.
        """
        measured = self.measures(episodes)
        if tuple(measured) != self.measure_names:
            raise ValueError(
                f"`measures` of the world {self.name!r} must give {self.measure_names}, its"
                f" `measure_names`, got {tuple(measured)}. Name them in the world."
            )
        return measured

    def disturbed(self, strengths: Mapping[str, float]) -> "World":
        """Return the world with disturbances around it.

        Args:
            strengths: By name; 0 leaves one out.

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

    def check_policy(self, contract: Contract | None) -> None:
        """Compare the contract of a policy with this world's.

        Raises:
            ValueError: If something does not fit, or the policy does not say what it senses.
        """
        if contract is None:
            raise ValueError(
                f"`policy` must carry a contract to act in {self.name!r}, got none. Set"
                " policy.contract to that of the world it was trained in, and save it again."
            )
        contract.check_offer(self.contract, f"the world {self.name!r}")


WORLDS: Registry[Callable[..., World]] = Registry("world")
"""What builds each world that is known by a plain name."""
SHORT_NAMES: dict[str, str] = {}
"""Names of registered worlds by the short one that a user may type instead."""


def register_world(
    name: str, factory: Callable[..., World], *, short_name: str | None = None
) -> None:
    """Make a world known by a name.

    Args:
        name: Its name, without a colon.
        factory: Builds it; its keyword arguments are the world's options.
        short_name: A name that a user may type instead.

    Raises:
        ValueError: If the name has a colon, another factory has it, or another world has one of
            the two, be it as its name or as its short name.
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
    """Return the registered name of a world by its short one; any other name as it is."""
    return SHORT_NAMES.get(name, name)


def short_name_of(name: str) -> str:
    """Return the short name of a world; its name as it is where it has none."""
    return next((short for short, known in SHORT_NAMES.items() if known == name), name)


def check_home(contract: Contract) -> None:
    """Refuse a contract whose world nobody has registered in this process.

    Raises:
        ValueError: If it has a plain name that is not known.
    """
    name = contract.world
    if name and ":" not in name and full_name(name) not in WORLDS:
        raise ValueError(
            f"`policy` must be of a world that is known here, got one of {name!r}. Add --import"
            " MODULE, the module of yours that registers it, or name another world; a policy that"
            " learned from a recorded drive takes --log."
        )


def find_world(name: str, /, **options: Any) -> World:
    """Build the world of a name.

    Args:
        name: A registered name or its short one, `gymnasium:<id>`, or `<module>:<function>`.
        options: Options of the world, e.g. observe="positions".

    Raises:
        ValueError: If the name is unknown, an option is not one of the world, one that it needs is
            missing, or a function returns neither a `World` nor an environment.
    """
    if ":" not in name:
        known = full_name(name)
        if known not in WORLDS:
            others = "gymnasium:<id>", "<module>:<function>"
            check_name("world", name, [*SHORT_NAMES, *WORLDS, *others], hint=IMPORT_HINT)
        return _built(name, WORLDS[known], options)
    module, _, attribute = name.partition(":")
    if module == "gymnasium":
        return _gymnasium_world(name, attribute, options)
    factory = import_function("world", name)
    taken = named_arguments(factory)
    view = {} if takes_any(factory) else _view_of(options, but=taken)
    ours = view if takes_any(factory) or "frame_s" in taken else {"frame_s": None, **view}
    own = {key: value for key, value in options.items() if key not in ours}
    built = _built(name, factory, own)
    if isinstance(built, World):  # it says itself how it is seen, and how often
        check_options(f"option of {name}", options, factory)
        return built
    _check_environment(name, built)
    built.close()
    frame_s = options.get("frame_s") if "frame_s" in ours else None
    make = partial(factory, **own)
    return world_of(make, name=name, options=options, frame_s=frame_s, view=view)


def _built(name: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Return what a function builds, once its options are known to be those that it takes."""
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
    """Return the world of a function that builds Gymnasium environments.

    Actions of another range are rescaled to [-1, 1], and `info` gets `time_s` where it has none.

    Args:
        make: Builds an environment. If it takes `render_mode`, the world can be filmed.
        name: The world's name.
        options: Options that the name was given, for the contract.
        frame_s: Interval between frames [s]; what the environment says if None.
        view: How frames are cropped, scaled and stacked: options of `ncp_control.views`.
        contract: What it shows and takes, with names and units; what its spaces say if None. An
            action whose range is the environment's own, e.g. -10 to 10 N, becomes a command from
            -1 to 1 with the scale to that range.

    Raises:
        ValueError: If the environment's spaces are none that a policy can sense or command, are not
            those of `contract`, or it does not say its frame interval.
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
        found = contract_of_env(probe, name=name, options=dict(options or {}), frame_s=frame_s)
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
    frame_s, view = options.get("frame_s"), _view_of(options)
    passed = {key: value for key, value in options.items() if key not in ("frame_s", *view)}
    make = partial(gymnasium.make, env_id, disable_env_checker=True, **passed)
    try:
        return world_of(make, name=name, options=options, frame_s=frame_s, view=view)
    except (gymnasium.error.Error, TypeError, ModuleNotFoundError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"`world` must be one that Gymnasium can make, got {name!r}: {reason}."
        ) from error


def _view_of(options: Mapping[str, Any], but: Collection[str] = ()) -> dict[str, Any]:
    """Return the options that say how frames are seen, but for those that a function takes."""
    from ncp_control.views import OPTIONS

    return {key: value for key, value in options.items() if key in OPTIONS and key not in but}
