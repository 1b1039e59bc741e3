"""Open recordings of any kind as observations of a policy."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envs.recorded import Recording, drive_as_demonstrations, is_bag, load_recording
from envs.recorded.left_out import REASON, marks_file
from envs.recorded.readers import find_reader, options_of
from ncp_control import files
from ncp_control.contract import Contract
from ncp_control.learning.demonstrations import Demonstrations, as_seen
from ncp_control.learning.demonstrations.store import ARRAYS
from ncp_control.loop.playback import is_recording
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.records import frames_part


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
        store = Demonstrations.open(log)
        yield as_seen(store, contract), store.source.get("driver", "recorded")
    elif is_drive(log) and not options and not marks_file(log).is_file():
        with drive_as_demonstrations(log, contract) as store:
            yield as_seen(store, contract), "recorded"
    else:
        recording = recording_for(log, contract, options)
        with recording.as_demonstrations() as store:
            yield as_seen(store, contract), recording.driver


def recording_for(
    log: Path, contract: Contract | None, options: dict[str, Any] | None = None
) -> Recording:
    """Load a recording as a policy sees it, of the center camera; print what is left out by marks.

    Images are cropped and resized as the contract says, unless `options` says otherwise. A recorded
    drive holds the images that its policy saw.

    Args:
        log: The recording.
        contract: Contract of the policy; None for a policy without one.
        options: Options of the recording's reader.

    Raises:
        FileNotFoundError: If there is no such recording.
        ValueError: If it does not fit the policy, or no frame can be used.
    """
    options, framing = options or {}, dict[str, Any]()
    frames = None if contract is None else frames_part(contract.observation)
    if frames is not None and not is_drive(log):
        view = (frames.view.crop_top, frames.view.crop_bottom)
        if options.get("crop", view) not in (view, list(view)):
            warnings.warn(
                f"the option crop={options['crop']} shows the policy other parts of the image"
                f" than crop={list(view)}, which its contract names.",
                stacklevel=3,
            )
        reader = find_reader(log)
        known = [] if reader is None else options_of(reader)
        asked = {"image_size": frames.shape[:2], "crop": view}
        framing = {k: v for k, v in asked.items() if k in known and k not in options}
    recording = load_recording(log, options=options, **framing).chosen_for(contract).center_only()
    tell_marked([recording])
    other_rate = None if contract is None else contract.other_rate(recording.frame_s)
    if other_rate is not None:
        warnings.warn(f"'{recording.folder}' has a frame {other_rate}", stacklevel=3)
    return recording


def num_marked(recordings: Sequence[Recording]) -> int:
    """Return the number of frames that are left out because they are marked."""
    return sum(one.skipped.get(REASON, 0) for one in recordings)


def tell_marked(recordings: Sequence[Recording]) -> None:
    """Print the number of frames that are left out because they are marked, if there are any."""
    if marked := num_marked(recordings):
        print(f"left out, as marked by data.py clean: {marked:,} frames")


def check_log(log: Path, policy: Policy) -> None:
    """Raise ValueError if a policy that senses no frames cannot run on a path, e.g. a CSV file."""
    if isinstance(policy, FramesPolicy) or not log.exists():  # a reader says what is missing
        return
    is_of_any = is_store(log) or is_drive(log) or (policy.contract is not None and is_known(log))
    if not is_of_any:
        raise ValueError(
            "`log` must be demonstrations, or a recording of the numbers that the policy senses,"
            f" got {str(log)!r}. A policy of a time series takes the rows that its training wrote,"
            " e.g. runs/RUN/demonstrations/test."
        )


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
