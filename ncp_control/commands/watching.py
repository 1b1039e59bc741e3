"""Recorded observations for `ncp demo` and `ncp audit`, and a policy that acts on them."""

import warnings
from pathlib import Path

import numpy as np

from ncp_control.audit.excerpt import Excerpt, act_on, read_excerpt
from ncp_control.audit.inspector import TrackMap
from ncp_control.episode import Episode
from ncp_control.loop.pilot import needed_contract
from ncp_control.loop.playback import read_recording
from ncp_control.policy import Policy, shipped_policies
from ncp_control.policy.folder import EXCERPT_FILE

MOST_FRAMES = 900
"""Maximum number of frames of a recorded drive that are used: 30 s at 30 frames per second."""


def watch(
    policy: Policy, folder: Path, drive: Path | None, *, name: str
) -> tuple[Episode, TrackMap | None]:
    """Run a policy on its excerpt or on a recorded drive, and record its activity.

    Args:
        policy: The policy.
        folder: Folder of the policy, which may contain an excerpt.
        drive: Recording of `ncp run --record`; if None: the excerpt.
        name: Name of the policy, for headings.

    Returns:
        The episode, and the track if it is known.

    Raises:
        ValueError: If `drive` is None and there is no excerpt, the policy does not fit the
            recording, or the recording is too short.
    """
    if drive is not None:
        return act_on(policy, excerpt_of_drive(policy, drive), name=name), None
    path = folder / EXCERPT_FILE
    if not path.is_file():
        known = [key for key, of in shipped_policies().items() if (of / EXCERPT_FILE).is_file()]
        raise ValueError(
            f"`drive` must be given for a policy without an excerpt of what it saw, got none for"
            f" '{folder}'. Record a drive with ncp run --record, or write an excerpt with"
            " ncp_control.audit.excerpt.write_excerpt, or in a clone with scripts/audit.py"
            f" --excerpt. Shipped policies with an excerpt are {', '.join(known)}."
        )
    excerpt = read_excerpt(path)
    return act_on(policy, excerpt, name=name), excerpt.track


def excerpt_of_drive(policy: Policy, drive: Path) -> Excerpt:
    """Return the longest part of a recorded drive without a reset of the policy's hidden state.

    Raises:
        ValueError: If the policy does not fit the recording, or the part has less than two frames.
    """
    played = read_recording(drive)
    needed_contract(policy).check_offer(played.contract, f"the recording '{played.path}'")
    parts: list[list[tuple[np.ndarray, float]]] = [[]]
    for _, observation, asked in played.asked():
        if parts[-1] and (asked.is_reset or len(parts[-1]) == MOST_FRAMES):
            parts.append([])
        parts[-1].append((observation, asked.elapsed_s))
    skipped = played.skipped()
    if skipped.total:
        warnings.warn(f"Left out of '{played.path}': {skipped}.", stacklevel=2)
    longest = max(parts, key=len)
    if len(longest) < 2:
        raise ValueError(
            f"`drive` must hold two ticks in which the policy was asked, got {len(longest)} in"
            f" '{played.path}'. Record a drive."
        )
    observations, elapsed_s = zip(*longest, strict=True)
    return Excerpt(dt_s=np.array(elapsed_s), observations=np.stack(observations), where=drive.name)
