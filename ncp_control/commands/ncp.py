"""The command `ncp`.

    ncp info drive-ncp                       what a policy senses and commands, its size and bounds
    ncp export drive-ncp --to c              as C99 source, or --to onnx
    ncp run drive-ncp --link udacity         drive in real time
    ncp replay drive-ncp drive.mcap          act along a recorded drive, and compare
    ncp audit drive-ncp                      what is certified, and what each neuron does
    ncp demo                                 the same on a page with the camera and the wiring

A policy is a folder that a training has saved, or the name of a shipped one. `--help` behind the
name of a job lists its settings.
"""

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
"""Where the settings of each job are, and what runs it; either is imported when it is needed."""


def main() -> None:
    """Run the job that the command line names."""
    run_job(lambda settings: run_command(JOBS, settings), JOBS, __doc__)


if __name__ == "__main__":
    main()
