"""`SynapticCell`: base class of all neurons with conductances.

A wiring defines the synapses. With constant inputs, a circuit is a membrane,
C dv/dt = b(v) − a(v) v, which an integrator of `ncp_control.integrators` advances. Output k is

    a_k v_k + b_k + Σ_j R_kj v_j

where v_k is the potential of its motor neuron and j runs over the additional neurons that `reads`
selects: none (as in the papers), the command neurons, or all neurons except the motor neurons. R
(read_weight) begins at 0.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ncp_control.cells.base import Cell, Step
from ncp_control.cells.membrane import find_layers
from ncp_control.integrators import INTEGRATORS, Membrane
from ncp_control.kernels.dense_op import Program
from ncp_control.kernels.eager import is_plain
from ncp_control.names import check_name
from ncp_control.ranges import check_count
from ncp_control.wiring import Wiring, check_wiring

READS = ("motor", "command", "all")
"""Neurons that the outputs of a circuit are read from: see `SynapticCell`."""
EQUATIONS = ("ltc", "stc", "lrc", "symmetric_lrc")
"""Neuron equations of the kernel; the position is the number of the equation in the kernel."""
KERNEL_INTEGRATORS = (
    "semi_implicit_euler",
    "explicit_euler",
    "exponential_euler",
    "layered_midpoint",
)
"""Integrators of the kernel; the position is the number of the integrator in the kernel."""
MAX_UNFOLDS = 1_000_000
"""Largest number of sub-steps that is accepted; a much larger one comes from a damaged file."""


class SynapticCell(Cell):
    """Base class of neurons with conductances, connected by a wiring.

    A subclass defines its parameters, with a `threshold` and a `slope` for every synapse, and then
    calls `_add_maps`. It defines `effective_parameters`, `project`, `_inner` and `_hold`.

    Args:
        wiring: The synapses between inputs and neurons; fixed.
        frame_s: Nominal frame interval [s].
        integrator: A name in `ncp_control.integrators.INTEGRATORS`.
        unfolds: Sub-steps of the integrator in each frame, from 1 to a million.
        reads: Neurons that the outputs are read from: motor (each output from its motor neuron),
            command (linearly from the command neurons as well), or all (from all other neurons as
            well).

    Raises:
        TypeError: If `wiring` is not a Wiring.
        ValueError: If the integrator is unknown or does not suit the wiring, `unfolds` is out of
            range, or `reads` is unknown or names neurons that the wiring lacks.
    """

    source: Tensor
    target: Tensor
    sign: Tensor
    threshold: nn.Parameter
    slope: nn.Parameter

    def __init__(
        self, wiring: Wiring, *, frame_s: float, integrator: str, unfolds: int, reads: str
    ) -> None:
        check_wiring(wiring)
        super().__init__(wiring.num_sensory, wiring.num_neurons, wiring.num_motor, frame_s=frame_s)
        check_name("integrator", integrator, INTEGRATORS)
        unfolds = check_count("unfolds", unfolds)
        if unfolds > MAX_UNFOLDS:
            raise ValueError(f"`unfolds` must be at most {MAX_UNFOLDS}, got {unfolds!r}.")
        check_name("reads", reads, READS)
        self.wiring = wiring
        self.reads = reads
        self.integrator = integrator
        self.unfolds = unfolds
        self.layers = find_layers(wiring) if integrator == "layered_midpoint" else ()
        # Stored here because the wiring computes it at first use, which torch.compile cannot trace.
        self._num_sensory_synapses = wiring.num_sensory_synapses
        self._known_wiring: tuple[Any, ...] = (None, None, None, None)
        self.register_buffer("source", torch.tensor(wiring.sources))
        self.register_buffer("target", torch.tensor(wiring.targets - wiring.num_sensory))
        signs = torch.tensor(wiring.signs, dtype=torch.get_default_dtype())
        self.register_buffer("sign", signs)

    def _add_maps(self) -> None:
        """Add scale and offset of each input and output, and the weights that `reads` needs."""
        wiring = self.wiring
        self.input_scale = nn.Parameter(torch.ones(wiring.num_sensory))
        self.input_offset = nn.Parameter(torch.zeros(wiring.num_sensory))
        self.output_scale = nn.Parameter(torch.ones(wiring.num_motor))
        self.output_offset = nn.Parameter(torch.zeros(wiring.num_motor))
        last = wiring.num_neurons - wiring.num_motor
        num_read = {"motor": 0, "command": len(wiring.layers["command"]), "all": last}[self.reads]
        if self.reads != "motor" and not num_read:
            raise ValueError(
                "`reads` must be 'motor' for a wiring without such other neurons, got"
                f" {self.reads!r}."
            )
        self.read_neurons = slice(last - num_read, last)
        self.read_weight = (
            nn.Parameter(torch.zeros(wiring.num_motor, num_read)) if num_read else None
        )

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "wiring": self.wiring,
            "frame_s": self.frame_s,
            "integrator": self.integrator,
            "unfolds": self.unfolds,
            **({} if self.reads == "motor" else {"reads": self.reads}),
        }

    @property
    def neuron_names(self) -> list[str]:
        """`inter_0`, …, `command_0`, …, `motor_0`, in the order of the state."""
        return self.wiring.neuron_names

    def effective_parameters(self) -> Any:
        """Map the free parameters to the physical values of the neuron equation, by name."""
        raise NotImplementedError

    def _inner(self) -> Any:
        """Return the parts of the neuron equation that do not depend on the inputs."""
        raise NotImplementedError

    def _hold(self, inner: Any, projected: Float[Tensor, "batch projected"]) -> Membrane:
        """Return the neuron equation for constant inputs."""
        raise NotImplementedError

    def _make_program(
        self,
        equation: str,
        weights: tuple[Tensor, ...],
        neurons: tuple[Tensor, ...],
        *,
        signal_weights: tuple[Tensor, ...] = (),
    ) -> Program | None:
        """Return the description from which the kernel runs the circuit; None if it cannot.

        Args:
            equation: A name in `EQUATIONS`.
            weights: Contribution of an open synapse to each sum of its target, each (synapses,).
            neurons: Capacitance [frames], the sums without any synapse, and further parameters of
                each neuron in the equation, each of shape (neurons,).
            signal_weights: Weight of the presynaptic signal itself in a further sum, (synapses,).
        """
        # Tensor attributes that are not parameters were computed from others, e.g. by pruning.
        is_found_elsewhere = any(isinstance(value, Tensor) for value in vars(self).values())
        if self.integrator not in KERNEL_INTEGRATORS or is_found_elsewhere:
            return None
        scale, offset = self._maps_by_synapse()
        slope, shift = self.slope * scale, self.slope * (offset - self.threshold)
        synapses = torch.stack(
            (slope, shift, *weights, *(w * scale for w in signal_weights)), dim=1
        )
        numbers = EQUATIONS.index(equation), KERNEL_INTEGRATORS.index(self.integrator), self.unfolds
        matrices: list[tuple[Tensor, ...]] = [(synapses,), (torch.stack(neurons, dim=1),)]
        return Program("synaptic", matrices, numbers, self._wiring_numbers())

    def _maps_by_synapse(self) -> tuple[Tensor, Tensor]:
        """Return scale and offset of the presynaptic signal of each synapse, shape (synapses,)."""
        ones, zeros = (
            make(self.state_size) for make in (self.slope.new_ones, self.slope.new_zeros)
        )
        scale, offset = torch.cat([self.input_scale, ones]), torch.cat([self.input_offset, zeros])
        return scale[self.source], offset[self.source]

    def _wiring_numbers(self) -> Tensor:
        """Return sources, targets and layers in the kernel's format, int64, one-dimensional.

        The same tensor object is returned while the wiring is unchanged: GPU kernels identify a
        wiring by this object.
        """
        if torch.compiler.is_compiling() or self.source.is_inference():
            return self._join_numbers()
        source, target, *known = self._known_wiring
        versions = self.source._version, self.target._version
        if source is self.source and target is self.target and known[0] == versions:
            return known[1]
        with torch.inference_mode(False):  # the cached tensor is used in training as well
            numbers = self._join_numbers()
        if is_plain(numbers):
            self._known_wiring = self.source, self.target, versions, numbers
        return numbers

    def _join_numbers(self) -> Tensor:
        numbers = [self.source, self.target]
        if self.layers:
            layers = [
                (x.neurons.start, x.neurons.stop, x.is_recurrent, x.synapses.start, x.synapses.stop)
                for x in self.layers
            ]
            numbers.append(self.source.new_tensor(layers, dtype=torch.int64).flatten())
        return torch.cat(numbers)

    def stepper(self) -> Step:
        """Return `step` with the effective parameters and synapses computed in advance."""
        return partial(self._advance, self._inner())

    def step(
        self,
        projected: Float[Tensor, "batch projected"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Advance the membrane potentials by `dt_s` seconds, given `project(inputs)`."""
        return self._advance(self._inner(), projected, state, dt_s)

    def _advance(self, inner: Any, projected: Tensor, state: Tensor, dt_s: Tensor) -> Tensor:
        integrate = INTEGRATORS[self.integrator]
        return integrate(self._hold(inner, projected), state, dt_s[:, None], self.unfolds)

    def membrane(self, inputs: Float[Tensor, "batch input"]) -> Membrane:
        """Evaluate the sensory synapses and return the neuron equation for constant inputs."""
        return self._hold(self._inner(), self.project(inputs))

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Scale and shift the potentials of the motor neurons; add those of further neurons."""
        outputs = state[..., -self.output_size :] * self.output_scale + self.output_offset
        return outputs if self.read_weight is None else outputs + self._read(state)

    def _read(self, state: Tensor) -> Tensor:
        """Return the contribution to the outputs of neurons other than the motor neurons."""
        assert self.read_weight is not None
        return F.linear(state[..., self.read_neurons], self.read_weight)

    @property
    def has_timescales(self) -> bool:
        """Always True: the time constants depend on inputs and state."""
        return True

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ_i = C_i / a_i [s] at the given inputs and state."""
        membrane = self.membrane(inputs)
        conductance, _ = membrane.conductance_and_drive(state)
        return membrane.capacitance_s / conductance


def uniform(size: int, low: float, high: float) -> Tensor:
    """Draw initial values uniformly from a range, shape (size,)."""
    return torch.empty(size).uniform_(low, high)


def inverse_softplus(value: Tensor) -> Tensor:
    """Return x with softplus(x) = value, for value > 0."""
    return value + torch.log(-torch.expm1(-value))
