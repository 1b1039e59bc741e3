"""The device that a setting names."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def check_device(name: str) -> None:
    """Refuse what `find_device` does not find; for names that are always found torch is not asked.

    Raises:
        ValueError: If torch does not know the name, or the device is not there.
    """
    if name not in ("auto", "cpu"):
        find_device(name)


def find_device(name: str) -> "torch.device":
    """Return the device that a setting means on this machine.

    Args:
        name: `auto` for cuda where there is one and else the CPU, or a name that torch knows.

    Raises:
        ValueError: If torch does not know the name, or the device is not there.
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
