"""The LTC kernel for GPUs, in Triton: what `ltc.c` is for processors.

A sequence is two launches forwards (`sense` for all frames at once, then `scan` in time) and two
backwards, between a few torch operations that map parameters. The host reads a wiring once, at its
first use on a device, and after that waits for nothing: a warmed-up sequence fits in a CUDA graph.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ncp_control.kernels.native import BAD_WIRING, PARAMETER_NAMES, check_status
from ncp_control.kernels.triton_scan import scan, scan_adjoint
from ncp_control.kernels.triton_synapses import sense, sense_adjoint

if TYPE_CHECKING:
    from ncp_control.kernels.ltc_op import Arguments

FRAMES = 16
"""Frames that one program of the sensory part treats."""


class SlotTable(NamedTuple):
    """Which synapses meet at each node, as the kernels sum over them."""

    position: Tensor
    """Positions of the synapses of a node in one row, padded with −1; (rows · slots,), int32."""
    row: Tensor
    """Row of each node, −1 for a node without synapses; padded with −1, (nodes,), int32."""
    num_rows: int
    """A power of two, as all sizes of the kernels' arrays."""


@dataclass(frozen=True, kw_only=True)
class Synapses:
    """The sensory or the inner part of a wiring, ready for the kernels."""

    first: int
    """Position of the first one among all synapses."""
    count: int
    source: Tensor
    """Input or neuron of each, int32."""
    target: Tensor
    """Neuron of each, int32."""
    into: SlotTable
    """By target."""
    out_of: SlotTable
    """By source."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A wiring on a device."""

    sensory: Synapses
    inner: Synapses
    layers: tuple[int, ...]
    """First neuron, end, is recurrent, is driven by neurons, of each layer."""
    wiring: tuple[Tensor, Tensor]
    """The tensors it was made from, kept so that their addresses stay theirs."""


_PLANS: dict[Any, Plan] = {}
_MOST_PLANS = 64


