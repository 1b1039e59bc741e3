"""A training that diverges ends with one sentence instead of a dump of tensors."""

from collections.abc import Iterator
from contextlib import contextmanager

from stable_baselines3.common.base_class import BaseAlgorithm

from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.reinforcement.checkpoint import check_training

_REFUSED_BY_TORCH = "Expected parameter "
"""How torch begins when the parameters of a distribution are not finite."""


@contextmanager
def divergence_told(model: BaseAlgorithm) -> Iterator[None]:
    """Turn what torch or an environment raises in a training that has diverged into one sentence.

    Args:
        model: What learns inside the block.

    Raises:
        DivergenceError: If the block failed, and something learned or chosen is not finite.
    """
    try:
        yield
    except DivergenceError:
        raise
    except Exception as error:
        check_training(model)
        if isinstance(error, ValueError) and str(error).startswith(_REFUSED_BY_TORCH):
            raise DivergenceError(
                "The training must stay finite, got NaN or infinity for an action after"
                f" {model.num_timesteps} steps. Begin it anew with a lower learning rate."
            ) from error
        raise
