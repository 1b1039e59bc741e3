"""Environment in which a policy is trained: the given one, or that of a given policy."""

from ncp_control.keyword_options import read_options
from ncp_control.policy import Policy
from scripts.disturbances import DISTURBANCE_OF, check_disturbance
from scripts.evaluation.worlds import WorldSettings, home_of, plain_stem
from scripts.training.settings import Learner


def where_to_learn(settings: Learner, policy: Policy | None = None) -> WorldSettings:
    """Return the environment for training and evaluation, with its disturbances.

    Args:
        settings: Settings of the job.
        policy: A teacher, or a policy to train further. Its environment is used if the settings
            name none.

    Raises:
        ValueError: If the settings name no environment, and neither does the policy's contract, or
            the environment does not have a disturbance of the settings.
    """
    env, options = settings.world or "halfcheetah", read_options(settings.world_options)
    if settings.world is None and policy is not None and policy.contract is not None:
        home = home_of(policy)
        env, options = home.env, {**home.options, **options}
    strengths = {name: getattr(settings, setting) for setting, name in DISTURBANCE_OF.items()}
    episodes = settings.evaluation_episodes
    where = WorldSettings(env=env, options=options, episodes=episodes, strengths=strengths)
    for setting, name in DISTURBANCE_OF.items():
        check_disturbance(where.world, name, setting, strengths[name])
    return where


def run_name(where: WorldSettings, who: str) -> str:
    """Return the middle part of the name of a run folder."""
    observed = () if where.observe == "full" else (where.observe,)
    return "-".join([plain_stem(where.env), *observed, who])
