"""Part of an audit on memory: how far back a policy remembers, and how much memory helps."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure

from ncp_control.audit.memory import (
    UNUSED_COST,
    UNUSED_SHARE,
    Reach,
    WipeEffect,
    WipingPilot,
    change_by_wiping,
    describe_reach,
    describe_wipe,
    how_often,
    reach_of,
    wipe_effects,
)
from ncp_control.audit.timescales import time_unit
from ncp_control.episode import Episode
from ncp_control.policy import Policy
from ncp_control.returns import half_width
from ncp_control.worlds import World
from scripts.auditing.recording import count_frames
from scripts.evaluation.places import Place
from scripts.evaluation.tables import with_unit
from scripts.palette import BLUE, GREY, tidy
from scripts.reporting import Part, Table

WIPE_EVERY = (1, 4, 16)
"""Intervals between two wipes of the state [frames]."""
_WORDS = {"half_width": "95 % ±", "deviation": "sd"}
"""Words for names of measures that say little by themselves."""


@dataclass(frozen=True, kw_only=True)
class WipingCost:
    """Episodes in an environment with and without wiping, from the same initial states."""

    by_every: dict[int, list[Episode]]
    """Episodes by the interval between two wipes [frames]; 0: never wiped."""
    world: World
    """The environment."""

    def change(self, every: int) -> tuple[float, float, float]:
        """Return the mean intact return, its change by wiping, and half the change's interval."""
        whole, wiped = (
            np.array([episode.total_reward for episode in self.by_every[k]]) for k in (0, every)
        )
        return float(whole.mean()), float((wiped - whole).mean()), half_width(wiped - whole)

    @property
    def described(self) -> str:
        """Length of the test, e.g. "4 episodes of at most 30 s"."""
        episodes = self.by_every[0]
        longest_s = max(map(len, episodes)) * self.world.frame_s
        are = "episode" if len(episodes) == 1 else "episodes"
        return f"{len(episodes)} {are} of at most {longest_s:.3g} s"


def memory_part(policy: Policy, audited: Episode, place: Place | None) -> Part:
    """Measure the effect of wiping the state, and how far back the actions depend on inputs.

    Args:
        policy: The policy.
        audited: A recorded episode of the policy, with the activity of its circuit.
        place: Place where the policy acts with its state wiped; if None: this test is skipped.
    """
    effects = find_effects(policy, audited)
    reach = find_reach(policy, audited)
    cost = None
    if place is not None and any(effect.rms for effect in effects):
        cost = act_wiped(policy, place, audited.name)
    header = ["state wiped", "r", "RMS change of the action", "share of its deviation"]
    measures = {} if cost is None else {k: cost.world.measure(e) for k, e in cost.by_every.items()}
    header += [] if cost is None else cost.world.measure_names
    found = {0: [1.0, 0.0, 0.0]} | {e.every: [e.correlation, e.rms, e.share] for e in effects}
    rows = [[how_often(k), *row, *measures.get(k, {}).values()] for k, row in found.items()]
    words = {name: with_unit(name) for name in header[4:]} | _WORDS
    unit = time_unit(reach.frame_s)
    lags = [(k, k * reach.frame_s / unit.seconds, float(r)) for k, r in enumerate(reach.norm)]
    listed = [k for k in range(len(lags)) if k.bit_count() <= 1]
    return Part(
        text=[
            verdict(effects[0], cost),
            *(() if cost is None else (_in_the_world(cost),)),
            "Reach: the norm of ∂action(t)/∂features(t − k), averaged over t."
            f" {describe_reach(reach)}",
        ],
        tables={
            "memory": Table(header=header, rows=rows, words=words),
            "reach": Table(
                header=("frames ago", f"time ago [{unit.name}]", "reach"),
                rows=lags,
                listed=listed,
                choice=f"{len(listed)}",
            ),
        },
        figures={"reach": draw_reach(audited.name, reach)},
    )


def find_effects(policy: Policy, audited: Episode) -> list[WipeEffect]:
    """Return the effect of wiping at each interval of `WIPE_EVERY` on an episode's actions."""
    return wipe_effects(
        policy,
        torch.from_numpy(audited.recorded_features),
        audited.recorded_activity.dt_s[0],
        WIPE_EVERY,
    )


def find_reach(policy: Policy, audited: Episode) -> Reach:
    """Return how far back the actions of an episode depend on the features."""
    features, activity = torch.from_numpy(audited.recorded_features), audited.recorded_activity
    return reach_of(policy, features, activity.dt_s[0], activity.states_before)


