"""Loss functions besides the squared error of actions."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def choice_cross_entropy(scores: Tensor, wanted: Tensor, choices: Sequence[int]) -> Tensor:
    """Return the cross-entropy −Σ_e log softmax(scores of entry e)[wanted choice of e].

    Args:
        scores: Outputs of a policy with discrete choices (logits), shape (…, output).
        wanted: Indices of the correct choices, shape (…, entry).
        choices: Number of choices of each entry, as in `Policy.choices`.

    Returns:
        Losses, summed over the entries e, of shape (…).

    Raises:
        ValueError: If there is not one score per choice and one wanted choice per entry, or a
            wanted choice is out of range.
    """
    if scores.shape[-1] != sum(choices) or wanted.shape[-1] != len(choices):
        raise ValueError(
            f"`scores` and `wanted` must hold {sum(choices)} scores and {len(choices)} choices, got"
            f" {scores.shape[-1]} and {wanted.shape[-1]}. Choose the policy of this world."
        )
    total = scores.new_zeros(scores.shape[:-1])
    for entry, block in enumerate(scores.split(list(choices), dim=-1)):
        right = wanted[..., entry].long()
        if right.numel() and not (0 <= int(right.min()) and int(right.max()) < choices[entry]):
            raise ValueError(
                f"`wanted` must hold choices from 0 to {choices[entry] - 1} in entry {entry}, got"
                f" {int(right.min())} to {int(right.max())}. Check the demonstrations."
            )
        losses = F.cross_entropy(block.flatten(0, -2), right.flatten(), reduction="none")
        total = total + losses.unflatten(0, right.shape)
    return total
