"""Save and restore the states of torch's global random generators, used e.g. by dropout.

Operations on CUDA draw from the generator of their device, all others from that of the CPU.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """Return the generator states: "torch" for the CPU, and for a CUDA device also "cuda"."""
    states = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the generators to states from `generator_states`; generators without one are kept."""
    if "torch" in states:
        torch.set_rng_state(states["torch"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def drawn_from(states: Mapping[str, Tensor], device: torch.device) -> Iterator[None]:
    """Within the block, let torch draw from these states; afterwards restore the old ones."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus, device_type="cuda"):
        set_generators(states, device)
        yield
