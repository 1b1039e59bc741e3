"""Learn to walk, by reinforcement or from a teacher, and add the result to a table."""

import torch

from ncp_control.learning.results import ResultsFile
from ncp_control.policy import Policy
from scripts.markdown import markdown_table
from scripts.training import locomotion_distill, locomotion_ppo
from scripts.training.locomotion_settings import Locomotion, describe, settings_of
from scripts.training.resumption import add_row

WAYS = {
    "ppo": (locomotion_ppo.MEASURES, locomotion_ppo.reinforce),
    "distill": (locomotion_distill.MEASURES, locomotion_distill.distill),
}
"""What is measured, and what trains, by the name of the way."""


TABLES = {"ppo": "reinforcement.csv", "distill": "distillation.csv"}
"""The table in a folder of tables, by the name of the way."""


def train_locomotion(settings: Locomotion) -> Policy:
    """Train, evaluate, save the policy and add a row to the results."""
    if settings.resume is not None:
        settings = settings_of(settings)
    torch.set_num_threads(1)  # twice as fast as two for networks of this size
    measures, train = WAYS[settings.how]
    path = settings.results
    if path is not None and path.is_dir():
        path /= TABLES[settings.how]
    results = ResultsFile(path, measures)  # refused before the training, if so
    policy, measured, run = train(settings)
    results.place(run.results)
    add_row(results, settings, settings.cell, describe(settings), measured)
    columns = [name for name in measures if name != "curve"]
    cells = [settings.cell, str(settings.seed), *(str(measured[name]) for name in columns)]
    print(markdown_table(["cell", "seed", *columns], [cells]))
    print(f"results: {results.path}")
    return policy
