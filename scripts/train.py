"""Train a policy.

python scripts/train.py drive                 in the simulator, from an expert
python scripts/train.py recorded --log PATH   from a person's recorded driving
python scripts/train.py drive-rl              in the simulator, by reinforcement
python scripts/train.py locomotion-ppo        walking, by reinforcement
python scripts/train.py teacher               walking, by reinforcement, as a large network
python scripts/train.py locomotion-distill    walking, from a large network that can
"""

from typing import Annotated

import tyro

from scripts.cli import run_job
from scripts.training.drive import Drive, train_drive
from scripts.training.drive_rl import DriveRL, train_drive_rl
from scripts.training.locomotion_distill import LocomotionDistill, distill_locomotion
from scripts.training.locomotion_ppo import LocomotionPPO, train_locomotion_ppo
from scripts.training.recorded import Recorded, train_recorded
from scripts.training.teacher import Teacher, train_teacher

Job = (
    Annotated[Drive, tyro.conf.subcommand("drive")]
    | Annotated[Recorded, tyro.conf.subcommand("recorded")]
    | Annotated[DriveRL, tyro.conf.subcommand("drive-rl")]
    | Annotated[LocomotionPPO, tyro.conf.subcommand("locomotion-ppo")]
    | Annotated[Teacher, tyro.conf.subcommand("teacher")]
    | Annotated[LocomotionDistill, tyro.conf.subcommand("locomotion-distill")]
)


def train(job: Drive | Recorded | DriveRL | LocomotionPPO | Teacher | LocomotionDistill) -> None:
    """Run the chosen job."""
    if isinstance(job, Drive):
        train_drive(job)
    elif isinstance(job, DriveRL):
        train_drive_rl(job)
    elif isinstance(job, LocomotionPPO):
        train_locomotion_ppo(job)
    elif isinstance(job, Teacher):
        train_teacher(job)
    elif isinstance(job, LocomotionDistill):
        distill_locomotion(job)
    else:
        train_recorded(job)


if __name__ == "__main__":
    run_job(train, Job, __doc__)
