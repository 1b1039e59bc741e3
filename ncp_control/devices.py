"""Find the torch device that a setting names, and count the cores."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def check_device(name: str) -> None:
    """Check that a device exists; `auto` and `cpu` pass without importing torch.

    Raises:
        ValueError: If torch does not know the name, or this machine does not have the device.
    """
    if name not in ("auto", "cpu"):
        find_device(name)


def find_device(name: str) -> "torch.device":
    """Return the torch device of a name.

    Args:
        name: `auto` for CUDA if available and else the CPU, or a device name of torch.

    Raises:
        ValueError: If torch does not know the name, or this machine does not have the device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises any of them
        raise ValueError(
            f"`device` must be auto, cpu or a device of this machine, got {name!r}."
            " Leave it at auto to take a GPU where there is one."
        ) from error
    return device


def usable_cores() -> int:
    """Return the number of cores that this process may use; macOS tells only how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
