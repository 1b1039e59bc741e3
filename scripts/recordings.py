"""Open recordings of any kind as observations of a policy."""

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
    """Yield the observations of a policy in a recording, and a name for its driver.

    A drive recorded by `run.py` is opened with its original observations: frames, numbers or both.
    If stretches of the drive are marked to be left out, or with `options`, it is read like other
    recordings of frames.

    Args:
        log: A store of demonstrations, a recorded drive, or any recording with a reader.
        contract: Contract of the policy; None for a policy without one.
        options: Options of the recording's reader.

    Raises:
        FileNotFoundError: If there is no such recording.
        ValueError: If it does not fit the policy, or no part of it can be used.
    """
    if is_store(log):
        yield as_seen(Demonstrations.open(log), contract), "recorded"
    elif is_drive(log) and not options and not marks_file(log).is_file():
        with drive_as_demonstrations(log, contract) as store:
            yield as_seen(store, contract), "recorded"
    else:
        recording = load_recording(log, options=options).chosen_for(contract).center_only()
        with recording.as_demonstrations() as store:
            yield as_seen(store, contract), recording.driver


def is_store(log: Path) -> bool:
    """Whether a folder is a store of demonstrations, not a driving log."""
    files.restore(log)
    return any((log / f"{name}.npy").is_file() for name in ARRAYS)


def is_known(log: Path) -> bool:
    """Whether any reader recognises the path as a recording."""
    return find_reader(log) is not None


def is_drive(log: Path) -> bool:
    """Whether a file is a drive recorded by `run.py --record`."""
    return is_recording(log) and not is_bag(log)
