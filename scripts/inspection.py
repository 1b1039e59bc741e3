"""The inspector's page of an episode that is still going on, and its map of the track."""

import time
from pathlib import Path

from ncp_control.audit.inspection import inspected
from ncp_control.audit.inspector import TrackMap, write_inspector
from ncp_control.episode import Episode
from ncp_control.policy import Policy
from ncp_control.recorder import Recorder
from ncp_control.replay import looked_into
from scripts.evaluation.lanes import lane_borders
from scripts.evaluation.places import Place


def watch_live(
    policy: Policy,
    path: Path,
    place: Place,
    *,
    name: str,
    seconds: float = 30.0,
    every_s: float = 5.0,
) -> Path:
    """Let a policy act, and keep a page up to date for a browser.

    Meanwhile the page loads itself anew and shows the newest frame; the last page written is an
    ordinary one of the whole episode.

    Args:
        policy: Who acts.
        path: The HTML file.
        place: Where; the first of its episodes is shown.
        name: Name of the policy, for the heading.
        seconds: Longest time [s].
        every_s: Wall-clock time between two pages [s].

    Returns:
        The file.
    """

    def write(recorder: Recorder, reload_s: float | None) -> Path:
        episode = looked_into(policy, recorder.episode())
        title = f"{name}: {episode.where}"
        panel = inspected(policy, episode, track=track_map(episode))
        return write_inspector(path, [panel], title=title, reload_s=reload_s)

    with place.open(policy, seconds=seconds, name=name) as (_, steps, recorder):
        written_s = time.monotonic()
        for step in steps:
            recorder.add(step)
            if time.monotonic() - written_s >= every_s:
                write(recorder, every_s)
                written_s = time.monotonic()
            if recorder.is_over:
                break
        return write(recorder, None)


def track_map(episode: Episode) -> TrackMap | None:
    """Return the lane's borders and the way driven; None if the world told of no track."""
    if not {"track", "lane_edges_m", "position_m"} <= episode.told.keys():
        return None
    left, right = lane_borders(episode.told)
    return TrackMap(
        left_edge_m=left[:-1], right_edge_m=right[:-1], driven_m=episode.told["position_m"]
    )