def unroll(arguments: "Arguments", has_tape: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, outputs and tape."""
    q, plan = arguments, _plan(arguments)
    (batch, steps, inputs), neurons = q.input.shape, q.state.shape[1]
    new_empty = q.input.new_empty
    input, state, dt_s, reset = _dense(q.input, q.state, q.dt_s, q.reset)
    capacitance, leak, table = _effective(q)
    held = new_empty(batch, steps, 2, neurons)
    states = new_empty(batch, steps, neurons)
    tape = new_empty(q.tape_length() if has_tape else 0)
    part = plan.sensory
    _launch(
        sense, _programs(batch * steps), part, part.into,
        input, table[:, part.first :], part.source, *part.into[:2],
        *_dense(q.input_scale, q.input_offset), leak, leak * q.leak_potential, held,
        batch * steps, inputs, neurons, part.count, table.shape[1],
        FRAMES=FRAMES,
    )  # fmt: skip
    part = plan.inner
    _launch(
        scan, batch, part, part.into,
        held, table[:, part.first :], part.source, *part.into[:2], capacitance,
        state, dt_s, reset, states, tape, steps, neurons, part.count, table.shape[1], q.unfolds,
        LAYERS=plan.layers,
        HAS_RESET=reset is not None, HAS_TAPE=has_tape,
    )  # fmt: skip
    motor = states[..., neurons - q.output_scale.shape[0] :]
    return states, torch.addcmul(q.output_offset, motor, q.output_scale), tape


def adjoint(
    arguments: "Arguments",
    states: Tensor,
    tape: Tensor,
    states_bar: Tensor | None,
    output_bar: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return the gradients of the arguments called `ltc_op.DIFFERENTIABLE`."""
    q, plan = arguments, _plan(arguments)
    (batch, steps, inputs), neurons = q.input.shape, q.state.shape[1]
    new_empty, outputs = q.input.new_empty, q.output_scale.shape[0]
    input, dt_s, reset = _dense(q.input, q.dt_s, q.reset)
    capacitance, leak, table = _effective(q)
    motor, bar = states[..., neurons - outputs :], torch.zeros_like(states)
    if states_bar is not None:
        bar += states_bar
    if output_bar is None:
        output_bar = torch.zeros_like(motor)
    bar[..., neurons - outputs :] += output_bar * q.output_scale
    gradients = {
        "output_scale": (output_bar * motor).sum((0, 1)),
        "output_offset": output_bar.sum((0, 1)),
        "input": new_empty(input.shape),
        "state": new_empty(batch, neurons),
        "dt_s": new_empty(batch, steps),
    }
    held_bar, capacitance_bar = new_empty(batch, steps, 2, neurons), new_empty(batch, neurons)
    part = plan.inner
    inner_sums = new_empty(batch, 4, part.count)
    _launch(
        scan_adjoint, batch, part, part.out_of,
        table[:, part.first :], part.source, part.target, *part.out_of[:2], capacitance,
        dt_s, reset, tape.contiguous(), bar,
        held_bar, gradients["state"], gradients["dt_s"], inner_sums, capacitance_bar,
        steps, neurons, part.count, table.shape[1], q.unfolds,
        LAYERS=plan.layers, HAS_RESET=reset is not None,
    )  # fmt: skip
    part, programs = plan.sensory, _programs(batch * steps)
    sensory_sums = new_empty(programs, 4, part.count)
    input_sums = new_empty(programs, 2, inputs)
    _launch(
        sense_adjoint, programs, part, part.out_of,
        input, table[:, part.first :], part.source, part.target, *part.out_of[:2],
        *_dense(q.input_scale, q.input_offset), held_bar,
        gradients["input"], sensory_sums, input_sums,
        batch * steps, inputs, neurons, part.count, table.shape[1],
        FRAMES=FRAMES,
    )  # fmt: skip
    # Each a tensor of its own: results of an operator must not share memory.
    gradients["input_scale"] = input_sums[:, 0].sum(0)
    gradients["input_offset"] = input_sums[:, 1].sum(0)
    held_bar = held_bar.sum((0, 1))
    synapse_sums = torch.cat([sensory_sums.sum(0), inner_sums.sum(0)], dim=1)
    gradients |= _through_maps(q, table, leak, capacitance_bar.sum(0), held_bar, synapse_sums)
    return tuple(
        gradients[name].contiguous() for name in ("input", "state", "dt_s", *PARAMETER_NAMES)
    )


def _effective(q: "Arguments") -> tuple[Tensor, Tensor, Tensor]:
    """Return capacitance, leak conductance, and the table of synapses."""
    reversal = q.sign * F.softplus(q.raw_reversal)
    table = torch.stack([F.softplus(q.raw_weight), reversal, q.slope, q.threshold])
    return q.frame_s * F.softplus(q.raw_capacitance), F.softplus(q.raw_leak_conductance), table


def _through_maps(
    q: "Arguments",
    table: Tensor,
    leak: Tensor,
    capacitance_bar: Tensor,
    held_bar: Tensor,
    synapse_sums: Tensor,
) -> dict[str, Tensor]:
    """Take gradients from effective parameters, as the kernels sum them, to the free ones."""
    weight_bar, reversal_sum, slope_bar, threshold_sum = synapse_sums.unbind(0)
    weight, _, slope, _ = table.unbind(0)
    a_bar, b_bar = held_bar.unbind(0)
    return {
        "raw_capacitance": _softplus_adjoint(q.frame_s * capacitance_bar, q.raw_capacitance),
        "raw_leak_conductance": _softplus_adjoint(
            a_bar + b_bar * q.leak_potential, q.raw_leak_conductance
        ),
        "leak_potential": b_bar * leak,
        "raw_weight": _softplus_adjoint(weight_bar, q.raw_weight),
        "threshold": -slope * threshold_sum,
        "slope": slope_bar.clone(),
        "raw_reversal": _softplus_adjoint(q.sign * weight * reversal_sum, q.raw_reversal),
    }


def _softplus_adjoint(bar: Tensor, free: Tensor) -> Tensor:
    return torch.ops.aten.softplus_backward(bar, free, 1.0, 20.0)


def _launch(
    kernel: Any, programs: int, part: Synapses, table: SlotTable, *values: Any, **constants: Any
) -> None:
    """Start a kernel for a part of the wiring, on the device of its tensors."""
    slots, synapses = table.position.shape[0], _pad(part.count)
    sizes = {
        "NODES": table.row.shape[0],
        "SYNAPSES": synapses,
        "ROWS": table.num_rows,
        "SLOTS": slots // table.num_rows,
    }
    # One warp where a circuit fits: its gathers are then exchanges of registers.
    warps = min(8, max(1, synapses // 128, slots // 256))
    with torch.cuda.device_of(table.row):
        kernel[(programs,)](*values, **sizes, **constants, num_warps=warps, enable_fp_fusion=True)


def _dense(*tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _programs(frames: int) -> int:
    return (frames + FRAMES - 1) // FRAMES


def _power_of_two(size: int) -> int:
    """Return the least power of two that is not below a size."""
    return 1 << max(int(size) - 1, 0).bit_length()


def _pad(size: int) -> int:
    """Return the length that a kernel's array of a size takes: a warp has one value a thread."""
    return max(32, _power_of_two(size))


def _plan(q: "Arguments") -> Plan:
    """Find or make the plan of a wiring."""
    wiring = q.source, q.target
    # An address names a tensor as long as somebody keeps it, which the plan does.
    key = [
        (t.device, t.data_ptr(), t.shape[0], 0 if t.is_inference() else t._version) for t in wiring
    ]
    key = (*key, q.input.shape[2], q.state.shape[1], *q.layers)
    if key not in _PLANS:
        if len(_PLANS) == _MOST_PLANS:
            del _PLANS[next(iter(_PLANS))]
        _PLANS[key] = _make_plan(q)
    return _PLANS[key]


def _make_plan(q: "Arguments") -> Plan:
    """Read a wiring; waits for the device.

    Raises:
        ValueError: If synapses are out of order, or lead elsewhere than their layers allow.
    """
    source, target = (tensor.cpu().numpy() for tensor in (q.source, q.target))
    inputs, neurons, device = q.input.shape[2], q.state.shape[1], q.source.device
    sensory = int((source < inputs).sum())
    parts = (slice(0, sensory), slice(sensory, len(source)))
    is_sound = (source[sensory:] >= inputs).all() and all(
        ((x >= 0) & (x < end)).all() for x, end in ((source, inputs + neurons), (target, neurons))
    )
    is_sound &= all((np.diff(target[part]) >= 0).all() for part in parts)
    layers, inner_source, inner_target = [], source[sensory:] - inputs, target[sensory:]
    for first, end, is_recurrent in zip(q.layers[::3], q.layers[1::3], q.layers[2::3], strict=True):
        own = inner_source[(inner_target >= first) & (inner_target < end)]
        is_sound &= bool((own < (end if is_recurrent else first)).all())
        layers += [first, end, is_recurrent, int(len(own) > 0)]
    if not is_sound:
        check_status(BAD_WIRING)

    def on_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.int32)).to(device)

    def part(where: slice, shift: int, sources: int) -> Synapses:
        local = source[where] - shift
        tables = _slot_table(target[where], neurons), _slot_table(local, sources)
        into, out_of = (SlotTable(on_device(p), on_device(r), n) for p, r, n in tables)
        return Synapses(
            first=where.start,
            count=len(local),
            source=on_device(local),
            target=on_device(target[where]),
            into=into,
            out_of=out_of,
        )

    return Plan(
        sensory=part(parts[0], 0, inputs),
        inner=part(parts[1], inputs, neurons),
        layers=tuple(layers),
        wiring=(q.source, q.target),
    )


def _slot_table(ends: np.ndarray, num_nodes: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the fields of a slot table: `ends` names a node for each synapse."""
    nodes, row, counts = np.unique(ends, return_inverse=True, return_counts=True)
    num_rows = _power_of_two(len(nodes))
    position = np.full((num_rows, _power_of_two(counts.max(initial=1))), -1)
    order = np.argsort(row, kind="stable")
    slot = np.arange(len(ends)) - np.repeat(np.cumsum(counts) - counts, counts)
    position[row[order], slot] = order
    row_of_node = np.full(_pad(num_nodes), -1)
    row_of_node[nodes] = np.arange(len(nodes))
    return position.ravel(), row_of_node, num_rows
