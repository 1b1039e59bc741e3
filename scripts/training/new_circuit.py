"""Settings of the circuit that a training job builds; imports nothing heavy."""

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
"""Names in `ncp_control.cells.first_values.SYNAPSES`; a test checks that they match."""
READS = ("motor", "command", "all")
"""Names in `ncp_control.cells.synaptic.READS`; the same test checks that they match."""


class Drawn(TypedDict):
    """Arguments about wiring and outputs of a circuit, for the recipes in `policies`."""

    wiring: str | None
    reads: str | None


@dataclass(frozen=True, kw_only=True)
class NewCircuit:
    """Settings of a training job that builds a new circuit: wiring and initial values."""

    wiring: Annotated[str | None, one_of("wiring")] = None
    """Wiring of a wired circuit; if None: the default of the cell and the job."""
    reads: str | None = None
    """Neurons that an output of an LTC, STC or LRC circuit depends on. motor: only its motor
    neuron; command: also the command neurons; all: all neurons. If None: motor."""
    tau_s: tuple[float, float] | None = None
    """Shortest and longest initial time constant of the neurons [s], e.g. 0.02 0.5. If None: the
    default of the cell, which for most neurons of an LTC is below a frame."""
    synapses: str | None = None
    """Initial thresholds and slopes of the synapses of an LTC, STC or LRC: published, graded or
    flat. If None: the default of the cell."""

    def __post_init__(self) -> None:
        if self.tau_s is not None:
            check_time_range("tau_s", self.tau_s)
        if self.synapses is not None:
            check_name("synapses", self.synapses, SYNAPSES)
        if self.reads is not None:
            check_name("reads", self.reads, READS)

    @property
    def drawn(self) -> Drawn:
        """Wiring and outputs as arguments for the recipes in `policies`."""
        return {"wiring": self.wiring, "reads": self.reads}

    @property
    def first_values(self) -> dict[str, Any]:
        """Settings of the initial values that are not None, by name."""
        asked = {"tau_s": self.tau_s, "synapses": self.synapses}
        return {name: value for name, value in asked.items() if value is not None}

    def begin(self, cell: "Cell", inputs: "Tensor", seed: int) -> None:
        """Set the initial values of a new cell, where given; see `set_first_values_`."""
        from ncp_control.cells.first_values import set_first_values_

        set_first_values_(cell, inputs, **self.first_values, seed=seed)

    def begin_from(
        self, policy: "Policy", demonstrations: "Demonstrations", window: int, seed: int
    ) -> None:
        """Do the same for the circuit of a new policy, with its features of demonstrations.

        Args:
            policy: The new policy, changed in place.
            demonstrations: Demonstrations.
            window: Number of frames of each sequence of features.
            seed: Seed of the windows and of the values.
        """
        if not self.first_values:
            return
        import torch

        from ncp_control.learning.demonstrations import Windows

        batch = next(iter(Windows(demonstrations, window, 16, seed)))
        with torch.no_grad():
            self.begin(policy.circuit.cell, policy.features(batch.observations), seed)
