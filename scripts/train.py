"""Train a policy.

    python scripts/train.py drive                 in the simulator, from an expert
    python scripts/train.py recorded --log PATH   from a person's recorded driving
    python scripts/train.py imitate --world W --expert E   from an expert in any world
    python scripts/train.py drive-rl              in the simulator, by reinforcement
    python scripts/train.py teacher               walking, by reinforcement, as a large network
    python scripts/train.py locomotion --how distill   walking, from such a network
    python scripts/train.py locomotion --how ppo  walking, by reinforcement, as a circuit

`--help` behind the name of a job lists its settings.
"""

from typing import Annotated

import tyro

from scripts.cli import run_job
from scripts.training.drive import Drive, train_drive
from scripts.training.drive_rl import DriveRL, train_drive_rl
from scripts.training.imitate import Imitate, train_imitate
from scripts.training.locomotion import train_locomotion
from scripts.training.locomotion_settings import Locomotion
from scripts.training.recorded import Recorded, train_recorded
from scripts.training.teacher import Teacher, train_teacher

Job = (
    Annotated[Drive, tyro.conf.subcommand("drive")]
    | Annotated[Recorded, tyro.conf.subcommand("recorded")]
    | Annotated[Imitate, tyro.conf.subcommand("imitate")]
    | Annotated[DriveRL, tyro.conf.subcommand("drive-rl")]
    | Annotated[Teacher, tyro.conf.subcommand("teacher")]
    | Annotated[Locomotion, tyro.conf.subcommand("locomotion")]
)


def train(job: Drive | Recorded | Imitate | DriveRL | Teacher | Locomotion) -> None:
    """Run the chosen job."""
    if isinstance(job, Drive):
        train_drive(job)
    elif isinstance(job, Imitate):
        train_imitate(job)
    elif isinstance(job, DriveRL):
        train_drive_rl(job)
    elif isinstance(job, Teacher):
        train_teacher(job)
    elif isinstance(job, Locomotion):
        train_locomotion(job)
    else:
        train_recorded(job)


if __name__ == "__main__":
    run_job(train, Job, __doc__)
