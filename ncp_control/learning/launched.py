"""What torchrun tells a process that it starts: whether there are others, and which it is."""

import os
import socket


def is_launched() -> bool:
    """Return whether torchrun started this process, beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def rank() -> int:
    """Return the number of this process among those that torchrun started; 0 if it is alone."""
    return int(os.environ.get("RANK", "0")) if is_launched() else 0


def is_restarted() -> bool:
    """Return whether torchrun started all processes again, since one had ended."""
    return is_launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch_name() -> str | None:
    """Return what the processes of one torchrun on this machine share, restarts included.

    It is None for a process that torchrun did not start.
    """
    if not is_launched():
        return None
    return f"{socket.gethostname()}-{os.getppid()}-{os.environ.get('TORCHELASTIC_RUN_ID', '')}"
