"""The first values of a circuit that a training can be told, without heavy imports."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncp_control.names import check_name
from ncp_control.ranges import check_time_range

if TYPE_CHECKING:
    from torch import Tensor

    from ncp_control.cells import Cell
    from ncp_control.learning.demonstrations import Demonstrations
    from ncp_control.policy import Policy

SYNAPSES = ("published", "graded", "flat")
"""Names in `ncp_control.cells.first_values.SYNAPSES`; a test holds the two to each other."""


@dataclass(frozen=True, kw_only=True)
class FirstValues:
    """Settings of a training that builds a new circuit."""

    tau_s: tuple[float, float] | None = None
    """Shortest and longest time constant [s] with which the neurons begin, e.g. 0.02 0.5; if None,
    what the cell's recipe gives, for an LTC about a tenth of a frame."""
    synapses: str | None = None
    """Thresholds and slopes with which an LTC, STC or LRC begins: published, graded or flat; if
    None, what its recipe gives."""

    def __post_init__(self) -> None:
        if self.tau_s is not None:
            check_time_range("tau_s", self.tau_s)
        if self.synapses is not None:
            check_name("synapses", self.synapses, SYNAPSES)

    @property
    def first_values(self) -> dict[str, Any]:
        """What was asked for, by name; empty if nothing was."""
        asked = {"tau_s": self.tau_s, "synapses": self.synapses}
        return {name: value for name, value in asked.items() if value is not None}

    def begin(self, cell: "Cell", inputs: "Tensor", seed: int) -> None:
        """Give a new cell the first values that were asked for; see `set_first_values_`."""
        from ncp_control.cells.first_values import set_first_values_

        set_first_values_(cell, inputs, **self.first_values, seed=seed)

    def begin_from(self, policy: "Policy", shown: "Demonstrations", window: int, seed: int) -> None:
        """Do the same with what a new policy perceives of demonstrations."""
        if not self.first_values:
            return
        import torch

        from ncp_control.learning.demonstrations import windows

        batch = next(iter(windows(shown, window, 16, seed)))
        with torch.no_grad():
            self.begin(policy.circuit.cell, policy.features(batch.observations), seed)
