"""What all jobs share on the command line: one clear sentence instead of a traceback."""

import contextlib
import io
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import tyro


def run_job(job: Callable[[Any], None], settings: Any, description: str | None) -> None:
    """Parse the command line and run the job.

    A user's mistake ends with one sentence and exit status 2, Ctrl-C with status 130. `kill` ends
    it with status 143 and as orderly, so that nothing half-written stays.

    Args:
        job: The job; it takes the parsed settings.
        settings: A dataclass, or a union of dataclasses for subcommands.
        description: What `--help` says first.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        job(_parse(settings, description))
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        _end(str(error))
    except OSError as error:
        if error.filename is None:
            raise  # not about anything that the user named
        _end(f"{error.strerror}: {error.filename}")
    except KeyboardInterrupt:
        print("\nstopped: what was saved so far stays", file=sys.stderr)
        sys.exit(130)


def _end(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def _parse(settings: Any, description: str | None) -> Any:
    """Read the command line.

    Raises:
        ValueError: If the settings refuse a value: their own sentence, which tyro would frame.
        SystemExit: After `--help`, or if the words make no settings.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(settings, description=description)
    except SystemExit as stop:
        error: BaseException | None = stop
        while error is not None:
            # Our sentences begin with the name of the setting; int's and float's do not say it.
            if isinstance(error, ValueError) and str(error).startswith("`"):
                raise error from None
            error = error.__context__
        print(said.getvalue(), end="", file=sys.stderr)
        raise
