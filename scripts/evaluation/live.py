"""Inspector page of a running episode, and its map of the track."""

import time
from pathlib import Path

from ncp_control.acting.recorder import Recorder
from ncp_control.audit.bounds import certificate_of
from ncp_control.audit.inspection import inspected
from ncp_control.audit.inspector import TrackMap, write_inspector
from ncp_control.episode import Episode
from ncp_control.policy import Policy, at_least_single
from ncp_control.replay import with_activity
from scripts.evaluation.lanes import lane_borders
from scripts.evaluation.places import Place

_LONGEST_WAIT_S = 0.2
"""Longest wait between two frames [s]."""


def watch_live(
    policy: Policy,
    path: Path,
    place: Place,
    *,
    name: str,
    seconds: float = 30.0,
    every_s: float = 5.0,
) -> Path:
    """Let a policy act in real time, and keep rewriting a page for a browser.

    During the episode the page reloads itself and shows the newest frame. The page written last is
    an ordinary inspector page of the whole episode, or of its frames so far if the job is stopped.
    It has no saliency maps and no pictures of robots, which take too long to make. A world whose
    frames are longer than 0.2 s runs faster than real time.

    Args:
        policy: The policy that acts.
        path: The HTML file to write.
        place: Environment and episodes; the first episode is shown.
        name: Name of the policy, for the heading.
        seconds: Longest duration of the episode [s].
        every_s: Wall-clock time between two versions of the page [s].

    Returns:
        `path`.
    """
    certificate = certificate_of(at_least_single(policy).circuit.cell)

    def write(recorder: Recorder, reload_s: float | None) -> Path:
        episode = with_activity(policy, recorder.episode())
        title = f"{name}: {episode.where}"
        panel = inspected(policy, episode, certificate=certificate, track=track_map(episode))
        return write_inspector(path, [panel], title=title, reload_s=reload_s)

    with place.open(policy, seconds=seconds, name=name) as (_, steps, recorder):
        next_page_s = next_frame_s = time.monotonic()
        has_frames = False
        try:
            for step in steps:
                recorder.add(step)
                has_frames = True
                if time.monotonic() >= next_page_s:
                    write(recorder, every_s)
                    next_page_s = time.monotonic() + every_s
                if recorder.is_over:
                    break
                next_frame_s += min(place.world.frame_s, _LONGEST_WAIT_S)
                time.sleep(max(next_frame_s - time.monotonic(), 0.0))
        except KeyboardInterrupt:
            if has_frames:
                write(recorder, None)
            raise
        return write(recorder, None)


def track_map(episode: Episode) -> TrackMap | None:
    """Return lane borders and driven path; None if the environment reports no track."""
    if not {"track", "lane_edges_m", "position_m"} <= episode.infos.keys():
        return None
    left, right = lane_borders(episode.infos)
    return TrackMap(
        left_edge_m=left[:-1], right_edge_m=right[:-1], driven_m=episode.infos["position_m"]
    )
