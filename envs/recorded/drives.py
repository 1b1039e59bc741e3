"""Drives recorded by `run.py --record`: one MCAP file, see `ncp_control.loop.playback`.

Observations and commands are taken as recorded: frames are not cropped or resized unless an option
says so. Frames that the policy's contract crops were cropped before they were recorded. The
recording keeps the contract, so that a policy trained on it fits the same environment. Ticks in
which the monitor held or stopped the robot are left out: their commands are not responses to a
frame. If a person took over in the drive, only the person's ticks are taken: what the person did
where the policy failed is what a policy can learn from.

Source: Kelly et al. 2019, "HG-DAgger: Interactive imitation learning with human experts" (differs:
the drive is learned from afterwards, together with any other recordings).
"""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from envs.recorded.assembly import Listing, LoggedFrame, assemble_recording
from envs.recorded.images import Framing, framing_of_cropped
from envs.recorded.quantities import STEERING, Quantity
from envs.recorded.recording import Recording
from ncp_control.contract import Contract, FramesContract, View, differ_in_rate
from ncp_control.contract_parts import ANY, observation_misfit
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.loop.levels import Level
from ncp_control.loop.playback import Playback, read_recording
from ncp_control.names import check_name
from ncp_control.records import array_of, entries_of
from ncp_control.tally import Tally

DRIVE = "mcap"
"""Name of the format."""
RECORDED = "recorded"
"""Name of the recorded policy in reports."""
DRIVERS = ("person", "policy")
"""Who may drive in a recording."""
BY_POLICY, BY_PERSON = "driven by the policy", "driven by a person"
STOPPED = "held or stopped by the monitor"
OTHER_SHAPE = "frame of another shape"
NO_COMMAND = "frame without a command"
NOT_ASKED = "frame that the policy was not asked about"


def load_drive(
    path: str | Path,
    *,
    image_size: tuple[int, int] | None = None,
    crop: tuple[float, float] | None = None,
    driver: str | None = None,
    max_gap_s: float = 1.0,
    max_missing_frames: int = 3,
) -> Recording:
    """Load a recorded drive.

    Args:
        path: The file.
        image_size: Height and width of an observation [pixels]; if None: as recorded.
        crop: Shares of the height of the camera's image cut off at the top and at the bottom; if
            None: as recorded.
        driver: Whose driving is taken: "person" or "policy"; if None: that of the person, if a
            person drove at all.
        max_gap_s: Time between two frames above which a new episode starts [s].
        max_missing_frames: Number of consecutive missing frames above which a new episode starts.

    Returns:
        The recording. Its steering is left positive, also if that of the recorded policy was not,
        and in its own unit, e.g. degrees, if the policy's contract scales it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a recorded drive, it has no colour frames or other actions than
            steering, no frame can be used, `driver` is unknown, or its frames were cropped
            otherwise.
    """
    if driver is not None:
        check_name("driver", driver, DRIVERS)
    played = read_recording(path)
    frames = _check(played)
    action = played.contract.action[0]
    own_range = (-1.0, 1.0) if action.scale is None else ANY
    own = Quantity(name=STEERING, unit=action.unit, range=own_range, positive="left")
    if driver is None:
        driver = "person" if any(tick.is_manual for tick in played.ticks) else "policy"
    skipped = played.skipped()
    framing = _framing(played.path, frames, image_size, crop)
    recording = assemble_recording(
        Listing(
            folder=played.path,
            format=DRIVE,
            frames=list(_frames(played, frames, driver, skipped)),
            skipped=skipped,
            advice=f"Record a drive in which the {driver} acts.",
            quantities=[own] if action.unit else [],
        ),
        framing=framing,
        max_gap_s=max_gap_s,
        max_missing_frames=max_missing_frames,
    )
    if driver == "policy":
        recording = replace(recording, driver=RECORDED)
    if framing.image_size != frames.shape[:2] or framing.cut != View():
        return recording
    contract = _left_positive(played.contract)
    if differ_in_rate((recording.frame_s, contract.frame_s)):
        warnings.warn(
            f"'{played.path}' has a frame every {1e3 * recording.frame_s:.4g} ms, but its policy"
            f" was made for one every {1e3 * contract.frame_s:.4g} ms. What learns from it, learns"
            " its rate.",
            stacklevel=2,
        )
        contract = replace(contract, frame_s=recording.frame_s)
    scale = contract.action[0].scale
    return replace(
        recording,
        contract=contract,
        scales={} if scale is None else {STEERING: scale},
        frame_s=contract.frame_s,
    )


def _framing(
    path: Path,
    frames: FramesContract,
    image_size: tuple[int, int] | None,
    crop: tuple[float, float] | None,
) -> Framing:
    """Return the framing of recorded frames, which are cropped as their contract says."""
    size, recorded = image_size or frames.shape[:2], (frames.view.crop_top, frames.view.crop_bottom)
    if any(recorded):
        return framing_of_cropped(size, crop, recorded, path)
    return Framing(image_size=size, crop=recorded if crop is None else crop)


