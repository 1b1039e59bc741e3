"""How long a driver takes from frame to steering, call by call."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ncp_control import FramesPolicy, Policy, load
from ncp_control.deploy.c.compiled import CController
from ncp_control.deploy.c.self_test import draw_observations
from ncp_control.deploy.onnx.controller import OnnxController
from ncp_control.markdown import markdown_table
from policies.driving import make_driving_policy

_NUM_FRAMES = 32


@dataclass(frozen=True, kw_only=True)
class Acting:
    """One way to act, measured over all calls."""

    driver: str
    """Which policy."""
    name: str
    """What runs it."""
    median_us: float
    high_us: float
    """99 % of the calls take at most this [µs]."""
    ratio: float
    """Median of the first way of this driver, divided by this one's."""
    difference: float
    """Largest difference of an action from the first way's."""


def measure_acting(num_calls: int) -> list[Acting]:
    """Time drivers call by call, all ways in turn, so that a slow moment slows all of them.

    The paper's head, which takes five times as long, acts on a tenth of the frames.
    """
    rows = _compare("drive-ncp, light head", load("drive-ncp"), num_calls)
    paper = make_driving_policy("ncp", head="paper").eval()
    return rows + _compare("untrained, paper head", paper, max(1, num_calls // 10))


def _ways(policy: Policy) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return the ways to act; the first is what the others are compared with."""
    assert isinstance(policy, FramesPolicy)
    settings, weights = policy.to_config(), policy.state_dict()
    plain = FramesPolicy.from_config(settings).eval()
    plain.load_state_dict(weights)
    plain.head.control_step = lambda: None  # no kernel sees for this one
    return {
        "torch's head, the circuit's kernel": plain.act,
        "kernels": policy.act,
        "C": CController(policy).act,
        "ONNX": OnnxController(policy).act,
    }


def _compare(driver: str, policy: Policy, num_calls: int) -> list[Acting]:
    ways = _ways(policy)
    frames = draw_observations(policy, _NUM_FRAMES)
    times_us, worst = np.zeros((len(ways), num_calls)), np.zeros(len(ways))
    for act in ways.values():
        act(frames[0])  # builds what it needs
    for call in range(num_calls):
        frame, actions = frames[call % _NUM_FRAMES], []
        for way, act in enumerate(ways.values()):
            start = time.perf_counter()
            actions.append(act(frame))
            times_us[way, call] = (time.perf_counter() - start) * 1e6
        worst = np.maximum(worst, [np.abs(action - actions[0]).max() for action in actions])
    median_us, high_us = np.percentile(times_us, [50, 99], axis=1)
    return [
        Acting(
            driver=driver,
            name=name,
            median_us=float(median_us[way]),
            high_us=float(high_us[way]),
            ratio=float(median_us[0] / median_us[way]),
            difference=float(worst[way]),
        )
        for way, name in enumerate(ways)
    ]


def acting_table(rows: list[Acting]) -> str:
    """Return the table of times and differences."""
    header = ["driver", "acts on", "median [µs]", "99 % [µs]", "times as fast", "action differs by"]
    cells = [
        [
            row.driver,
            row.name,
            f"{row.median_us:,.0f}",
            f"{row.high_us:,.0f}",
            f"{row.ratio:.1f}",
            f"{row.difference:.1e}",
        ]
        for row in rows
    ]
    return f"### One act, from frame to steering, 1 thread\n\n{markdown_table(header, cells)}"
