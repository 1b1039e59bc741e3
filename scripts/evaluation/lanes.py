"""Borders of the lane that a car has to keep, from the infos of its episode."""

import numpy as np
from numpy.typing import NDArray

from envs.driving.road import make_road
from ncp_control.worlds import Infos

_POINTS = 400


def lane_borders(infos: Infos) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points along the left and the right border of the lane [m], each of shape (points, 2).

    The track is closed: the last point equals the first.

    Args:
        infos: Values of info after each action of an episode, with `track` and `lane_edges_m`.
    """
    road = make_road(int(infos["track"][0]))
    along_m = np.linspace(0.0, road.length_m, _POINTS + 1)
    left, right = (
        np.stack(road.point_at(along_m, float(aside_m)), axis=1)
        for aside_m in infos["lane_edges_m"][0]
    )
    return left, right
