"""Train a policy.

python scripts/train.py drive                 in the simulator, from an expert
python scripts/train.py recorded --log PATH   from a person's recorded driving
python scripts/train.py locomotion-ppo        a walking body, by reinforcement
"""

from typing import Annotated

import tyro

from scripts.cli import run_job
from scripts.train_drive import Drive, train_drive
from scripts.train_locomotion_ppo import LocomotionPPO, train_locomotion_ppo
from scripts.train_recorded import Recorded, train_recorded

Job = (
    Annotated[Drive, tyro.conf.subcommand("drive")]
    | Annotated[Recorded, tyro.conf.subcommand("recorded")]
    | Annotated[LocomotionPPO, tyro.conf.subcommand("locomotion-ppo")]
)


def train(job: Drive | Recorded | LocomotionPPO) -> None:
    """Run the chosen job."""
    if isinstance(job, Drive):
        train_drive(job)
    elif isinstance(job, LocomotionPPO):
        train_locomotion_ppo(job)
    else:
        train_recorded(job)


if __name__ == "__main__":
    run_job(train, Job, __doc__)
