"""What all jobs share on the command line: one clear sentence instead of a traceback."""

import sys
from collections.abc import Callable
from typing import Any

import tyro


def run_job(job: Callable[[Any], None], settings: Any, description: str | None) -> None:
    """Parse the command line and run the job.

    A user's mistake ends with one sentence and exit status 2, Ctrl-C with status 130.

    Args:
        job: The job; it takes the parsed settings.
        settings: A dataclass, or a union of dataclasses for subcommands.
        description: What `--help` says first.
    """
    try:
        job(tyro.cli(settings, description=description))
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped: the last checkpoint stays in the run folder", file=sys.stderr)
        sys.exit(130)
