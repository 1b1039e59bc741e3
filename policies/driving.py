"""Recipes of driving circuits: the paper's 19 neurons, and what they are measured against."""

from collections.abc import Callable

from ncp_control.cells import LTC, Cell
from ncp_control.names import check_name
from ncp_control.policy import FramesPolicy
from ncp_control.wiring_rules import NCP19
from policies.baselines import feedforward_cell, lstm_cell


def _ncp(frame_s: float) -> LTC:
    # Chosen by measurement over the paper's integrator (`scripts/reproduce.py integrators`): it
    # imitates and forecasts a little better, and costs less.
    return LTC(NCP19, frame_s=frame_s, integrator="layered_midpoint", unfolds=2)


MODELS: dict[str, Callable[[float], Cell]] = {
    "ncp": _ncp,
    "lstm": lstm_cell,
    "cnn": feedforward_cell,
}
"""Circuits by the name that jobs use: the 19-neuron circuit and what it is measured against."""


def make_driving_policy(
    model: str, *, head: str = "paper", frame_s: float = 1 / 30
) -> FramesPolicy:
    """Build an untrained driving policy.

    Args:
        model: A name in `MODELS`.
        head: A name in `ncp_control.policy.heads.HEADS`.
        frame_s: Nominal frame interval [s].

    Raises:
        ValueError: If a name is unknown.
    """
    check_name("model", model, MODELS)
    return FramesPolicy(MODELS[model](frame_s), head=head)
