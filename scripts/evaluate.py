"""Evaluate a saved policy.

    python scripts/evaluate.py POLICY                              in its own environment
    python scripts/evaluate.py POLICY --noise 0 0.1 --drop 0 0.2   under disturbances
    python scripts/evaluate.py DRIVER --condition fog:3 blackout   with failures of the camera
    python scripts/evaluate.py POLICY --world gymnasium:Hopper-v5  in another environment
    python scripts/evaluate.py POLICY --backend torch c c:int8     exported, in the same episodes
    python scripts/evaluate.py POLICY --workers 4                  in four processes, same numbers
    python scripts/evaluate.py DRIVER --log PATH                   on a recording

POLICY is a policy folder printed by `train.py`, or one of policies/pretrained.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ncp_control.command_line import find, run_job
from scripts.evaluation.settings import Evaluate


def evaluate_policy(settings: Evaluate) -> None:
    """Evaluate a policy, print a table, and write a report."""
    job = "scripts.evaluation.evaluation_job:evaluate_policy"
    if settings.workers == 1:
        find(job)(settings)
        return
    from ncp_control.workers import Workers

    # Workers import the modules that they need while this process imports its own.
    fields = {one.name: getattr(settings, one.name) for one in dataclasses.fields(settings)}
    with Workers(settings.workers, _begin_worker, fields) as workers:
        find(job)(settings, workers)


def _begin_worker(fields: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return the function that a worker calls on its tasks; imports run in the worker alone."""
    return find("scripts.evaluation.sharing:begin_worker")(fields)


if __name__ == "__main__":
    run_job(evaluate_policy, Evaluate, __doc__)
