"""Actions that are choices: one output of the circuit for each choice, its score.

An action of several entries, e.g. one of 3 gears and one of 2 lamps, has the outputs of all entries
one after the other: 3 and 2. `choices` is (3, 2). Of each entry, the choice with the highest score
is taken; softmax of an entry's scores gives the probabilities from which a training draws.
"""

from collections.abc import Sequence

import numpy as np

from ncp_control.contract_parts import ActionContract
from ncp_control.ranges import check_count


def check_choices(choices: Sequence[int], num_outputs: int) -> tuple[int, ...]:
    """Return the numbers of choices as a tuple.

    Raises:
        ValueError: If they are no positive whole numbers, or the circuit has more or fewer outputs
            than there are choices.
    """
    counts = tuple(check_count("choices", count) for count in choices)
    if counts and sum(counts) != num_outputs:
        raise ValueError(
            f"`cell` must have {sum(counts)} outputs, one for each of the choices {list(counts)},"
            f" got {num_outputs}. Build its wiring with that many motor neurons."
        )
    return counts


def check_same_choices(choices: Sequence[int], action: Sequence[ActionContract]) -> None:
    """Compare the choices of a policy with those of a contract's action.

    Raises:
        ValueError: If they are not the same.
    """
    offered = [len(entry.choices) for entry in action]
    if (list(choices) or [0] * len(offered)) != offered:
        raise ValueError(
            f"`contract` must have {_told(choices)} as the policy has, got {_told(offered)}."
            " Build the policy for the choices of its world."
        )


def choose(scores: np.ndarray, choices: Sequence[int]) -> np.ndarray:
    """Return the number of the highest score of each entry.

    Args:
        scores: Scores of all entries' choices, shape (…, output).
        choices: How many choices each entry has.

    Returns:
        Numbers from 0, int64 of shape (…, entry).
    """
    blocks = np.split(scores, np.cumsum(choices)[:-1], axis=-1)
    return np.stack([block.argmax(axis=-1) for block in blocks], axis=-1)


def _told(choices: Sequence[int]) -> str:
    """Return choices as an error tells them."""
    return f"actions of {list(choices)} choices" if any(choices) else "numbers as actions"
