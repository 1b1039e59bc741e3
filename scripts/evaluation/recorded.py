"""Errors of a policy on a recording, beside those of drivers that see nothing.

| driver | command |
|---|---|
| mean of the recording | the mean of each action |
| always neutral | the one that stands for the value nearest to zero |
| most frequent choice | where actions are choices, instead of mean and neutral |
| persistence | the recorded one of the previous frame; of a forecast, the last known value |

Persistence knows the last recorded command, which no policy gets. It shows how little changes from
one frame to the next. At the beginning of an episode it is the mean, or the most frequent choice.
"""

from collections.abc import Sequence

import numpy as np

from ncp_control.contract import ActionContract
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.imitation import error_of
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy
from scripts.reporting import Table


def errors_table(
    name: str,
    policy: Policy,
    predicted: np.ndarray,
    store: Demonstrations,
    action: Sequence[ActionContract],
) -> Table:
    """Return the errors of a policy and of the other drivers, in a row for each action.

    They are root mean squared errors in the unit of the action, or shares of wrong choices, over
    the labelled frames.

    Args:
        name: Name of the policy.
        policy: The policy.
        predicted: Its outputs in all frames, shape (frames, outputs), see `predict_all`.
        store: The recording.
        action: Contract of the actions.
    """
    counted = store.is_labelled
    wanted = store.actions[counted].astype(np.float64)
    if policy.choices:
        usual = _usual_choices(wanted)
        drivers = {"most frequent choice": usual}
        measured, factors = "share of wrong choices of", np.ones(len(action))
    else:
        usual = wanted.mean(axis=0)
        neutral = np.array([entry.neutral for entry in action])
        drivers = {"mean of the recording": usual, "always neutral": neutral}
        measured = "RMSE of"
        factors = np.array([abs(one.scale[1]) if one.scale else 1.0 for one in action])
    drivers["persistence"] = earlier_actions(store, usual)[counted]
    drivers = {name: policy.command(predicted)[counted], **drivers}
    errors = []
    for acted in drivers.values():
        if policy.choices:
            errors.append(np.mean(acted != wanted, axis=0))
        else:
            errors.append(factors * np.sqrt(np.mean((acted - wanted) ** 2, axis=0)))
    rows = [
        [f"{one.name} [{one.unit}]" if one.unit else one.name, *map(float, row)]
        for one, row in zip(action, np.array(errors).T, strict=True)
    ]
    return Table(header=[measured, *drivers], rows=rows)


def measure_names(policy: Policy) -> tuple[str, str]:
    """Return the columns of the results file: the policy's error, and that of the usual action."""
    if policy.choices:
        return "wrong_share", "usual_wrong_share"
    return "mean_squared_error", "action_variance"


def measure(policy: Policy, predicted: np.ndarray, store: Demonstrations) -> dict[str, float]:
    """Return the values of `measure_names`, means over all actions.

    Args:
        policy: The policy.
        predicted: Its outputs in all frames, shape (frames, outputs), see `predict_all`.
        store: The recording.
    """
    wanted = store.actions[store.is_labelled]
    if policy.choices:
        usual_error = float(np.mean(wanted != _usual_choices(wanted)))
    else:
        usual_error = float(wanted.var(axis=0, dtype=np.float64).mean())
    errors = error_of(policy, predicted, store), usual_error
    return dict(zip(measure_names(policy), errors, strict=True))


def _usual_choices(wanted: np.ndarray) -> np.ndarray:
    """Return the most frequent choice of each action, shape (action,)."""
    return np.array([np.bincount(one).argmax() for one in wanted.T.astype(int)])


def rounded(errors: Table) -> str:
    """Return `errors_table` in Markdown."""
    rows = [[named, *(f"{error:.4g}" for error in rest)] for named, *rest in errors.rows]
    return markdown_table(errors.header, rows)


def earlier_actions(store: Demonstrations, first: np.ndarray) -> np.ndarray:
    """Return the last actions that were known before each frame, shape (frames, action), float64.

    These are those of the previous frame, or of the last frame whose target is in the past if a
    store holds forecasts (`rows_ahead` in its source).

    Args:
        store: The recording.
        first: Action returned where none is known yet in an episode, shape (action,).
    """
    frames_ago = max(store.source.get("rows_ahead", 1), 1)
    earlier = np.roll(store.actions.astype(np.float64), frames_ago, axis=0)
    for start in store.episode_starts.tolist():
        earlier[start : start + frames_ago] = first
    return earlier
