"""Choice of the code that runs a sequence: a fused kernel if one applies, else plain torch.

| device | integrator                             | dtype            | runs on                 |
|--------|----------------------------------------|------------------|-------------------------|
| CPU    | semi_implicit_euler, layered_midpoint  | float32, float64 | `ltc.c`                 |
| CPU    | the same                               | half, bfloat16   | `ltc.c`, in float32     |
| CUDA   | as on the CPU; small wirings           | as on the CPU    | `ltc_triton.py`         |
| any    | any                                    | any              | plain torch (reference) |

All other cells with a `Cell.program` run on `dense.c` on a CPU, with the same dtypes: cells of
dense layers; STC and LRC circuits; LTC circuits with other integrators than those above (not rk4);
and a mixed memory around any of them. On CUDA these cells run on `dense_triton.py` and
`synaptic_triton.py`. Exceptions, which run on the reference: cells that are too large
(`dense_layout.suits`), a CT-GRU whose number of scales is not a power of two, and a mixed memory
around an LSTM or a CT-GRU.

The conv head of a policy that acts on single frames runs on `head.c` on a CPU in float32
(`head_step.py`), and on torch elsewhere.

The reference also runs function transforms (vmap, forward-mode and higher derivatives under
torch.func), everything on machines without kernels (neither in the wheel nor compiled) or without
Triton, and everything if NCP_CONTROL_KERNELS=reference. A small wiring has at most
MOST_TRITON_NODES inputs, as many neurons, and MOST_TRITON_SYNAPSES synapses: a GPU keeps the whole
circuit in registers.
"""

import functools
import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncp_control.kernels import dense_op, ltc_op
from ncp_control.kernels.dense_layout import MOST_TRITON_NODES, MOST_TRITON_SYNAPSES, suits
from ncp_control.kernels.native import (
    AUTO,
    BUILD,
    INTEGRATORS,
    PARAMETER_NAMES,
    REAL_BITS,
    REFERENCE,
    SWITCH,
    get_library,
    has_triton,
)

if TYPE_CHECKING:
    from ncp_control.cells.base import Cell
    from ncp_control.cells.ltc import LTC


def run_ltc(
    cell: "LTC", inputs: Tensor, state: Tensor, dt_s: Tensor, reset: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """Run an LTC cell over time on a kernel.

    Arguments as in `Cell.unroll`.

    Returns:
        The states after every frame and their readout; None if no kernel applies.
    """
    if cell.integrator not in INTEGRATORS or _is_transformed():
        return None
    tensors = [inputs, state, dt_s, *(getattr(cell, name) for name in PARAMETER_NAMES)]
    device = inputs.device
    if not all(tensor.device == device for tensor in tensors):
        return None
    if device.type in ltc_op.TRITON_DEVICES and not _suits_triton(cell):
        return None
    dtype = functools.reduce(torch.promote_types, {tensor.dtype for tensor in tensors})
    working_dtype = dtype if dtype in REAL_BITS else torch.float32
    if not dtype.is_floating_point or not has_kernels(working_dtype, device.type):
        return None
    states, outputs = ltc_op.unroll(
        *(t if t.dtype == working_dtype else t.to(working_dtype) for t in tensors),
        reset,
        cell.source,
        cell.target,
        cell.sign.to(working_dtype),
        layer_bounds(cell),
        cell.frame_s,
        cell.unfolds,
        cell.integrator,
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors),
    )
    return (states, outputs) if dtype == working_dtype else (states.to(dtype), outputs.to(dtype))


def run_dense(
    cell: "Cell", inputs: Tensor, state: Tensor, dt_s: Tensor, reset: Tensor | None
) -> Tensor | None:
    """Run a cell with a `Cell.program` over time on a kernel.

    Arguments as in `Cell.unroll`.

    Returns:
        The states after every frame; None if no kernel applies.
    """
    device = inputs.device.type
    is_for_triton = device in ltc_op.TRITON_DEVICES
    if not (device == "cpu" or is_for_triton) or _is_transformed():
        return None
    program = cell.program()
    if program is None or (
        is_for_triton
        and not suits(
            program.kind, program.shapes(), cell.state_size, program.options, cell.input_size
        )
    ):
        return None
    pieces = [piece for matrix in program.matrices for piece in matrix]
    tensors = [inputs, state, dt_s, *pieces]
    if not all(tensor.device == inputs.device for tensor in tensors):
        return None
    dtype = functools.reduce(torch.promote_types, {tensor.dtype for tensor in tensors})
    working_dtype = dtype if dtype in REAL_BITS else torch.float32
    if not dtype.is_floating_point or not has_kernels(working_dtype, device):
        return None
    weights = torch.cat([piece.reshape(-1) for piece in pieces])
    arguments = inputs, state, dt_s / cell.frame_s, weights
    states = dense_op.unroll(
        *(t if t.dtype == working_dtype else t.to(working_dtype) for t in arguments),
        reset,
        program.wiring,
        dense_op.KINDS.index(program.kind),
        program.shapes(),
        list(program.options),
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors),
    )
    return states if dtype == working_dtype else states.to(dtype)


def layer_bounds(cell: "LTC") -> list[int]:
    """Return first neuron, end, and whether it is recurrent, for each layer, as a flat list."""
    bounds = ((x.neurons.start, x.neurons.stop, int(x.is_recurrent)) for x in cell.layers)
    return [number for layer in bounds for number in layer]


def has_kernels(dtype: torch.dtype, device_type: str = "cpu") -> bool:
    """True if kernels for a dtype are switched on and available; the first call compiles them.

    Raises:
        ValueError: If the environment variable NCP_CONTROL_KERNELS has an unknown value.
    """
    choice = os.environ.get(SWITCH, AUTO)
    if choice not in (AUTO, BUILD, REFERENCE):
        raise ValueError(
            f"`{SWITCH}` must be {AUTO!r}, {BUILD!r} or {REFERENCE!r}, got {choice!r}."
        )
    if choice == REFERENCE:
        return False
    if device_type in ltc_op.TRITON_DEVICES:
        return has_triton()
    return device_type == "cpu" and get_library(dtype) is not None


def _suits_triton(cell: "LTC") -> bool:
    nodes = max(cell.input_size, cell.state_size)
    return nodes <= MOST_TRITON_NODES and cell.raw_weight.shape[0] <= MOST_TRITON_SYNAPSES


def _is_transformed() -> bool:
    """True inside a function transform or forward-mode differentiation."""
    is_forward_mode = torch.autograd.forward_ad._current_level >= 0
    return torch._C._are_functorch_transforms_active() or is_forward_mode


# torch.compile must treat the results as constants instead of tracing these functions. This mark is
# what torch.compiler.assume_constant_result sets, which would import the whole compiler here.
for _function in (has_kernels, _is_transformed):
    _function._dynamo_marked_constant = True
