"""Inspect recordings and prepare them for training.

    python scripts/data.py inspect PATH...                 show contents, as a table and a page
    python scripts/data.py convert PATH OUT --to lerobot   write it as LeRobot, Minari or tub
    python scripts/data.py clean PATH --out-of 12.5-14     mark stretches to leave out of training
    python scripts/data.py split PATH... --by session      assign training, validation and test

PATH is a recording, or a folder of recordings; docs/recordings.md lists the formats.
"""

from ncp_control.command_line import Command, run_command, run_job

COMMANDS = {
    "inspect": Command(
        settings="scripts.curating.settings:Inspect", run="scripts.curating.inspecting:inspect"
    ),
    "convert": Command(
        settings="scripts.curating.settings:Convert", run="scripts.curating.converting:convert"
    ),
    "clean": Command(
        settings="scripts.curating.settings:Clean", run="scripts.curating.cleaning:clean"
    ),
    "split": Command(
        settings="scripts.curating.settings:Split", run="scripts.curating.splitting:split"
    ),
}
"""The jobs of this script."""


if __name__ == "__main__":
    run_job(lambda settings: run_command(COMMANDS, settings), COMMANDS, __doc__)
