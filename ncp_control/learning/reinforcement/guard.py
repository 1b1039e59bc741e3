"""What surrounds a training by sb3: it diverges in one sentence, and leaves no empty folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.reinforcement.checkpoint import check_learned

_REFUSED_BY_TORCH = "Expected parameter "
"""How torch begins when the parameters of a distribution are not finite."""


def check_training(model: BaseAlgorithm) -> None:
    """Refuse to go on with a training that has diverged; call it between two updates.

    Raises:
        DivergenceError: If a weight, a moment of an optimizer, a running average, or an action for
            what the model sees now is not finite. Weights can be finite and too large to act with.
    """
    check_learned(model)
    seen: Any = model._last_obs
    if seen is not None:
        with _refusal_of_torch_told(model):
            actions, _ = model.predict(seen, deterministic=True)
        if not np.isfinite(actions).all():
            raise _no_action(model)


@contextmanager
def guarded_learning(model: BaseAlgorithm) -> Iterator[None]:
    """Turn what torch or an environment raises in a training that has diverged into one sentence.

    A model that was told to log nothing makes no folder for a log; sb3 alone would leave an empty
    one among the temporary files for every training.

    Args:
        model: What learns inside the block.

    Raises:
        DivergenceError: If the block failed, and something learned or chosen is not finite.
    """
    is_silent = not (model.verbose or model.tensorboard_log or model._custom_logger)
    if is_silent:
        model.set_logger(Logger(folder=None, output_formats=[]))
    try:
        with _refusal_of_torch_told(model):
            yield
    except DivergenceError:
        raise
    except Exception:
        check_training(model)
        raise
    finally:
        if is_silent:
            model._custom_logger = False  # so that it may be told to log later


class GuardedLearning:
    """Makes an algorithm of sb3 learn as it does, inside `guarded_learning`."""

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """Learn as sb3's algorithms do.

        Raises:
            DivergenceError: If the training reaches numbers that are not finite.
        """
        learner: Any = super()
        with guarded_learning(cast(BaseAlgorithm, self)):
            return learner.learn(*args, **kwargs)


@contextmanager
def _refusal_of_torch_told(model: BaseAlgorithm) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_REFUSED_BY_TORCH):
            raise
        check_learned(model)  # names a weight, if it is one
        raise _no_action(model) from error


def _no_action(model: BaseAlgorithm) -> DivergenceError:
    """Return the error for an action that is not finite, with its likely cause."""
    advice = "Begin it anew with a lower learning rate."
    if not _is_finite(cast(Any, model._last_obs)):
        advice = "The environment showed NaN or infinity: mend its observations."
    elif not cast(Any, model)._n_updates:
        advice = "Nothing has been learned yet: look for the cause in the cell of the policy."
    return DivergenceError(
        "The training must stay finite, got NaN or infinity for an action after"
        f" {model.num_timesteps} steps. {advice}"
    )


def _is_finite(observation: np.ndarray | Mapping[str, np.ndarray] | None) -> bool:
    parts = observation.values() if isinstance(observation, Mapping) else [observation]
    return all(part is None or np.isfinite(part).all() for part in parts)
