"""Calibrate and test the monitor that lets a policy fail safe on a robot.

    python scripts/monitor.py calibrate POLICY     writes POLICY/monitor.json in some minutes
    python scripts/monitor.py faults POLICY        drives with faults, with and without monitor

`run.py` reads monitor.json.
"""

from ncp_control.command_line import Command, run_command, run_job

COMMANDS = {
    "calibrate": Command(
        settings="scripts.running.settings:Calibrate", run="scripts.running.calibration:calibrate"
    ),
    "faults": Command(
        settings="scripts.running.settings:Faults", run="scripts.running.campaign:campaign"
    ),
}
"""The jobs of this script."""


if __name__ == "__main__":
    run_job(lambda settings: run_command(COMMANDS, settings), COMMANDS, __doc__)
