"""Reasons to doubt what `train.py series` learns, each a sentence for the user."""

from collections.abc import Mapping, Sequence

import numpy as np

from envs.series import MISSING, TimeSeries
from envs.series_rows import RowCoder, SeriesRows
from ncp_control.learning.demonstrations import Demonstrations, Windows
from ncp_control.learning.settings import ImitationConfig
from ncp_control.policy.scaling import RELATIVE_DEVIATION
from scripts.training.series_report import linear, most_frequent, without_inputs
from scripts.training.series_settings import Series

FEW_STEPS = 300
"""Optimizer steps below which a training hardly ends with a circuit that has learned."""
REMEDY = "Raise --imitation.epochs, or lower --imitation.batch-size or --imitation.window"


def doubts_of(
    parts: Mapping[str, Sequence[TimeSeries]], coder: RowCoder, settings: Series
) -> list[str]:
    """Return what is doubtful about the columns and classes, for the series of each part."""
    doubts = []
    if unseen := unseen_columns(parts["train"][0], coder, settings):
        doubts.append(
            f"not seen, since they hold no numbers in the training part: {', '.join(unseen)}. Name"
            " a column of times with --time; write words as numbers to have them seen"
        )
    if clocks := clock_columns(parts["train"], coder, settings):
        doubts.append(
            f"inputs that rise in every row, as a clock does: {', '.join(clocks)}. Name a"
            " column of times with --time; with --inputs, name the columns to be seen"
        )
    doubts += constant_columns(parts["train"], coder)
    if doubtful := [name for name in coder.classes if name.casefold() in MISSING]:
        doubts.append(
            f"{', '.join(map(repr, doubtful))} in {settings.target[0]!r} is taken for a class."
            " Leave cells empty whose class is unknown"
        )
    if unknown := coder.unknown_classes([*parts["validation"], *parts["test"]]):
        names = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        doubts.append(
            f"classes that the training part has not: {names}. They cannot be learned, and their"
            " test rows count as wrong"
        )
    return doubts


def unseen_columns(one: TimeSeries, coder: RowCoder, settings: Series) -> list[str]:
    """Return the columns that are not used although the settings name no inputs."""
    used = {*coder.inputs, *coder.targets}
    return [] if settings.inputs else [name for name in one.columns if name not in used]


def clock_columns(series: Sequence[TimeSeries], coder: RowCoder, settings: Series) -> list[str]:
    """Return the inputs that rise in every row; none if the settings name inputs or the time.

    A policy that sees a clock learns when something was recorded; the test part is always later.
    """
    if settings.inputs or settings.time is not None:
        return []
    long = [one.columns for one in series if len(one) > 2]
    return [
        name
        for name in coder.inputs
        if long and all((np.diff(columns[name]) > 0.0).all() for columns in long)
    ]


def constant_columns(series: Sequence[TimeSeries], coder: RowCoder) -> list[str]:
    """Return a sentence for the inputs that never change, and for each whose changes are lost.

    A policy takes numbers in single precision, in which small changes of large numbers vanish.
    """
    doubts, constant = [], []
    for name in coder.inputs:
        values = np.concatenate([one.columns[name] for one in series])
        values = values[np.isfinite(values)]
        largest = np.abs(values).max()
        if values.std() > RELATIVE_DEVIATION * largest:
            continue
        if np.ptp(values) == 0.0:
            constant.append(name)
            continue
        lost = np.spacing(np.float32(largest))
        doubts.append(
            f"{name!r} is seen as constant: differences below {lost:.3g} are lost in single"
            f" precision. Subtract {coder.means[name]:.6g} from the column first"
        )
    if constant:
        told = f"inputs that are constant in the training part: {', '.join(constant)}. Leave them"
        doubts.insert(0, f"{told} out with --inputs if they teach nothing")
    return doubts


def doubts_of_steps(store: Demonstrations, config: ImitationConfig) -> list[str]:
    """Return a sentence if a training on a store has few optimizer steps."""
    count = config.epoch_steps
    if count is None:
        count = len(Windows(store, config.window, config.batch_size, config.seed))
    planned = config.epochs * count
    if planned >= FEW_STEPS:
        return []
    return [f"only {planned} optimizer steps in all ({count} in each epoch). {REMEDY}"]


def doubts_of_result(
    coder: RowCoder, rows: Mapping[str, Sequence[SeriesRows]], answers: Sequence[np.ndarray]
) -> list[str]:
    """Return a sentence if a simple predictor has a lower error in the test part.

    Args:
        coder: Scaling of the targets, and their classes.
        rows: Rows of the series of each part, all labelled.
        answers: Outputs of the policy for each series of the test part, shape (rows, outputs).
    """
    wanted = np.concatenate([one.wanted for one in rows["test"]])
    outputs = np.concatenate(answers)
    if coder.classes:
        own = np.mean(outputs.argmax(axis=1) != wanted[:, 0])
        is_wrong = wanted != most_frequent(rows)
        errors = {"always telling the most frequent class": np.mean(is_wrong)}
    else:
        own = np.mean((outputs.clip(-1.0, 1.0) - wanted) ** 2)
        blind = reversed(without_inputs(rows).items())
        simple = {"a linear map of each row": linear(rows), **{f"the {who}": v for who, v in blind}}
        errors = {who: np.mean((said - wanted) ** 2) for who, said in simple.items()}
    better = [who for who, error in errors.items() if error < own]
    return [f"{' and '.join(better)} had a lower error than the policy. {REMEDY}"] if better else []
