"""Recordings of any kind, opened for a policy that is shown them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envs.recorded import drive_as_demonstrations, is_bag, load_recording
from envs.recorded.left_out import marks_file
from envs.recorded.readers import find_reader
from ncp_control import files
from ncp_control.contract import Contract
from ncp_control.learning.demonstrations import Demonstrations, as_seen
from ncp_control.learning.demonstrations.store import ARRAYS
from ncp_control.loop.playback import is_recording


@contextmanager
def opened(
    log: Path, contract: Contract | None, options: dict[str, Any] | None = None
) -> Iterator[tuple[Demonstrations, str]]:
    """Yield what a policy senses in a recording, and what whoever acted there is called.

    A drive of `run.py` is shown as it was sensed, be it frames, numbers or both; one of which
    stretches are marked to be left out, or with options, is read as other recordings of frames.

    Args:
        log: A store of demonstrations, a recorded drive, or what a reader recognises.
        contract: The policy's; None for one that does not say what it senses.
        options: Options of the recording's reader.

    Raises:
        FileNotFoundError: If there is no such recording.
        ValueError: If the policy cannot sense it, or nothing of it can be used.
    """
    if is_store(log):
        yield as_seen(Demonstrations.open(log), contract), ""
    elif is_drive(log) and not options and not marks_file(log).is_file():
        with drive_as_demonstrations(log, contract) as store:
            yield as_seen(store, contract), "recorded"
    else:
        recording = load_recording(log, options=options).chosen_for(contract).center_only()
        with recording.as_demonstrations() as store:
            yield as_seen(store, contract), recording.driver


def is_store(log: Path) -> bool:
    """Whether a folder is a store of demonstrations, and not a log of driving."""
    files.restore(log)
    return any((log / f"{name}.npy").is_file() for name in ARRAYS)


def is_known(log: Path) -> bool:
    """Whether some reader recognises a recording there."""
    return find_reader(log) is not None


def is_drive(log: Path) -> bool:
    """Whether a file is a drive that `run.py --record` recorded."""
    return is_recording(log) and not is_bag(log)
