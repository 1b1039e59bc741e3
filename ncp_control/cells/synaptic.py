"""`SynapticCell`: what all neurons with conductances share, whatever their equation.

A wiring says who is connected to whom. While its inputs are held, a circuit is a membrane,
C dv/dt = b(v) − a(v) v, which an integrator of `ncp_control.integrators` advances. Output k is

    a_k v_k + b_k + Σ_j R_kj v_j

with v_k its motor neuron, and j over the further neurons that `reads` names: none, as in the
papers, or the command neurons, or all that are no motor neurons. R (read_weight) begins at 0.
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
"""What the outputs of a circuit are read from: see `SynapticCell`."""
EQUATIONS = ("ltc", "stc", "lrc", "symmetric_lrc")
"""Equations of neurons that the kernel has, by their number there."""
KERNEL_INTEGRATORS = (
    "semi_implicit_euler",
    "explicit_euler",
    "exponential_euler",
    "layered_midpoint",
)
"""Integrators that it has, by their number there."""
MAX_UNFOLDS = 1_000_000
"""More sub-steps than any frame needs; a number far beyond is a damaged setting."""


class SynapticCell(Cell):
    """Base class of neurons with conductances, connected by a wiring.

    A subclass defines its parameters, with a `threshold` and a `slope` for every synapse, and then
    calls `_add_maps`. It defines `effective_parameters`, `project`, `_inner` and `_hold`.

    Args:
        wiring: Who is connected to whom; frozen.
        frame_s: Nominal frame interval [s].
        integrator: A name in `ncp_control.integrators.INTEGRATORS`.
        unfolds: Sub-steps of the integrator in each frame, from 1 to a million.
        reads: What the outputs are read from: motor (each from its motor neuron), command (linearly
            from the command neurons as well), or all (from all other neurons as well).

    Raises:
        TypeError: If `wiring` is none.
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
            raise ValueError(f"`unfolds` must be at most {MAX_UNFOLDS}, got {unfolds!r}. Lower it.")
        check_name("reads", reads, READS)
        self.wiring = wiring
        self.reads = reads
        self.integrator = integrator
        self.unfolds = unfolds
        self.layers = find_layers(wiring) if integrator == "layered_midpoint" else ()
        # The wiring finds it at the first use, which torch.compile could not follow.
        self._num_sensory_synapses = wiring.num_sensory_synapses
        self._known_wiring: tuple[Any, ...] = (None, None, None, None)
        self.register_buffer("source", torch.tensor(wiring.sources))
        self.register_buffer("target", torch.tensor(wiring.targets - wiring.num_sensory))
        signs = torch.tensor(wiring.signs, dtype=torch.get_default_dtype())
        self.register_buffer("sign", signs)

    def _add_maps(self) -> None:
        """Add the affine map into each input, and what reads the outputs."""
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
        """Return what the equation is made of, whatever the inputs."""
        raise NotImplementedError

    def _hold(self, inner: Any, projected: Float[Tensor, "batch projected"]) -> Membrane:
        """Return the equation that is left while the inputs are held."""
        raise NotImplementedError

    def _make_program(
        self,
        equation: str,
        weights: tuple[Tensor, ...],
        neurons: tuple[Tensor, ...],
        *,
        seen_weights: tuple[Tensor, ...] = (),
    ) -> Program | None:
        """Return what the kernel needs to know of the circuit, or None if it cannot run it.

        Args:
            equation: A name in `EQUATIONS`.
            weights: What an open synapse adds to each sum of its target.
            neurons: Capacitance [frames], the sums without any synapse, and what else the equation
                knows of a neuron, each of shape (neurons,).
            seen_weights: By how much a synapse adds what it sees to a further sum.
        """
        # Attributes that are no parameters were found from others before a call, e.g. by pruning.
        is_found_elsewhere = any(isinstance(value, Tensor) for value in vars(self).values())
        if self.integrator not in KERNEL_INTEGRATORS or is_found_elsewhere:
            return None
        scale, offset = self._maps_by_synapse()
        slope, shift = self.slope * scale, self.slope * (offset - self.threshold)
        synapses = torch.stack((slope, shift, *weights, *(w * scale for w in seen_weights)), dim=1)
        numbers = EQUATIONS.index(equation), KERNEL_INTEGRATORS.index(self.integrator), self.unfolds
        matrices: list[tuple[Tensor, ...]] = [(synapses,), (torch.stack(neurons, dim=1),)]
        return Program("synaptic", matrices, numbers, self._wiring_numbers())

    def _maps_by_synapse(self) -> tuple[Tensor, Tensor]:
        """Return scale and offset of what each synapse sees."""
        ones, zeros = (
            make(self.state_size) for make in (self.slope.new_ones, self.slope.new_zeros)
        )
        scale, offset = torch.cat([self.input_scale, ones]), torch.cat([self.input_offset, zeros])
        return scale[self.source], offset[self.source]

    def _wiring_numbers(self) -> Tensor:
        """Return sources, targets and layers as the kernel wants them, int64.

        The same tensor as long as the wiring is the same: kernels for GPUs know a wiring by it.
        """
        if torch.compiler.is_compiling() or self.source.is_inference():
            return self._join_numbers()
        source, target, *known = self._known_wiring
        versions = self.source._version, self.target._version
        if source is self.source and target is self.target and known[0] == versions:
            return known[1]
        with torch.inference_mode(False):  # kept for trainings, too
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
        """Return `step` with the parameters mapped and the synapses sorted out once."""
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
        """Evaluate the sensory synapses once and return the equation that is left."""
        return self._hold(self._inner(), self.project(inputs))

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Scale and shift the potentials of the motor neurons; add what else is read."""
        outputs = state[..., -self.output_size :] * self.output_scale + self.output_offset
        return outputs if self.read_weight is None else outputs + self._read(state)

    def _read(self, state: Tensor) -> Tensor:
        """Return what the outputs read from neurons other than their motor neuron."""
        assert self.read_weight is not None
        return F.linear(state[..., self.read_neurons], self.read_weight)

    @property
    def has_timescales(self) -> bool:
        """Always: they are what makes the neurons liquid."""
        return True

    def timescales(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """Return τ_i = C_i / a_i [s] at the given inputs and state."""
        membrane = self.membrane(inputs)
        conductance, _ = membrane.conductance_and_drive(state)
        return membrane.capacitance_s / conductance


def uniform(size: int, low: float, high: float) -> Tensor:
    """Draw first values evenly from a range."""
    return torch.empty(size).uniform_(low, high)


def inverse_softplus(value: Tensor) -> Tensor:
    """Return x with softplus(x) = value, for value > 0."""
    return value + torch.log(-torch.expm1(-value))
