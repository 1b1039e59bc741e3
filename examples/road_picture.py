"""Draw camera frames of RoadDriving-v0, beside views of the same moments from behind the car.

    python examples/road_picture.py road.png

The expert drives until it has met a car ahead, an oncoming car, a parked car and a person.
"""

import sys
from typing import Any

import cv2
import numpy as np

import envs  # noqa: F401 - registers the world
from envs.driving.bodies import Body
from envs.driving.periodic import ahead_m
from envs.driving.traffic import Person, TrafficCar
from ncp_control.worlds import find_world

HEIGHT_PX = 234
METRES_AHEAD = {"ahead": (6, 12), "oncoming": (5, 12), "parked": (5, 11), "person": (4, 14)}


def kind_of(body: Body) -> str:
    """Return the kind of a body: ahead, oncoming, parked or person; "" beside the road."""
    if isinstance(body, TrafficCar):
        return "ahead" if body.direction > 0 else "oncoming"
    if isinstance(body, Person) and not (body.is_crossing and abs(body.lateral_m) < 3.0):
        return ""  # beside the road
    return body.kind


def moments(seed: int = 0) -> dict[str, np.ndarray]:
    """Return an image for each kind of body: camera frame and view from behind, side by side."""
    world = find_world("RoadDriving-v0", observe="frames", on_crash="recover", episode_s=1e6)
    assert world.expert is not None
    env: Any = world.make(render_mode="rgb_array")
    frame, info = env.reset(seed=seed)
    road, found = env.unwrapped, {}
    while len(found) < len(METRES_AHEAD):
        frame, *_, info = env.step(world.expert(env, frame, info))
        for body in road.traffic.bodies:
            near, far = METRES_AHEAD.get(kind_of(body), (0, 0))
            way_m = ahead_m(info["arc_length_m"], body.arc_length_m, road.road.length_m)
            if near < way_m < far and kind_of(body) not in found:
                seen = cv2.resize(frame, (600, HEIGHT_PX), interpolation=cv2.INTER_NEAREST)
                views = [env.render() for _ in range(40)]  # the view follows the car with delay
                behind = cv2.resize(views[-1], (416, HEIGHT_PX), interpolation=cv2.INTER_AREA)
                found[kind_of(body)] = np.hstack([seen, behind])
    return found


if __name__ == "__main__":
    pictures = moments()
    cv2.imwrite(sys.argv[1], np.vstack([pictures[k] for k in METRES_AHEAD])[..., ::-1])
