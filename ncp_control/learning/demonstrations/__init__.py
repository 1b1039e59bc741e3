"""Demonstrations: datasets of observations and expert actions on disk, and training windows.

`DemonstrationWriter` records a dataset (a store), `Demonstrations` opens it memory-mapped, and
`Windows` yields the batches of an epoch for backpropagation through time. An observation is an
array of any fixed shape; nothing here depends on a camera or a simulator.
"""

from ncp_control.learning.demonstrations.stacked import as_seen, stacked
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.learning.demonstrations.windows import Batch, Windows
from ncp_control.learning.demonstrations.writer import DemonstrationWriter

__all__ = [
    "Batch",
    "DemonstrationWriter",
    "Demonstrations",
    "Windows",
    "as_seen",
    "stacked",
]