def act_wiped(policy: Policy, place: Place, name: str) -> WipingCost:
    """Run a policy with its state intact, and wiped at each interval of `WIPE_EVERY`."""
    pilots = {0: policy} | {k: WipingPilot(policy, k) for k in WIPE_EVERY}
    by_every = {
        k: place.run(pilot, description=f"{name}: state wiped {how_often(k)}")
        for k, pilot in pilots.items()
    }
    return WipingCost(by_every=by_every, world=place.world)


def wipe_place(place: Place, episodes: int, seconds: float) -> Place:
    """Return the place of an audited episode with several episodes of at most `seconds`.

    Seeds and tracks count up from those of the place.
    """
    steps = count_frames(seconds, place.world.frame_s)
    first = None if place.options is None else place.options[0]
    options = None
    if first is not None:
        options = [first | {"track": first["track"] + i} for i in range(episodes)]
    return replace(
        place,
        seeds=[place.seeds[0] + i for i in range(episodes)],
        options=options,
        num_steps=min(steps, place.world.max_steps),
    )


def verdict(effect: WipeEffect, cost: WipingCost | None) -> str:
    """Return whether memory is used, as text, from the effect of wiping before every frame."""
    if cost is None or effect.rms == 0.0:
        return describe_wipe(effect)
    changed, is_inert = change_by_wiping(effect), effect.share < UNUSED_SHARE
    rule = f"below {UNUSED_SHARE:g} counts as not used"
    whole, change, half = cost.change(1)
    if math.isnan(half):  # one episode has no interval
        half = math.inf if change else 0.0
    has_interval = 0.0 < half < math.inf
    interval = f" ± {_percent(half, whole).removeprefix('+')}" if has_interval else ""
    effects = f"{changed}, and the return in the world by {_percent(change, whole)}{interval}"
    most = UNUSED_COST * abs(whole)
    is_cheap = change == half == 0.0 or abs(change) + half < most
    is_certain = is_cheap or abs(change) > half
    if not is_certain:
        what = "may not be used here" if is_inert else "shapes the actions"
        count = len(cost.by_every[0])
        return (
            f"**Memory {what}; what it is worth in the world is not certain** after {count}"
            f" episode{'s' if count > 1 else ''}: {effects}. Ask for more --wipe-episodes."
        )
    if not is_cheap:
        return f"**Memory is used**: {effects}."
    if is_inert:
        return (
            f"**Memory is not used here**: {effects}; {rule}, if the return changes by less than"
            f" {UNUSED_COST:.0%}."
        )
    return f"**Memory shapes the actions, but the world hardly notices**: {effects}."


def _in_the_world(cost: WipingCost) -> str:
    """Return the changes of the return by wiping as text, with intervals and the test's length."""
    each = []
    for every in (k for k in cost.by_every if k):
        whole, change, half = cost.change(every)
        interval = "" if math.isnan(half) else f" ± {half:.3g}"
        each.append(f"{how_often(every)} {change:+.4g}{interval}")
    whole, *_ = cost.change(1)
    intervals = " (95 % intervals of the paired differences)" if "±" in "".join(each) else ""
    return (
        f"In the world, {cost.described}, begun alike: mean return {whole:.4g}; change by wiping"
        f" {', '.join(each)}{intervals}. A short test: longer episodes and more of them tell more."
    )


def _percent(change: float, whole: float) -> str:
    return f"{change / abs(whole):+.1%}" if whole else f"{change:+.3g}"


def draw_reach(name: str, reach: Reach) -> Figure:
    """Draw the reach over the time that has passed, and half of its largest value."""
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    axes = figure.subplots()
    unit = time_unit(reach.frame_s)
    ago = np.arange(len(reach.norm)) * reach.frame_s / unit.seconds
    norm = np.where(reach.norm > 0.0, reach.norm, np.nan)  # 0 has no logarithm
    axes.plot(ago, norm, "o-", color=BLUE, markersize=3, label=name.replace("$", r"\$"))
    if reach.norm.any():
        axes.axhline(0.5 * reach.norm.max(), color=GREY, linestyle="--", linewidth=1.0,
                     label="half of the largest")  # fmt: skip
        axes.set_yscale("log")
    axes.set(xlabel=f"time ago [{unit.name}]", ylabel="|∂action / ∂features|")
    tidy(axes)
    axes.legend(frameon=False)
    return figure
