"""Wrap stable-baselines3's `learn`: clear errors on divergence, no empty log folders."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from ncp_control.learning.divergence import DivergenceError, first_not_finite
from ncp_control.learning.reinforcement.checkpoint import check_learned

_REFUSED_BY_TORCH = "Expected parameter "
"""Start of torch's error message if the parameters of a distribution are not finite."""


def check_training(model: BaseAlgorithm) -> None:
    """Raise DivergenceError if training has diverged; call this between two updates.

    Raises:
        DivergenceError: If a weight, a moment of an optimizer, a running average, or the action for
            the current observation is not finite. Finite weights can be too large for finite
            actions.
    """
    check_learned(model)
    observation: Any = model._last_obs
    if observation is not None:
        with _refusal_of_torch_explained(model):
            actions, _ = model.predict(observation, deterministic=True)
        if not np.isfinite(actions).all():
            raise _no_action(model)


@contextmanager
def guarded_learning(model: BaseAlgorithm) -> Iterator[None]:
    """Replace errors that are caused by divergence within the block by a DivergenceError.

    If the model does not log anything, no log folder is created; sb3 alone would leave an empty
    temporary folder for every training run.

    Args:
        model: The algorithm that learns in the block.

    Raises:
        DivergenceError: If the block raises an error, and a learned value or an action is not
            finite.
    """
    is_silent = not (model.verbose or model.tensorboard_log or model._custom_logger)
    if is_silent:
        model.set_logger(Logger(folder=None, output_formats=[]))
    try:
        with _refusal_of_torch_explained(model):
            yield
    except DivergenceError:
        raise
    except Exception:
        check_training(model)
        raise
    finally:
        if is_silent:
            model._custom_logger = False  # so that logging can be configured later


class GuardedLearning:
    """Mixin that runs the `learn` of an sb3 algorithm inside `guarded_learning`."""

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """Learn as sb3's algorithms do.

        Raises:
            DivergenceError: If training diverges (learned values or actions are not finite).
        """
        learner: Any = super()
        with guarded_learning(cast(BaseAlgorithm, self)):
            return learner.learn(*args, **kwargs)


@contextmanager
def _refusal_of_torch_explained(model: BaseAlgorithm) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_REFUSED_BY_TORCH):
            raise
        check_learned(model)  # names the weight if one is not finite
        raise _no_action(model) from error


def _no_action(model: BaseAlgorithm) -> DivergenceError:
    """Return the error for a non-finite action, with its likely cause."""
    advice = "Begin it anew with a lower learning rate."
    if first_not_finite(model._last_obs) is not None:
        advice = "The environment returned NaN or infinity: correct its observations."
    elif not _has_learned(model):
        advice = "Nothing has been learned yet: look for the cause in the cell of the policy."
    return DivergenceError(
        "The training must stay finite, got NaN or infinity for an action after"
        f" {model.num_timesteps} steps. {advice}"
    )


def _has_learned(model: BaseAlgorithm) -> bool:
    """True if an optimizer of the model has made a step."""
    policy: Any = model.policy
    owners = [policy, *(getattr(policy, name, None) for name in ("actor", "critic"))]
    optimizers = [getattr(owner, "optimizer", None) for owner in owners]
    return any(one is not None and bool(one.state) for one in optimizers)
