"""Where a policy learns: the world that was named, or else that of a policy."""

import json
from collections.abc import Mapping
from typing import Any

from ncp_control.keyword_options import read_options
from ncp_control.policy import Policy
from scripts.evaluation.locomotion import WalkSettings, home_of, plain_stem
from scripts.training.settings import Learner


def where_to_learn(settings: Learner, policy: Policy | None = None) -> WalkSettings:
    """Return the world in which a policy learns and is measured, with its disturbances.

    Args:
        settings: What was asked for.
        policy: The policy whose world it is unless another was named: a teacher, or one whose
            circuit goes on learning.

    Raises:
        ValueError: If the world is left to a policy whose contract names none.
    """
    env, options = settings.world or "halfcheetah", read_options(settings.world_options)
    if settings.world is None and policy is not None and policy.contract is not None:
        env, observe, known = home_of(policy)
        options = {"observe": observe} | read_options(known) | options
    return place(env, options, episodes=settings.evaluation_episodes, **settings.disturbances)


def place(env: str, options: Mapping[str, Any], **fields: Any) -> WalkSettings:
    """Return a world by name.

    Args:
        env: Its name.
        options: Its options.
        **fields: Further fields of `WalkSettings`.
    """
    others = {name: value for name, value in options.items() if name != "observe"}
    words = tuple(f"{name}={json.dumps(value)}" for name, value in others.items())
    observe = str(options.get("observe", "full"))
    return WalkSettings(env=env, observe=observe, options=words, **fields)


def describe_place(where: WalkSettings) -> str:
    """Return a world and what is observed there, as rows of results begin."""
    return " ".join([where.env, where.observe, *where.options])


def run_name(where: WalkSettings, who: str) -> str:
    """Return the middle part of the name of a run folder."""
    observed = () if where.observe == "full" else (where.observe,)
    return "-".join([plain_stem(where.env), *observed, who])
