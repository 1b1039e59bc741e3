"""Links that connect the loop to our own worlds, simulators, cameras and robots.

| name         | target               | connects to                                         |
|--------------|----------------------|-----------------------------------------------------|
| `world`      | a world's name       | a world of ours; without a target, the contract's   |
| `udacity`    | -                    | the Udacity simulator in autonomous mode            |
| `donkey-sim` | a scene's name       | the Donkey simulator                                |
| `video`      | a file, or a number  | an OpenCV video file or camera; nothing is moved    |
| `ros2`       | topic of the images  | a robot with ROS 2, by DDS                          |

`open_link` opens a link by name; `register_link` registers your own. A Donkeycar has its own loop;
`donkeycar.NCPPilot` is a part for it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ncp_control.contract import Contract
from ncp_control.deploy.links.base import LINKS, LinkKind, open_here, register_link
from ncp_control.deploy.links.donkey_sim import DonkeySimLink
from ncp_control.deploy.links.hosted import WATCHDOG_S, HostedLink
from ncp_control.deploy.links.ros2 import Ros2Link
from ncp_control.deploy.links.udacity import UdacityLink
from ncp_control.deploy.links.video import open_video
from ncp_control.deploy.links.world import open_world_link
from ncp_control.loop.clocks import RealClock
from ncp_control.loop.link import Link, LinkEnded, LinkLost, Reading

__all__ = [
    "LINKS",
    "HostedLink",
    "Link",
    "LinkEnded",
    "LinkKind",
    "LinkLost",
    "Reading",
    "open_link",
    "register_link",
]

register_link("world", open_world_link, meaning="a world of ours, by default that of the contract")
register_link("udacity", UdacityLink, meaning="the Udacity simulator in autonomous mode")
register_link("donkey-sim", DonkeySimLink, meaning="the Donkey simulator")
register_link("video", open_video, meaning="a video file or a camera", is_hosted=False)
register_link("ros2", Ros2Link, meaning="a robot with ROS 2, by DDS")


def open_link(
    words: str,
    contract: Contract,
    options: Mapping[str, Any] | None = None,
    *,
    modules: Sequence[str] = (),
    log: Path | None = None,
    period_s: float | None = None,
) -> Link:
    """Open a link by name, in its own process if the kind of link is hosted.

    Args:
        words: Name of the link, and its target after a colon, e.g. "world:LaneKeeping-v0".
        contract: The policy's contract.
        options: Options of the link.
        modules: Modules that the link's process imports first.
        log: File for the events of the link's process.
        period_s: Time between two ticks of the loop [s]; the contract's frame interval if None.

    Raises:
        ValueError: If there is no such link or option, or the policy does not fit the link.
        LinkLost: If the counterpart does not answer.
    """
    name, _, target = words.partition(":")
    if LINKS.find(name).is_hosted:
        silence_s = max(WATCHDOG_S, 2.0 * (contract.frame_s if period_s is None else period_s))
        return HostedLink(
            name, contract, target, options, modules=modules, log=log, watchdog_s=silence_s
        )
    return open_here(name, contract, target, options or {}, RealClock())
