"""Discrete actions: the circuit has one output for each choice, its score.

For an action of several entries, e.g. one of 3 gears and one of 2 lamps, `choices` is (3, 2) and
the outputs of the entries follow each other: first 3, then 2. The choice with the highest score of
each entry is taken. Training samples from the softmax of an entry's scores.
"""

from collections.abc import Sequence

import numpy as np

from ncp_control.contract_parts import ActionContract
from ncp_control.ranges import check_count


def check_choices(choices: Sequence[int], num_outputs: int) -> tuple[int, ...]:
    """Return the numbers of choices as a tuple.

    Raises:
        ValueError: If they are not positive whole numbers, or their sum is not the number of
            outputs.
    """
    counts = tuple(check_count("choices", count) for count in choices)
    if counts and sum(counts) != num_outputs:
        raise ValueError(
            f"`cell` must have {sum(counts)} outputs, one for each of the choices {list(counts)},"
            f" got {num_outputs}. Build its wiring with that many motor neurons."
        )
    return counts


def check_same_choices(choices: Sequence[int], action: Sequence[ActionContract]) -> None:
    """Check that a policy has the choices of a contract's action.

    Raises:
        ValueError: If they differ.
    """
    offered = [len(entry.choices) for entry in action]
    if (list(choices) or [0] * len(offered)) != offered:
        raise ValueError(
            f"`contract` must have {_described(choices)} as the policy has, got"
            f" {_described(offered)}. Build the policy for the choices of its world."
        )


def choose(scores: np.ndarray, choices: Sequence[int]) -> np.ndarray:
    """Return the index of the choice with the highest score, for each entry.

    Args:
        scores: Scores of the choices of all entries, shape (…, output).
        choices: Number of choices of each entry.

    Returns:
        Indices from 0, int64 of shape (…, entry).
    """
    blocks = np.split(scores, np.cumsum(choices)[:-1], axis=-1)
    return np.stack([block.argmax(axis=-1) for block in blocks], axis=-1)


def _described(choices: Sequence[int]) -> str:
    """Describe choices for an error message."""
    return f"actions of {list(choices)} choices" if any(choices) else "numbers as actions"
