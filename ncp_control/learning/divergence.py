"""Trainings that diverge: noticed before a world meets an action that is no number."""

import torch
from torch import nn


def has_diverged(model: nn.Module) -> bool:
    """Say whether a weight is NaN or infinite."""
    return not all(bool(torch.isfinite(weight).all()) for weight in model.parameters())
