"""The device that a setting names."""

import torch


def find_device(name: str) -> torch.device:
    """Return the device that a setting means on this machine.

    Args:
        name: `auto` for cuda where there is one and else the CPU, or a name that torch knows.

    Raises:
        ValueError: If torch does not know the name, or the device is not there.
    """
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
