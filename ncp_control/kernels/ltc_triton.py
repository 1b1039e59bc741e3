"""The LTC kernel for GPUs, in Triton: the counterpart of `ltc.c` for CPUs.

It uses the kernels of all circuits of synapses (`triton_circuit.py`). This file maps free
parameters to the kernels' arguments, and gradients back.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ncp_control.kernels.native import PARAMETER_NAMES
from ncp_control.kernels.triton_circuit import CircuitGradients, Frames, SynapticCircuit
from ncp_control.kernels.triton_plan import Plan, find_plan

if TYPE_CHECKING:
    from ncp_control.kernels.ltc_op import LTCArguments


def unroll(arguments: "LTCArguments", has_tape: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, outputs and tape."""
    q = arguments
    states, tape = _circuit(q).unroll(_frames(q), has_tape)
    motor = states[..., states.shape[2] - q.output_scale.shape[0] :]
    return states, torch.addcmul(q.output_offset, motor, q.output_scale), tape


def adjoint(
    arguments: "LTCArguments",
    states: Tensor,
    tape: Tensor,
    states_bar: Tensor | None,
    output_bar: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return the gradients of the arguments named in `ltc_op.DIFFERENTIABLE`."""
    q = arguments
    neurons, outputs = q.state.shape[1], q.output_scale.shape[0]
    motor, bar = states[..., neurons - outputs :], torch.zeros_like(states)
    if states_bar is not None:
        bar += states_bar
    if output_bar is None:
        output_bar = torch.zeros_like(motor)
    bar[..., neurons - outputs :] += output_bar * q.output_scale
    found = _circuit(q).adjoint(_frames(q), tape.contiguous(), bar)
    gradients = {
        "input": found.input,
        "state": found.state,
        "dt_s": found.time,
        "output_scale": (output_bar * motor).sum((0, 1)),
        "output_offset": output_bar.sum((0, 1)),
        **_through_maps(q, found),
    }
    return tuple(
        gradients[name].contiguous() for name in ("input", "state", "dt_s", *PARAMETER_NAMES)
    )


def _frames(q: "LTCArguments") -> Frames:
    reset = None if q.reset is None else q.reset.contiguous()
    return Frames(q.input.contiguous(), q.state.contiguous(), q.dt_s.contiguous(), reset)


def _circuit(q: "LTCArguments") -> SynapticCircuit:
    """Return the circuit of effective parameters; its synapses include the map of the inputs."""
    scale, offset = _maps_by_synapse(q)
    weight = F.softplus(q.raw_weight)
    drive = weight * q.sign * F.softplus(q.raw_reversal)
    leak = F.softplus(q.raw_leak_conductance)
    return SynapticCircuit(
        plan=_plan(q),
        table=torch.stack([q.slope * scale, q.slope * (offset - q.threshold), weight, drive]),
        leak=torch.stack([leak, leak * q.leak_potential]),
        capacitance=q.frame_s * F.softplus(q.raw_capacitance),
        own=leak.new_empty(0, len(leak)),
        equation=0,
        integrator=0,
        unfolds=q.unfolds,
    )


def _maps_by_synapse(q: "LTCArguments") -> tuple[Tensor, Tensor]:
    """Return scale and offset of the presynaptic signal of each synapse, shape (synapses,)."""
    source = _plan(q).sensory.source.long()
    inner = q.slope.shape[0] - len(source)
    scale, offset = q.input_scale[source], q.input_offset[source]
    return torch.cat([scale, scale.new_ones(inner)]), torch.cat([offset, offset.new_zeros(inner)])


def _through_maps(q: "LTCArguments", found: CircuitGradients) -> dict[str, Tensor]:
    """Convert gradients of effective parameters to gradients of the free ones, by name."""
    slope_sum, shift_bar, weight_bar, drive_bar = found.table.unbind(0)
    scale, offset = _maps_by_synapse(q)
    part, inputs = _plan(q).sensory, q.input.shape[2]
    of_inputs = (q.slope * found.table[:2])[:, : part.count]
    scale_bar, offset_bar = part.out_of.sums(of_inputs, inputs).unbind(0)
    reversal = q.sign * F.softplus(q.raw_reversal)
    weight, leak = F.softplus(q.raw_weight), F.softplus(q.raw_leak_conductance)
    a_bar, b_bar = found.leak.unbind(0)
    return {
        "raw_capacitance": _softplus_adjoint(q.frame_s * found.capacitance, q.raw_capacitance),
        "raw_leak_conductance": _softplus_adjoint(
            a_bar + b_bar * q.leak_potential, q.raw_leak_conductance
        ),
        "leak_potential": b_bar * leak,
        "raw_weight": _softplus_adjoint(weight_bar + drive_bar * reversal, q.raw_weight),
        "threshold": -q.slope * shift_bar,
        "slope": slope_sum * scale + shift_bar * (offset - q.threshold),
        "raw_reversal": _softplus_adjoint(q.sign * weight * drive_bar, q.raw_reversal),
        "input_scale": scale_bar.clone(),
        "input_offset": offset_bar.clone(),
    }


def _softplus_adjoint(bar: Tensor, free: Tensor) -> Tensor:
    return torch.ops.aten.softplus_backward(bar, free, 1.0, 20.0)


def _plan(q: "LTCArguments") -> Plan:
    def read() -> tuple[np.ndarray, np.ndarray, list[int]]:
        return q.source.cpu().numpy(), q.target.cpu().numpy(), q.layers

    return find_plan((q.source, q.target), (q.input.shape[2], q.state.shape[1], *q.layers), read)
