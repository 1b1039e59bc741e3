"""A wiring in the format of the Triton kernels, prepared once for each wiring and device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ncp_control.kernels.native import BAD_WIRING, check_status


class SlotTable(NamedTuple):
    """The synapses of each node, in the format in which the kernels sum over them."""

    position: Tensor
    """Positions of the synapses, one row per node, padded with −1; (rows · slots,), int32."""
    row: Tensor
    """Row of each node, −1 for a node without synapses; padded with −1, (nodes,), int32."""
    num_rows: int
    """Number of rows, a power of two like all array sizes in the kernels."""

    def sums(self, values: Tensor, nodes: int) -> Tensor:
        """Sum values of synapses, shape (…, synapses), for each node: shape (…, nodes)."""
        if values.shape[-1] == 0:
            return values.new_zeros(*values.shape[:-1], nodes)
        position, row = self.position.long(), self.row[:nodes].long()
        slots = torch.where(position >= 0, values[..., position.clamp(min=0)], 0.0)
        rows = slots.unflatten(-1, (self.num_rows, -1)).sum(-1)
        return torch.where(row >= 0, rows[..., row.clamp(min=0)], 0.0)


@dataclass(frozen=True, kw_only=True)
class Synapses:
    """The sensory or the inner synapses of a wiring, in the kernels' format."""

    first: int
    """Position of the first of these synapses among all synapses."""
    count: int
    source: Tensor
    """Source of each synapse, an input or a neuron, int32."""
    target: Tensor
    """Target neuron of each synapse, int32."""
    into: SlotTable
    """Synapses by target."""
    out_of: SlotTable
    """Synapses by source."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A wiring on a device."""

    sensory: Synapses
    inner: Synapses
    layers: tuple[int, ...]
    """First neuron, end, is recurrent, is driven by neurons, for each layer."""
    wiring: tuple[Tensor, ...]
    """The tensors of the wiring, kept so that their addresses are not reused."""


_PLANS: dict[Any, Plan] = {}
_MOST_PLANS = 64
Read = Callable[[], tuple[np.ndarray, np.ndarray, list[int]]]


def find_plan(wiring: tuple[Tensor, ...], sizes: tuple[int, ...], read: Read) -> Plan:
    """Find or make the plan of a wiring.

    Args:
        wiring: The tensors that define the wiring.
        sizes: Number of inputs, number of neurons, and further numbers that the plan depends on.
        read: Function that returns source and target of every synapse and, if layers are wanted,
            first neuron, end, and whether it is recurrent, for every layer. It waits for the
            device.

    Raises:
        ValueError: If synapses are out of order, or violate the order of the layers.
    """
    # An address identifies a tensor while the tensor exists, and the plan keeps it.
    key: Any = [
        (t.device, t.data_ptr(), t.shape[0], 0 if t.is_inference() else t._version) for t in wiring
    ]
    key = (*key, *sizes)
    if key not in _PLANS:
        inputs, neurons, *_ = sizes
        plan = _make_plan(wiring, inputs, neurons, *read())
        while len(_PLANS) >= _MOST_PLANS:
            del _PLANS[next(iter(_PLANS))]
        _PLANS[key] = plan
    return _PLANS[key]


def _make_plan(
    wiring: tuple[Tensor, ...],
    inputs: int,
    neurons: int,
    source: np.ndarray,
    target: np.ndarray,
    given_layers: list[int],
) -> Plan:
    device, sensory = wiring[0].device, int((source < inputs).sum())
    parts = (slice(0, sensory), slice(sensory, len(source)))
    is_sound = (source[sensory:] >= inputs).all() and all(
        ((x >= 0) & (x < end)).all() for x, end in ((source, inputs + neurons), (target, neurons))
    )
    is_sound &= all((np.diff(target[part]) >= 0).all() for part in parts)
    layers, inner_source, inner_target = [], source[sensory:] - inputs, target[sensory:]
    bounds = given_layers[::3], given_layers[1::3], given_layers[2::3]
    for first, end, is_recurrent in zip(*bounds, strict=True):
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
        wiring=wiring,
    )


def _slot_table(ends: np.ndarray, num_nodes: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the fields of a slot table; `ends` holds the node of each synapse."""
    nodes, row, counts = np.unique(ends, return_inverse=True, return_counts=True)
    num_rows = power_of_two(len(nodes))
    position = np.full((num_rows, power_of_two(counts.max(initial=1))), -1)
    order = np.argsort(row, kind="stable")
    slot = np.arange(len(ends)) - np.repeat(np.cumsum(counts) - counts, counts)
    position[row[order], slot] = order
    row_of_node = np.full(pad(num_nodes), -1)
    row_of_node[nodes] = np.arange(len(nodes))
    return position.ravel(), row_of_node, num_rows


def power_of_two(size: int) -> int:
    """Return the smallest power of two that is at least `size`."""
    return 1 << max(int(size) - 1, 0).bit_length()


def pad(size: int) -> int:
    """Return the padded length of a kernel's array: a power of two, at least the 32 of a warp."""
    return max(32, power_of_two(size))
