"""Comparison of policies: the quantities in which small and large circuits differ.

| quantity                | what it is                                                            |
|-------------------------|-----------------------------------------------------------------------|
| components_for_90       | principal components that explain 90 % of the units' variance         |
| first_component         | share that the first one explains                                     |
| curvature_r             | correlation of one command neuron's activity with the road's curvature|
| wiped_r                 | correlation of the actions with those of a state wiped every frame    |
| wiped_share             | their RMS difference as a share of the actions' own deviation         |
| reach_half_life_ms      | half-life of abs(∂action/∂features) over the time that has passed     |
| median_tau_frames       | median τ of all neurons and frames, in frame intervals                |
| ssim_visual_backprop    | mean similarity of clean and noisy maps, ± 1.96 standard errors       |
| ssim_input_gradient     | the same for the input gradient                                       |
| crashes_per_km          | of the whole policy                                                   |
| crashes_per_km_without  | with one unit held at its mean                                        |
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from envs.driving.metrics import summarize
from ncp_control.audit.ablation import ablate
from ncp_control.audit.activity import principal_components, unit_activity
from ncp_control.audit.timescales import LEAST_SAMPLES, frame_interval_s, timescales_of
from ncp_control.episode import Episode
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy
from scripts.auditing.parts import follow, resting_values
from scripts.auditing.remembering import find_effects, find_reach
from scripts.auditing.seeing import NOISE_VARIANCES, measure_stability
from scripts.evaluation.driving import drive_km

HEADER = ("policy", "quantity", "of", "value", "low", "high")
WORDS = {
    "low": "95 % from",
    "high": "95 % to",
    "components_for_90": "components for 90 % of the variance",
    "first_component": "variance of the first component",
    "curvature_r": "r with the curvature",
    "wiped_r": "r with memory wiped",
    "wiped_share": "change with memory wiped",
    "reach_half_life_ms": "half-life of the reach [ms]",
    "median_tau_frames": "median τ [frames]",
    "ssim_visual_backprop": "SSIM of VisualBackProp",
    "ssim_input_gradient": "SSIM of the input gradient",
    "crashes_per_km": "crashes per km",
    "crashes_per_km_without": "crashes per km without a neuron",
}
"""Words on the page for columns and quantities."""
_QUANTILE = 1.96


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One number of one policy, with its 95 % interval where it has one."""

    policy: str
    quantity: str
    of: str = ""
    value: float
    low: float | None = None
    high: float | None = None

    def cells(self) -> tuple[str | float, ...]:
        """Return the cells in the order of `HEADER`; a missing limit is empty."""
        low, high = ("" if x is None else x for x in (self.low, self.high))
        return self.policy, self.quantity, self.of, self.value, low, high


def activity_rows(policy: Policy, audited: Episode) -> list[ModelRow]:
    """Return rows for the principal components and the correlations with the curvature."""
    names, states = unit_activity(policy.circuit.cell, audited.recorded_activity)
    found = principal_components(states)
    rows = [
        ModelRow(policy=audited.name, quantity="components_for_90", of=f"{len(names)} units",
            value=found.count_for(0.9)),
        ModelRow(policy=audited.name, quantity="first_component", value=float(found.explained[0])),
    ]  # fmt: skip
    curvature = audited.signals.get("curvature [1/m]")
    if curvature is not None and len(states) >= LEAST_SAMPLES:
        rows += [
            ModelRow(policy=audited.name, quantity="curvature_r", of=name,
                value=one.r, low=one.low, high=one.high)
            for name, one in follow(names, states, curvature).items()
            if name.startswith("command") and not math.isnan(one.r)
        ]  # fmt: skip
    return rows


