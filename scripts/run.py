"""Run a policy on a robot, in a simulator, or in one of our environments, in real time.

    python scripts/run.py drive-ncp --link world --loop.seconds 20
    python scripts/run.py drive-ncp --link world --backend c --link-options tracks=held_out seed=3
    python scripts/run.py drive-ncp --backend program:./controller_pipe   exported C
    python scripts/run.py drive-ncp --link udacity       then start its autonomous mode
    python scripts/run.py drive-ncp --link donkey-sim:generated_road    after its start
    python scripts/run.py drive-ncp --link video:drive.mp4
    python scripts/run.py drive-ncp --link ros2 --link-options speed_mps=0.5 wheelbase_m=0.26
    python scripts/run.py drive-ncp --record             writes RUN/recording.mcap, for Foxglove
    python scripts/run.py drive-ncp --replay RUN/recording.mcap --tolerance 1e-4
    python scripts/train.py recorded --log RUN/recording.mcap
    python scripts/monitor.py calibrate RUN/policy       fits the monitor to usual inputs

Ctrl-C, SIGTERM and a lost link end with a safe stop.
"""

from ncp_control.command_line import run_job
from ncp_control.commands.run import RunPolicy, run_policy

if __name__ == "__main__":
    run_job(lambda settings: run_policy(settings, modules=["envs"]), RunPolicy, __doc__)
