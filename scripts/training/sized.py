"""Setting of the size of a new policy, by its number of parameters; imports nothing heavy."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncp_control.ranges import check_at_least
from scripts.unused_settings import refuse_changed

if TYPE_CHECKING:
    from ncp_control.policy import Policy

MOST_NEURONS, LEAST_TRIED = 2**14, 2**9
"""Largest number of neurons that `parameters` chooses, and that is tried where none was built."""
_NEAR = 0.1
"""A policy whose number of parameters differs by a larger share comes with a warning."""


@dataclass(frozen=True, kw_only=True)
class Sized:
    """Settings of a training job in which policies of one size are compared."""

    neurons: int | None = None
    """Number of neurons of a wired circuit, of units of any other. If None: 19 and 64."""
    parameters: int | None = None
    """Number of parameters of the new policy, conv head and encoder included: takes the number of
    neurons that comes nearest to it, instead of `neurons`."""

    def check_size(self) -> None:
        """Refuse a number of neurons beside a number of parameters."""
        check_at_least(self, 1, "parameters")
        if self.parameters is not None:
            why = "Either says how large the policy is."
            refuse_changed(self, ("neurons",), "with --parameters", why)

    def build(self, make: "Callable[[Any], Policy]") -> "Policy":
        """Build a policy of this size.

        Args:
            make: Builds it from a number of neurons, or from `neurons`.
        """
        if self.parameters is None:
            return make(self.neurons)
        from ncp_control.layers import num_parameters

        policy = make(nearest(make, self.parameters))
        found = num_parameters(policy)
        if abs(found - self.parameters) > _NEAR * self.parameters:
            warnings.warn(
                f"`parameters` is {self.parameters:,}, but the nearest policy has {found:,}. A head"
                " or an encoder counts too: make it smaller, or ask for more.",
                stacklevel=2,
            )
        return policy


def nearest(make: "Callable[[int], Policy]", parameters: int) -> int:
    """Return the number of neurons whose policy has the number of parameters that is nearest.

    Numbers of neurons of which no policy can be built count as too small. Random numbers are drawn
    as if nothing had been built.

    Args:
        make: Builds a policy from a number of neurons. Its parameters grow with them.
        parameters: Number of parameters.

    Raises:
        ValueError: If no policy can be built, or the largest one is too small.
    """
    import torch

    from ncp_control.layers import num_parameters

    counts: dict[int, int] = {}
    refused: ValueError | None = None

    def is_enough(neurons: int) -> bool:
        nonlocal refused
        with torch.random.fork_rng(devices=[]):
            try:
                counts[neurons] = num_parameters(make(neurons))
            except ValueError as error:
                refused = error
                return False
        return counts[neurons] >= parameters

    low, high = 0, 1
    while not is_enough(high):
        low, high = high, 2 * high
        if refused is not None and not counts and high > LEAST_TRIED:
            raise refused
        if high > MOST_NEURONS:
            raise ValueError(
                f"`parameters` must be at most the {max(counts.values()):,} of a policy with"
                f" {MOST_NEURONS:,} neurons, got {parameters:,}. Lower it, or set --neurons."
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return min(counts, key=lambda neurons: abs(counts[neurons] - parameters))
