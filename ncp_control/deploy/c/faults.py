"""C code that finds the faults of a single observation, as the monitor of the loop does.

See `ncp_control.loop.monitor`. What shows only over time is left to the caller: observations that
are missing, late, out of order or frozen.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ncp_control.audit.interval_circuit import Interval
from ncp_control.cells.plain_numbers import to_float32
from ncp_control.contract import ObservationContract
from ncp_control.deploy.c.senses import Senses
from ncp_control.deploy.c.stages import Stage
from ncp_control.deploy.c.tables import number, table, within_float32
from ncp_control.loop.monitor import CLEARLY_FARTHER
from ncp_control.loop.profile import (
    BLOCK_COLUMNS,
    BLOCK_ROWS,
    InputProfile,
    block_ends,
    has_colours,
)
from ncp_control.loop.settings import MonitorSettings
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.records import entries_of

FAULTS = {
    "not finite": 1,
    "black": 2,
    "white": 4,
    "range": 8,
    "blurred": 16,
    "colours": 32,
    "far": 64,
}
"""Code in C of each fault of `ncp_control.loop.monitor`; an observation may have several."""
UNUSABLE = ("not finite", "black", "white")
"""Faults of observations that the policy must not see."""


@dataclass(frozen=True, kw_only=True)
class FaultFinder:
    """C code and tables that find the faults of an observation."""

    stage: Stage
    """Tables and code."""
    call: str
    """C statements that return the faults of `observation` or add them to `faults`."""


def fault_finder(policy: Policy, senses: Senses, profile: InputProfile | None) -> FaultFinder:
    """Return the code that finds the faults of a policy's observations.

    Args:
        policy: The policy.
        senses: Stage that turns its observations into features.
        profile: Statistics of inputs in good driving. If None, no observation is far, blurred or of
            wrong colours.

    Raises:
        ValueError: If the profile belongs to other observations.
    """
    found = []
    if policy.contract is not None:
        found.append(_range(policy.contract.observation, senses))
    if senses.frame:
        found.append(_light(senses))
    if profile is not None:
        found.append(_likeness(policy, senses, profile))
    found = [one for one in found if one is not None]
    stage = Stage(
        constants={name: value for one in found for name, value in one.stage.constants.items()},
        tables="".join(one.stage.tables for one in found),
        parts=tuple(name for one in found for name in one.stage.parts),
        scratch=tuple(field for one in found for field in one.stage.scratch),
    )
    lines = [one.call for one in found]
    if not stage.scratch:
        lines.insert(0, "(void)w; /* not needed */")
    if senses.numbers:
        finite = f"are_finite({senses.numbers}, {senses.num_numbers})"
        lines.insert(0, f"if (!{finite}) return CONTROLLER_FAULT_NOT_FINITE;")
    return FaultFinder(stage=stage, call="\n    ".join(lines))


def limit_tables(name: str, limits: Interval) -> str:
    """Return the tables `name`_lowest and `name`_highest; infinity becomes the largest number."""
    return "".join(
        table(f"{name}_{end}", within_float32(values))
        for end, values in zip(("lowest", "highest"), limits, strict=True)
    )


def _range(observation: ObservationContract, senses: Senses) -> FaultFinder | None:
    """Return the code that compares numbers with their ranges; None if all ranges are infinite."""
    ranges = np.array([entry.range for entry in entries_of(observation)]).reshape(-1, 2)
    if not np.isfinite(ranges).any():
        return None
    within = f"are_within({senses.numbers}, observed_lowest, observed_highest, {len(ranges)})"
    return FaultFinder(
        stage=Stage(tables=limit_tables("observed", Interval(ranges[:, 0], ranges[:, 1]))),
        call=f"if (!{within}) faults |= CONTROLLER_FAULT_RANGE;",
    )


def _light(senses: Senses) -> FaultFinder:
    """Return the code that finds black and white frames."""
    settings = MonitorSettings()
    constants = {
        "BLACK_BELOW": number(settings.black_below),
        "WHITE_ABOVE": number(settings.white_above),
    }
    return FaultFinder(
        stage=Stage(constants=constants, parts=("light_fault",)),
        call=f"faults |= light_fault({senses.frame});\n"
        "    if (faults & CONTROLLER_FAULTS_UNUSABLE) return faults;",
    )


def _likeness(policy: Policy, senses: Senses, profile: InputProfile) -> FaultFinder:
    """Return the code that compares observations with good driving."""
    if policy.contract is None:
        raise ValueError(
            "`profile` must be left out for a policy without a contract, whose observations nobody"
            " has described. Set policy.contract."
        )
    profile.check_observations(policy.contract.observation)
    observation, size = policy.contract.observation, len(profile.mean)
    constants: dict[str, Any] = {"STATISTICS": size, "FARTHEST": number(profile.limit)}
    lower = profile.whitening[np.tril_indices(size)]
    tables = table("profile_mean", to_float32(profile.mean))
    tables += table("whitening", to_float32(lower))
    if senses.numbers and profile.number_ranges is not None:
        constants["SEEN_NUMBERS"] = senses.num_numbers
        tables += limit_tables("seen", Interval(*profile.number_ranges.T))
    parts: tuple[str, ...] = ("profile_distance", "likeness_fault")
    lines = []
    if senses.numbers:
        copied = f"w->statistics[k] = {senses.numbers}[k];"
        lines.append(f"for (int k = 0; k < {senses.num_numbers}; k++) {copied}")
    if isinstance(policy, FramesPolicy):
        height, width, _ = policy.frame_shape
        is_coloured = has_colours(observation)
        constants |= {
            "COLOURS": 3 if is_coloured else 1,
            "BLOCK_ROWS": BLOCK_ROWS,
            "BLOCK_COLUMNS": BLOCK_COLUMNS,
            "LEAST_SHARPNESS": _limit(profile.least_sharpness, "-FLT_MAX"),
        }
        if is_coloured:
            constants["SWAP_RATIO"] = _limit(profile.swap_ratio, "FLT_MAX")
            constants["CLEARLY_FARTHER"] = number(CLEARLY_FARTHER)
        tables += table("block_rows", block_ends(height, BLOCK_ROWS), "int16_t")
        tables += table("block_columns", block_ends(width, BLOCK_COLUMNS), "int16_t")
        parts = ("frame_statistics", "profile_distance", "likeness_fault_frame")
        lines.append(f"frame_statistics({senses.frame}, w->statistics + {senses.num_numbers});")
    lines.append("faults |= likeness_fault(w->statistics, distance);")
    stage = Stage(
        constants=constants,
        tables=tables,
        parts=parts,
        scratch=(f"float statistics[{size}]",),
    )
    return FaultFinder(stage=stage, call="\n    ".join(lines))


def _limit(limit: float | None, default: str) -> str:
    return default if limit is None else number(limit)
