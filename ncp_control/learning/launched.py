"""Information that torchrun passes to its processes: number of processes, rank, restarts."""

import os
import socket


def is_launched() -> bool:
    """Return whether torchrun started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def rank() -> int:
    """Return the rank of this process among the processes of torchrun; 0 if it is alone."""
    return int(os.environ.get("RANK", "0")) if is_launched() else 0


def is_restarted() -> bool:
    """Return whether torchrun restarted all processes because one had ended."""
    return is_launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch_name() -> str | None:
    """Return a name shared by all processes of one torchrun on this machine, also after restarts.

    None if torchrun did not start this process.
    """
    if not is_launched():
        return None
    return f"{socket.gethostname()}-{os.getppid()}-{os.environ.get('TORCHELASTIC_RUN_ID', '')}"
