"""Trains small policies by imitation, for the tests beside it."""

import csv

from ncp_control.learning.imitation import (
    ImitationConfig,
    imitate,
    imitation_error,
)
from ncp_control.learning.run import Run


def train(policy, store, root, **settings):
    config = ImitationConfig(**({"epochs": 3, "window": 20, "batch_size": 8} | settings))
    run = Run.create("test", "tiny", config, root=root)
    best = imitate(
        policy, [store], config, run, validate=lambda p: {"score": imitation_error(p, store)}
    )
    return best, run


def rows(run):
    with open(run.folder / "metrics.csv") as file:
        return list(csv.DictReader(file))
