"""Errors of a policy on a recording, beside those of drivers that see nothing.

| driver | command |
|---|---|
| mean of the recording | the mean of each action |
| always neutral | the one that stands for the value nearest to zero |
| most frequent choice | where actions are choices, instead of mean and neutral |
| persistence | the recorded one of the previous frame; of a forecast, the last known value |

Persistence knows the last recorded command, which no policy gets. It shows how little changes from
one frame to the next. Where a part begins in the middle of a drive, it is that of the frame before
the part. At the beginning of a drive there is none: such frames do not count for persistence.
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
    drivers = {name: policy.command(predicted)[counted], **drivers}
    earlier = earlier_actions(store)[counted]
    if is_known(earlier).any():
        drivers["persistence"] = earlier
    errors = []
    for acted in drivers.values():
        acted = np.broadcast_to(acted, wanted.shape)
        known = is_known(acted)
        if policy.choices:
            errors.append(np.mean(acted[known] != wanted[known], axis=0))
        else:
            errors.append(factors * np.sqrt(np.mean((acted - wanted)[known] ** 2, axis=0)))
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


def earlier_actions(store: Demonstrations) -> np.ndarray:
    """Return the last actions that were known before each frame, shape (frames, action), float64.

    These are those of the previous frame, or of the last frame whose target is in the past if a
    store holds forecasts (`rows_ahead` in its source). At the beginning of an episode they are
    those of the frame before it (`actions_before` in the source), or NaN if there is none.

    Args:
        store: The recording.
    """
    frames_ago = max(store.source.get("rows_ahead", 1), 1)
    earlier = np.roll(store.actions.astype(np.float64), frames_ago, axis=0)
    before = store.source.get("actions_before", [None] * store.num_episodes)
    for start, actions in zip(store.episode_starts.tolist(), before, strict=True):
        earlier[start : start + frames_ago] = np.nan if actions is None else actions
    return earlier


def is_known(acted: np.ndarray) -> np.ndarray:
    """True for frames in which a driver has an action, shape (frames,); see `earlier_actions`."""
    return np.all(np.isfinite(acted), axis=1)
