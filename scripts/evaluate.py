"""Evaluate a saved policy.

    python scripts/evaluate.py POLICY                              in the world of its contract
    python scripts/evaluate.py POLICY --noise 0 0.1 --drop 0 0.2   under disturbances
    python scripts/evaluate.py DRIVER --condition fog:3 blackout   where the camera fails
    python scripts/evaluate.py POLICY --world gymnasium:Hopper-v5  in another world
    python scripts/evaluate.py POLICY --backend torch c c:int8     as exported, on the same tracks
    python scripts/evaluate.py POLICY --workers 4                  in four processes, same numbers
    python scripts/evaluate.py DRIVER --log PATH                   along a recording

A policy is a folder: what `train.py` printed, or one of policies/pretrained.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ncp_control.command_line import find, run_job
from scripts.evaluation.settings import Evaluate


def evaluate_policy(settings: Evaluate) -> None:
    """Evaluate, print a table, and write a report."""
    job = "scripts.evaluation.evaluation_job:evaluate_policy"
    if settings.workers == 1:
        find(job)(settings)
        return
    from ncp_control.workers import Workers

    # They import what they need while this process does.
    fields = {one.name: getattr(settings, one.name) for one in dataclasses.fields(settings)}
    with Workers(settings.workers, _begin_worker, fields) as workers:
        find(job)(settings, workers)


def _begin_worker(fields: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return what a worker does; it alone imports what that takes."""
    return find("scripts.evaluation.sharing:begin_worker")(fields)


if __name__ == "__main__":
    run_job(evaluate_policy, Evaluate, __doc__)
