"""`ncp demo`: show the inside of a shipped policy on a page, without a world or a compiler."""

import webbrowser
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Show the activity of each neuron of a shipped policy on a page in the browser.

    The policy acts on a few seconds of recorded observations. The page shows the camera frames with
    the regions that the policy attends to, the wiring, every neuron with its certified bounds, and
    the road.
    """

    policy: tyro.conf.Positional[str] = "drive-ncp"
    """Name of a shipped policy with an excerpt, e.g. drive-ncp, or folder of a policy."""
    drive: Path | None = None
    """Recording of ncp run --record that the policy acts on; if None: the excerpt beside the
    policy."""
    page: Path | None = None
    """HTML file to write; if None: demo-NAME.html in this folder."""
    open: bool = True
    """Open the page in the browser."""


def demo(settings: Demo) -> None:
    """Run the policy on recorded observations, write the page and open it.

    Raises:
        ValueError: If there is neither an excerpt nor a recorded drive.
    """
    from ncp_control.audit.bounds import certificate_of
    from ncp_control.audit.inspection import inspected, maps_over_time
    from ncp_control.audit.inspector import write_inspector
    from ncp_control.command_line import use_threads
    from ncp_control.commands.watching import watch
    from ncp_control.learning.run import policy_name
    from ncp_control.policy import at_least_single, load, policy_folder

    use_threads(1)
    folder = policy_folder(settings.policy)
    policy, name = at_least_single(load(folder)), policy_name(folder)
    episode, track = watch(policy, folder, settings.drive, name=name)
    maps = {}
    if episode.has_frames:
        maps["VisualBackProp"] = maps_over_time(policy, episode, "visual_backprop", stride=2)
    certificate = certificate_of(policy.circuit.cell)
    panel = inspected(policy, episode, maps=maps, certificate=certificate, track=track)
    page = settings.page or Path(f"demo-{name}.html")
    write_inspector(page, [panel], title=f"{name}: {episode.where}")
    print(f"page: {page}")
    if settings.open and not webbrowser.open(page.resolve().as_uri()):
        print("no browser was found: open the page by hand")
