"""The command `ncp`.

    ncp info drive-ncp                       print a policy's observations, actions, size and bounds
    ncp export drive-ncp --to c              write it as C99 source, or --to onnx
    ncp run drive-ncp --link udacity         drive in real time
    ncp replay drive-ncp drive.mcap          run it on a recorded drive, and compare the actions
    ncp audit drive-ncp                      print certified bounds and a table of its neurons
    ncp info                                 list the shipped policies
    ncp demo                                 show its neurons, camera and wiring on a web page

A policy is a folder that training has saved, or the name of a shipped policy. `--help` after the
name of a job lists its settings, and `ncp --version` prints the version.
"""

import sys

from ncp_control import __version__
from ncp_control.command_line import Command, run_command, run_job

_ROOM = "ncp_control.commands"
JOBS = {
    "info": Command(f"{_ROOM}.info:Info", f"{_ROOM}.info:info"),
    "export": Command(f"{_ROOM}.export:Export", f"{_ROOM}.export:export"),
    "run": Command(f"{_ROOM}.run:RunPolicy", f"{_ROOM}.run:run_policy"),
    "replay": Command(f"{_ROOM}.replay:Replay", f"{_ROOM}.replay:replay"),
    "audit": Command(f"{_ROOM}.audit:AuditPolicy", f"{_ROOM}.audit:audit_policy"),
    "demo": Command(f"{_ROOM}.demo:Demo", f"{_ROOM}.demo:demo"),
}
"""Settings class and function of each job; both are imported only when the job is chosen."""


def main() -> None:
    """Run the job that the command line names, or print the version."""
    if sys.argv[1:] == ["--version"]:
        print(f"ncp-control {__version__}")
        return
    run_job(lambda settings: run_command(JOBS, settings), JOBS, __doc__)


if __name__ == "__main__":
    main()
