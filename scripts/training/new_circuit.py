"""What a training can be told of the circuit that it builds, without heavy imports."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from ncp_control.names import check_name
from ncp_control.ranges import check_time_range
from scripts.options import one_of

if TYPE_CHECKING:
    from torch import Tensor

    from ncp_control.cells import Cell
    from ncp_control.learning.demonstrations import Demonstrations
    from ncp_control.policy import Policy

SYNAPSES = ("published", "graded", "flat")
"""Names in `ncp_control.cells.first_values.SYNAPSES`; a test holds the two to each other."""
READS = ("motor", "command", "all")
"""Names in `ncp_control.cells.synaptic.READS`; held to them by the same test."""


class Drawn(TypedDict):
    """How a circuit is drawn, as the recipes of `policies` take it."""

    wiring: str | None
    reads: str | None


@dataclass(frozen=True, kw_only=True)
class NewCircuit:
    """Settings of a training that builds a new circuit: how it is wired, and how it begins."""

    wiring: Annotated[str | None, one_of("wiring")] = None
    """Wiring of a wired circuit; what suits the cell and the job if None."""
    reads: str | None = None
    """Neurons that an output of an LTC, STC or LRC circuit is read from: motor, its motor neuron
    alone; command, the command neurons as well; all, all other neurons as well. motor if None."""
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
        if self.reads is not None:
            check_name("reads", self.reads, READS)

    @property
    def drawn(self) -> Drawn:
        """How the circuit is drawn, for the recipes of `policies`."""
        return {"wiring": self.wiring, "reads": self.reads}

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
