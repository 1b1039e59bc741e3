"""Train many times, over seeds, cells, wirings and other settings.

    python scripts/sweep.py imitate --grid seed=0,1,2 cell=ltc,lstm -- --world LaneKeeping-v0
    python scripts/sweep.py ppo --search neurons=16..64 --grid seed=0,1 -- --world walker2d
    python scripts/sweep.py --resume runs/sweep-imitate-DATE-1

The first word is a job of `train.py`. Options after ` -- ` are passed to every training run.
"""

from ncp_control.command_line import find, run_job
from scripts.sweeping.settings import Sweep


def sweep(settings: Sweep) -> None:
    """Train all combinations, print a table, and save the best policy."""
    find("scripts.sweeping.sweep_job:sweep")(settings)


if __name__ == "__main__":
    run_job(sweep, Sweep, __doc__)
