"""The command `ncp`.

    ncp info drive-ncp                       what a policy senses and commands, its size and bounds
    ncp export drive-ncp --to c              as C99 source, or --to onnx
    ncp run drive-ncp --link udacity         drive in real time

A policy is a folder that a training has saved, or the name of a shipped one. `--help` behind the
name of a job lists its settings.
"""

from ncp_control.command_line import Command, run_command, run_job

_ROOM = "ncp_control.commands"
JOBS = {
    "info": Command(f"{_ROOM}.info:Info", f"{_ROOM}.info:info"),
    "export": Command(f"{_ROOM}.export:Export", f"{_ROOM}.export:export"),
    "run": Command(f"{_ROOM}.run:RunPolicy", f"{_ROOM}.run:run_policy"),
}
"""Where the settings of each job are, and what runs it; either is imported when it is needed."""


def main() -> None:
    """Run the job that the command line names."""
    run_job(lambda settings: run_command(JOBS, settings), JOBS, __doc__)


if __name__ == "__main__":
    main()
