"""Parts of an audit that need a camera: saliency maps and the effect of faults."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ncp_control.audit.bounds import Certificate
from ncp_control.audit.robustness import fault_responses
from ncp_control.audit.samples import mean_with_error
from ncp_control.audit.stability import saliency_stability
from ncp_control.episode import Episode
from ncp_control.policy import Policy
from scripts.auditing import audit_figures as figures
from scripts.auditing.maps import Saliency
from scripts.auditing.overview import overview
from scripts.reporting import Part, Table

NOISE_VARIANCES = (0.1, 0.2, 0.3)
"""Variances of pixel noise in the paper."""
STABILITY_FRAMES = {"visual_backprop": 200, "input_gradient": 50}
"""Number of frame pairs by method: the paper's number, fewer where maps are expensive."""


def saliency_part(audited: Episode, maps: Saliency) -> Part:
    """Show the saliency maps of each method."""
    return Part(
        text=[
            "VisualBackProp shows what the convolutions react to; the other maps show what"
            f" {audited.action_names[0]} depends on in this frame, given the history. Integrated"
            " gradients start from the blurred frame.",
            *maps.refused,
        ],
        figures={"saliency": figures.saliency_maps(audited, maps)},
    )


def overview_part(audited: Episode, maps: Saliency, certificate: Certificate) -> Part:
    """Show the audit at a glance."""
    return Part(text=[], figures={"overview": overview(audited, maps, certificate)})


class Stability(NamedTuple):
    """Similarity of the saliency maps of clean and noisy frames."""

    method: str
    variance: float
    mean: float
    standard_error: float
    """Standard error of the mean over the effective frames; NaN if they count as one only."""
    num_frames: int
    effective_frames: float
    """Equivalent number of independent frames: neighbouring frames have similar maps."""


def measure_stability(
    policy: Policy, audited: Episode, seed: int, methods: Iterable[str] = tuple(STABILITY_FRAMES)
) -> list[Stability]:
    """Compare maps of clean and noisy frames, for `methods` that `STABILITY_FRAMES` lists."""
    measured = []
    for method in [name for name in STABILITY_FRAMES if name in methods]:
        num_frames = min(STABILITY_FRAMES[method], len(audited.time_s))
        index = np.linspace(0, len(audited.time_s) - 1, num_frames).astype(int)
        found = saliency_stability(
            policy,
            audited.recorded_observations[index],
            NOISE_VARIANCES,
            method,
            seed=seed,
            state=audited.recorded_activity.states_before[index],
            dt_s=audited.recorded_activity.dt_s[0, index],
        )
        for variance, similarity in zip(NOISE_VARIANCES, found, strict=True):
            mean, error, effective = mean_with_error(similarity.cpu().numpy())
            measured.append(Stability(method, variance, mean, error, num_frames, effective))
    return measured


def stability_part(policy: Policy, audited: Episode, maps: Saliency, seed: int) -> Part:
    """Report how stable the computed maps are under pixel noise."""
    rows = measure_stability(policy, audited, seed, maps.by_method)
    header = (
        "method",
        "noise variance",
        "mean SSIM",
        "standard error",
        "frame pairs",
        "effective pairs",
    )
    return Part(
        text=[
            "Structural similarity of the maps of clean frames to those of the same frames with"
            " pixel noise; 1 is no change. The standard error counts effective pairs: neighbouring"
            " frames have like maps."
        ],
        tables={"saliency_stability": Table(header=header, rows=rows)},
    )


def robustness_part(policy: Policy, audited: Episode, seed: int) -> Part:
    """Report how much faults of the frames change the actions and the neurons, in open loop."""
    dt_s = audited.recorded_activity.dt_s[0].numpy()
    responses = fault_responses(policy, audited.recorded_observations, dt_s, seed=seed)
    rows = [(r.fault, r.action_rms, r.action_largest, r.state_rms) for r in responses]
    header = ("fault", "RMS change of the action", "largest", "RMS change of the neurons")
    return Part(
        text=[
            "The same frames, spoilt, in open loop; changes of neurons in units of their own"
            " deviation over the episode."
        ],
        tables={"robustness": Table(header=header, rows=rows)},
        figures={"robustness": figures.robustness(responses)},
    )
