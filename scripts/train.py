"""Train a policy.

    python scripts/train.py drive                          in the simulator, from an expert
    python scripts/train.py recorded --log PATH            from a person's recorded driving
    python scripts/train.py imitate --world W --expert E   in any world, from an expert
    python scripts/train.py distill --world W              in any world, from a large network
    python scripts/train.py ppo --world W                  in any world, by reinforcement
    python scripts/train.py sac --world W                  the same in fewer steps, from experience
    python scripts/train.py teacher --world W              the same, as a large network for distill
    python scripts/train.py series --data CSV --target C   from time series of your own
    torchrun --nproc-per-node 4 scripts/train.py drive     with batches shared by four processes

`--help` behind the name of a job lists its settings.
"""

from typing import Any

from ncp_control.command_line import run_command, run_job
from ncp_control.learning.launched import is_launched, rank
from scripts.training.jobs import JOBS, SHARED


def train(settings: Any) -> None:
    """Run the job that the settings belong to, or help the process of torchrun that does.

    Raises:
        ValueError: If torchrun started several processes for a job that cannot use them.
    """
    if not is_launched():
        run_command(JOBS, settings)
        return
    kinds = {command.settings.partition(":")[2]: name for name, command in JOBS.items()}
    if (job := kinds[type(settings).__name__]) not in SHARED:
        raise ValueError(
            f"`job` must be one of {', '.join(SHARED)} under torchrun with several processes, got"
            f" {job!r}. Run it in one process."
        )
    from ncp_control.learning.team import help_learning, leading

    if rank():
        help_learning()
        return
    with leading():
        run_command(JOBS, settings)


if __name__ == "__main__":
    run_job(train, JOBS, __doc__)
