"""Demonstrations: what an expert saw and did, on disk, and windows of it to learn from.

`DemonstrationWriter` records a store, `Demonstrations` opens it memory-mapped, `windows` draws the
batches of one epoch for backpropagation through time. Nothing here knows a camera or a simulator:
an observation is an array of any fixed shape.
"""

from ncp_control.learning.demonstrations.stacked import as_seen, stacked
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.learning.demonstrations.windows import Batch, Windows, windows
from ncp_control.learning.demonstrations.writer import DemonstrationWriter

__all__ = [
    "Batch",
    "DemonstrationWriter",
    "Demonstrations",
    "Windows",
    "as_seen",
    "stacked",
    "windows",
]
