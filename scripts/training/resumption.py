"""What a training that goes on reads of the run it was."""

import dataclasses
import json
from pathlib import Path
from typing import Any


def read_settings(run_folder: Path, job: type) -> dict[str, Any]:
    """Read the settings that a run began with, as JSON values by field.

    Args:
        run_folder: The run.
        job: Dataclass of the settings.

    Raises:
        FileNotFoundError: If the folder is not a run.
        ValueError: If the run is of another job.
    """
    path = run_folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"`resume` must be a run folder with a config.json, got {str(run_folder)!r}."
            " Name one that this job printed, e.g. runs/<run>."
        )
    values = json.loads(path.read_text())["settings"]
    if set(values) != {field.name for field in dataclasses.fields(job)}:
        raise ValueError(
            f"`resume` must be a run of this job and version, got {str(run_folder)!r}."
            " Start the training anew."
        )
    return values
