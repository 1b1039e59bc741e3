"""The states of torch's own generators, which e.g. dropout draws from.

What lies on CUDA draws from a generator of that device, everything else from that of the CPU.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states by name: "torch" of the CPU, and on CUDA "cuda" of the device."""
    states = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the generators to states of `generator_states`; one without a state stays as it is."""
    if "torch" in states:
        torch.set_rng_state(states["torch"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def drawn_from(states: Mapping[str, Tensor], device: torch.device) -> Iterator[None]:
    """Let torch draw from these states until the end, and then go on where it was."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus, device_type="cuda"):
        set_generators(states, device)
        yield