def memory_rows(policy: Policy, audited: Episode) -> list[ModelRow]:
    """Return rows for the effect of wiping in open loop, the half-life of the reach, and τ."""
    effect, reach = find_effects(policy, audited)[0], find_reach(policy, audited)
    found = {
        "wiped_r": effect.correlation,
        "wiped_share": effect.share,
        "reach_half_life_ms": 1e3 * reach.half_life_s,
    }
    if audited.recorded_activity.timescales_s is not None:
        median_s = float(np.nanmedian(timescales_of(audited.recorded_activity)))
        found["median_tau_frames"] = median_s / (
            frame_interval_s(audited.recorded_activity) or math.nan
        )
    return [
        ModelRow(policy=audited.name, quantity=quantity, value=value)
        for quantity, value in found.items()
        if not math.isnan(value)
    ]


def stability_rows(policy: Policy, audited: Episode, seed: int) -> list[ModelRow]:
    """Return rows for the similarity of clean and noisy maps at each noise level."""
    return [
        ModelRow(
            policy=audited.name,
            quantity=f"ssim_{found.method}",
            of=f"variance {found.variance}",
            value=found.mean,
            low=_finite(found.mean - _QUANTILE * found.standard_error),
            high=_finite(found.mean + _QUANTILE * found.standard_error),
        )
        for found in measure_stability(policy, audited, seed)
    ]


def _finite(limit: float) -> float | None:
    return limit if math.isfinite(limit) else None


def closed_loop_rows(
    policy: Policy, audited: Episode, km: float, seed: int, **changes: Any
) -> list[ModelRow]:
    """Measure crashes of the intact policy, and with one unit at a time held at its mean.

    Args:
        policy: The driving policy.
        audited: Episode from which the units' means are computed.
        km: Distance on held-out tracks for each case [km].
        seed: Seed of the appearances.
        changes: Fields of `DriveSettings` that differ from their defaults.
    """
    where = drive_km(km, **changes)
    cases = {"": policy} | {
        name: ablate(policy, neurons={name: value})
        for name, value in resting_values(policy, audited).items()
    }
    rows = []
    for name, driver in tqdm(cases.items(), desc=f"{audited.name}: ablation", leave=False):
        found = summarize(where.place(seed).run(driver, description=name or "whole"))
        quantity = "crashes_per_km_without" if name else "crashes_per_km"
        rows.append(
            ModelRow(policy=audited.name, quantity=quantity, of=name, value=found.crashes_per_km,
                low=found.crashes_per_km_low, high=found.crashes_per_km_high)
        )  # fmt: skip
    return rows


def describe(rows: list[ModelRow]) -> list[str]:
    """Return a table with one line per policy, with the effect of its worst ablation."""
    names = list(dict.fromkeys(row.policy for row in rows))
    shown = ("components_for_90", "first_component", "wiped_r", "reach_half_life_ms",
             "median_tau_frames", "crashes_per_km")  # fmt: skip
    columns = {WORDS[quantity]: (quantity, "") for quantity in shown} | {
        f"SSIM at {v:g}": ("ssim_visual_backprop", f"variance {v}") for v in NOISE_VARIANCES
    }
    lines = [["policy", *columns, "without one unit"]]
    for name in names:
        own = [row for row in rows if row.policy == name]
        cells = [name]
        for quantity, of in columns.values():
            found = [row for row in own if row.quantity == quantity and of in ("", row.of)]
            cells.append(f"{found[0].value:.3g}" if found else "–")
        lines.append([*cells, _worst_ablation(own)])
    filled = [column for column in zip(*lines, strict=True) if set(column[1:]) != {"–"}]
    header, *cells = map(list, zip(*filled, strict=True))
    return [markdown_table(header, cells)]


def _worst_ablation(rows: list[ModelRow]) -> str:
    """Return how many units the policy crashes without, and the crash rate of the worst one."""
    ablated = [row for row in rows if row.quantity == "crashes_per_km_without"]
    if not ablated:
        return "–"
    worst = max(ablated, key=lambda row: row.value)
    needed = sum(row.value > 0.0 for row in ablated)
    if not needed:
        return f"crashes without none of {len(ablated)} units"
    return f"crashes without {needed} of {len(ablated)} units; worst {worst.of}: {worst.value:.1f}"
