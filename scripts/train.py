"""Train a policy.

    python scripts/train.py drive                          imitate an expert in the simulator
    python scripts/train.py recorded --log PATH            imitate a person's recorded driving
    python scripts/train.py imitate --world W --expert E   imitate an expert in any environment
    python scripts/train.py distill --world W              imitate a large teacher network
    python scripts/train.py ppo --world W                  reinforcement learning (PPO)
    python scripts/train.py sac --world W                  the same in fewer steps (SAC, TQC)
    python scripts/train.py teacher --world W              train a large network for distill
    python scripts/train.py series --data CSV --target C   learn from your own time series
    torchrun --nproc-per-node 4 scripts/train.py drive     share batches among four processes

`--help` after the name of a job lists its settings.
"""

from typing import Any

from ncp_control.command_line import run_command, run_job
from ncp_control.learning.launched import is_launched, rank
from scripts.training.jobs import JOBS, SHARED


def train(settings: Any) -> None:
    """Run the job of the settings. Under torchrun, processes but the first only help it.

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
