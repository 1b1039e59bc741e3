"""Stability of saliency maps under pixel noise, measured by structural similarity (SSIM).

    SSIM = (2 μ_a μ_b + c₁)(2 σ_ab + c₂) / ((μ_a² + μ_b² + c₁)(σ_a² + σ_b² + c₂))

with means, variances and covariance under a Gaussian window of 11 × 11 pixels and standard
deviation 1.5 pixels, c₁ = 0.01² and c₂ = 0.03² for maps in [0, 1]. The result is averaged over the
positions at which the window lies inside the map.

Sources: Wang et al. 2004, "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 13:600; its use on noisy saliency maps: Lechner et al. 2020.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ncp_control.audit.faults import add_pixel_noise
from ncp_control.audit.saliency import gaussian_window, saliency
from ncp_control.policy import Policy

_RADIUS, _DEVIATION = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(
    a: Float[Tensor, "batch height width"], b: Float[Tensor, "batch height width"]
) -> Float[Tensor, " batch"]:
    """Return the structural similarity of pairs of maps in [0, 1]; 1 if they are equal.

    Raises:
        ValueError: If the shapes differ or a side is shorter than the window (11 pixels).
    """
    size = 2 * _RADIUS + 1
    if a.shape != b.shape or a.ndim != 3 or min(a.shape[1:]) < size:
        raise ValueError(
            f"`a` and `b` must have one shape (batch, height, width) of at least {size} × {size}"
            f" pixels, got {tuple(a.shape)} and {tuple(b.shape)}. Compare maps of equal frames."
        )
    window = gaussian_window(_RADIUS, _DEVIATION).to(a)
    products = torch.stack([a, b, a * a, b * b, a * b], dim=1).flatten(0, 1)[:, None]
    smooth = F.conv2d(F.conv2d(products, window[None, None, :, None]), window[None, None, None])
    mean_a, mean_b, square_a, square_b, product = smooth[:, 0].unflatten(0, (-1, 5)).unbind(1)
    variances = square_a - mean_a**2 + square_b - mean_b**2
    covariance = product - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    return (similarity / ((mean_a**2 + mean_b**2 + _C1) * (variances + _C2))).mean((1, 2))


def saliency_stability(
    policy: Policy,
    observations: np.ndarray,
    variances: Sequence[float],
    method: str = "visual_backprop",
    *,
    seed: int = 0,
    **options: Any,
) -> Float[Tensor, "variances batch"]:
    """Return the structural similarity between the saliency maps of clean and of noisy frames.

    Args:
        policy: The policy.
        observations: As in `saliency`, uint8; noise is added to their frames.
        variances: Variances of the Gaussian noise, for pixel values in [0, 1].
        method: A name in `ncp_control.audit.saliency.METHODS`.
        seed: Seed of the noise, the same at every variance.
        options: Passed to `saliency`: neuron, action, state, dt_s.
    """
    clean = saliency(policy, observations, method, **options)
    frames, similarities = policy.frames_of(observations), []
    for variance in variances:
        noisy = add_pixel_noise(frames, variance, np.random.default_rng(seed))
        noisy = policy.with_frames(observations, noisy)
        similarities.append(ssim(clean, saliency(policy, noisy, method, **options)))
    return torch.stack(similarities)
