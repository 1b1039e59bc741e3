"""Errors of a policy on a recording, beside those of two drivers that see nothing.

| driver | command |
|---|---|
| always neutral | the one that stands for the value nearest to zero |
| persistence | the recorded one of the previous frame; neutral in the first frame of an episode |

Persistence knows the last recorded command, which no policy gets. It shows how little changes from
one frame to the next.
"""

from collections.abc import Sequence

import numpy as np

from ncp_control.contract import ActionContract
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.markdown import markdown_table
from scripts.reporting import Table


def root_errors(
    name: str, predicted: np.ndarray, store: Demonstrations, action: Sequence[ActionContract]
) -> Table:
    """Return the root mean squared error of each action in its unit, in a row for each action.

    Args:
        name: Name of the policy.
        predicted: Its actions in all frames, shape (frames, action).
        store: The recording.
        action: Contract of the actions.
    """
    wanted = store.actions.astype(np.float64)
    neutral = np.array([entry.neutral for entry in action])
    drivers = {
        name: predicted,
        "always neutral": np.broadcast_to(neutral, wanted.shape),
        "persistence": earlier_actions(store, neutral),
    }
    roots = [np.sqrt(np.mean((acted - wanted) ** 2, axis=0)) for acted in drivers.values()]
    rows = []
    for i, entry in enumerate(action):
        _, factor = entry.scale or (0.0, 1.0)
        named = f"{entry.name} [{entry.unit}]" if entry.unit else entry.name
        rows.append([named, *(abs(factor) * float(root[i]) for root in roots)])
    return Table(header=["RMSE of", *drivers], rows=rows)


def rounded(roots: Table) -> str:
    """Return `root_errors` as a table in Markdown."""
    rows = [[named, *(f"{root:.4g}" for root in rest)] for named, *rest in roots.rows]
    return markdown_table(roots.header, rows)


def earlier_actions(store: Demonstrations, first: np.ndarray) -> np.ndarray:
    """Return the recorded actions of the previous frame, shape (frames, action), float64.

    Args:
        store: The recording.
        first: Action returned for the first frame of each episode, shape (action,).
    """
    earlier = np.roll(store.actions.astype(np.float64), 1, axis=0)
    earlier[store.episode_starts] = first
    return earlier