@contextmanager
def drive_as_demonstrations(
    path: str | Path, contract: Contract | None = None
) -> Iterator[Demonstrations]:
    """Yield the observations of a recorded policy and the commands as demonstrations.

    Unlike `load_drive`, this takes numbers, any colours and any actions, and keeps the elapsed
    times that the policy got. An episode starts where the memory of the policy was cleared.

    Args:
        path: The file.
        contract: Contract of the policy that will get the observations, if known.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a recorded drive, no tick can be used, or the kind of observation
            (frames, numbers or a record) or the numbers differ from those of the policy.
    """
    played = read_recording(path)
    if contract is not None:
        _check_sensed(contract, played)
    shape, kind = array_of(played.contract.observation)
    with tempfile.TemporaryDirectory() as temporary:
        folder, num_actions = Path(temporary) / "drive", len(played.contract.action)
        source = {"format": DRIVE, "driver": RECORDED, "recording": played.path.name}
        with DemonstrationWriter(folder, shape, kind, num_actions, source=source) as writer:
            for tick, observation, asked in played.asked():
                if tick.command is None or observation.shape != shape:
                    fault = OTHER_SHAPE if observation.shape != shape else NO_COMMAND
                    played.faults.append((fault, f"tick {tick.number}"))
                    writer.start_episode()
                    continue
                if asked.is_reset:
                    writer.start_episode()
                writer.append(observation.astype(kind, copy=False), tick.command, asked.elapsed_s)
            if not writer.num_frames:
                raise ValueError(
                    f"`folder` must hold a tick in which the policy was asked, got none in"
                    f" '{played.path}'. Record a drive."
                )
        skipped = played.skipped()
        if skipped.total:
            warnings.warn(f"Left out of '{played.path}': {skipped}.", stacklevel=3)
        yield Demonstrations.open(folder)


def _check_sensed(contract: Contract, played: Playback) -> None:
    """Compare kind of observation and numbers with a contract; frame size and stack may differ."""
    wanted, recorded = contract.observation, played.contract.observation
    found = observation_misfit(wanted, recorded)
    if found is not None and (wanted.kind != recorded.kind or entries_of(wanted)):
        raise ValueError(
            f"`log` must hold what the policy senses, an observation of {found} in"
            f" '{played.path}'. Record a drive of a policy that senses the same."
        )


def _check(played: Playback) -> FramesContract:
    """Return the contract of the frames."""
    sensed, action = played.contract.observation, played.contract.action
    if not isinstance(sensed, FramesContract) or sensed.shape[2] != 3 or sensed.colour != "RGB":
        is_frames = isinstance(sensed, FramesContract)
        found = f"{sensed.colour} of shape {sensed.shape}" if is_frames else f"a {sensed.kind}"
        raise ValueError(
            f"`folder` must hold RGB frames of three channels to be learned from, got {found} in"
            f" '{played.path}'. Other recordings can be replayed: run.py POLICY --replay."
        )
    names = [entry.name for entry in action]
    if names != ["steering"] or action[0].choices or action[0].range != (-1.0, 1.0):
        raise ValueError(
            f"`folder` must hold steering in [-1, 1] alone to be learned from, got {names} in"
            f" '{played.path}'. Other recordings can be replayed: run.py POLICY --replay."
        )
    return sensed


def _frames(
    played: Playback, frames: FramesContract, driver: str, skipped: Tally
) -> Iterator[LoggedFrame]:
    action = played.contract.action[0]
    sign = -1.0 if action.positive == "right" else 1.0
    for tick in played.ticks:
        place = f"tick {tick.number}"
        if tick.frame is None:
            continue
        if tick.is_manual != (driver == "person"):
            skipped.add(BY_PERSON if tick.is_manual else BY_POLICY, place)
        elif tick.level >= Level.HOLD:
            skipped.add(STOPPED, place)
        elif tick.asked is None and not tick.is_manual:
            skipped.add(NOT_ASKED, place)
        elif tick.shape != frames.shape:
            skipped.add(OTHER_SHAPE, f"{tick.shape} in {place}")
        elif tick.command is None:
            skipped.add(NO_COMMAND, place)
        else:
            yield LoggedFrame(
                row=tick.number,
                path=tick.frame,
                numbers={STEERING: sign * action.in_unit(float(tick.command[0]))},
                time_s=tick.taken_s,
                place=place,
            )


def _left_positive(contract: Contract) -> Contract:
    """Return the contract of a policy that learns from the recording."""
    steering = replace(contract.action[0], positive="left", bounds=None)
    if contract.action[0].positive == "right" and steering.scale is not None:
        offset, factor = steering.scale
        steering = replace(steering, scale=(-offset, factor))
    return replace(contract, action=(steering,), provenance={})
