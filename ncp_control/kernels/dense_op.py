"""The kernel of cells with a `Program` as a torch operator, `torch.ops.ncp_control.dense_unroll`.

A cell names its kernel and its matrices (`Program`); the rest is the same for all cells. Autograd
sees one node for a whole sequence, and all matrices as one tensor. Second derivatives are not
available: use the reference for them.
"""

import ctypes
import functools
import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import library as operators

from ncp_control.kernels import ltc_op
from ncp_control.kernels.eager import is_plain, one_by_one
from ncp_control.kernels.native import (
    BLOCK_SAMPLES,
    DenseSequenceStruct,
    check_status,
    require_library,
)

KINDS = (
    "cfc",
    "ctrnn",
    "lstm",
    "gru",
    "mixed_memory",
    "wired_cfc",
    "neural_ode",
    "ode_rnn",
    "ctgru",
    "synaptic",
)
"""Cells of the kernel; the position is the number of the cell in the kernel."""

MOST_PIECES, MOST_OPTIONS = 4, 4


class Program(NamedTuple):
    """Description of a cell from which the kernel runs it."""

    kind: str
    """A name in `KINDS`."""
    matrices: list[tuple[Tensor, ...]]
    """Matrices, each as pieces side by side: two-dimensional, or one-dimensional for one column."""
    options: tuple[int, ...] = ()
    """Settings, explained in the cell's C file, e.g. `cfc.h`."""
    wiring: Tensor | None = None
    """Whole numbers (int64), explained in the same file."""

    def shapes(self) -> list[int]:
        """Return the number of rows, and the columns of each piece, of every matrix."""
        numbers = []
        for pieces in self.matrices:
            columns = [1 if piece.ndim == 1 else piece.shape[1] for piece in pieces]
            numbers += [pieces[0].shape[0], *columns, *[0] * (MOST_PIECES - len(columns))]
        return numbers


class DenseArguments(NamedTuple):
    """First arguments of both operators, in the order of their schema; B, T, I, S as in `net.h`."""

    input: Tensor
    """Shape (B, T, I)."""
    state: Tensor
    """State before the first step, shape (B, S)."""
    frames: Tensor
    """Time elapsed before each step [frames], shape (B, T)."""
    weights: Tensor
    """The pieces of all matrices, concatenated, shape (weights,)."""
    reset: Tensor | None
    """Steps before which the state is cleared, shape (B, T), bool."""
    wiring: Tensor | None
    """Whole numbers, explained in the cell's C file, one-dimensional, int64."""
    kind: int
    shapes: list[int]
    options: list[int]

    def check(self) -> None:
        """Check the dtypes and shapes that the kernel relies on.

        Raises:
            TypeError: If a dtype differs from that of the other arguments.
            ValueError: If a shape does not fit the other arguments.
        """
        (batch, steps, _), dtype = self.input.shape, self.input.dtype
        wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "state": ((batch, self.state.shape[-1]), dtype),
            "frames": ((batch, steps), dtype),
            "weights": ((_count_weights(self.shapes),), dtype),
            "reset": ((batch, steps), torch.bool),
            "wiring": ((self.wiring_length,), torch.int64),
        }
        for name, (shape, own_dtype) in wanted.items():
            tensor = getattr(self, name)
            if tensor is not None and tensor.dtype != own_dtype:
                raise TypeError(
                    f"`{name}` must be {own_dtype}, got {tensor.dtype}. Convert it first."
                )
            if tensor is not None and tensor.shape != shape:
                raise ValueError(
                    f"`{name}` must have shape {shape}, got {tuple(tensor.shape)}."
                    " Pass a tensor that fits the cell."
                )

    @property
    def wiring_length(self) -> int:
        """Length of the wiring; 0 without one."""
        return 0 if self.wiring is None else self.wiring.numel()

    def sequence(self) -> tuple[DenseSequenceStruct, list[Any]]:
        """Return the kernel's argument, and the arrays that must stay alive until it returns."""
        tensors = self.weights, self.input, self.state, self.frames, self.reset, self.wiring
        arrays = [None if tensor is None else tensor.contiguous() for tensor in tensors]
        sequence = _sequence(
            self.kind,
            tuple(self.input.shape),
            self.state.shape[1],
            tuple(self.shapes),
            self.options,
            self.wiring_length,
            *(None if array is None else array.data_ptr() for array in arrays),
        )
        return sequence, arrays

    @property
    def is_for_triton(self) -> bool:
        """True if Triton runs this sequence, instead of `dense.c`."""
        return self.input.device.type in ltc_op.TRITON_DEVICES

    def layout(self) -> Any:
        """Return the layout of the cell for the GPU kernels."""
        from ncp_control.kernels.dense_layout import lay_out

        return lay_out(KINDS[self.kind], self.shapes, int(self.state.shape[1]), self.options)

    def tape_length(self) -> int:
        """Return the length of the tape: the numbers of the forward pass that the adjoint needs."""
        (batch, steps, inputs), width = self.input.shape, self.state.shape[1]
        if self.is_for_triton:
            layout = self.layout()
            return batch * steps * layout.record_width
        settings = tuple(self.shapes), tuple(self.options)
        record = _record_length(self.kind, int(inputs), int(width), *settings, self.input.dtype)
        samples = (batch + BLOCK_SAMPLES - 1) // BLOCK_SAMPLES * BLOCK_SAMPLES
        return samples * steps * record


def _sequence(
    kind: int,
    size: tuple[int, ...],
    width: int,
    shapes: tuple[int, ...],
    options: Sequence[int],
    wiring_length: int,
    *addresses: int | None,
) -> DenseSequenceStruct:
    """Return the kernel's argument; `size` is (batch, steps, inputs), `width` that of the state."""
    return DenseSequenceStruct(
        kind,
        *size,
        width,
        len(shapes) // (1 + MOST_PIECES),
        torch.get_num_threads(),
        (ctypes.c_int64 * MOST_OPTIONS)(*options),
        wiring_length,
        ctypes.addressof(_shapes_array(shapes)),
        *addresses,
    )


@functools.cache  # kept for ever, because the kernel gets its address
def _shapes_array(shapes: tuple[int, ...]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(shapes))(*shapes)


def _count_weights(shapes: list[int]) -> int:
    step = 1 + MOST_PIECES
    return sum(shapes[k] * sum(shapes[k + 1 : k + step]) for k in range(0, len(shapes), step))


@functools.lru_cache(maxsize=64)
def _record_length(
    kind: int,
    inputs: int,
    width: int,
    shapes: tuple[int, ...],
    options: tuple[int, ...],
    dtype: torch.dtype,
) -> int:
    """Return how many numbers the tape holds per sample and frame."""
    sequence = _sequence(kind, (0, 0, inputs), width, shapes, options, 0)
    record = require_library(dtype).dense_record(sequence)
    if record < 0:
        raise ValueError(
            f"`shapes` must be those of a {KINDS[kind]} cell of {inputs} inputs and a state of"
            f" {width}, got {list(shapes)}. Build the cell again."
        )
    return record


def _empty_results(*values: Any) -> tuple[Tensor, Tensor]:
    """Return uninitialised states and tape of the right shapes."""
    arguments, has_tape = DenseArguments(*values[:-1]), values[-1]
    batch, steps, _ = arguments.input.shape
    new_empty = arguments.input.new_empty
    states = new_empty(batch, steps, arguments.state.shape[1])
    return states, new_empty(arguments.tape_length() if has_tape else 0)


def _unroll(*values: Any) -> tuple[Tensor, Tensor]:
    arguments = DenseArguments(*values[:-1])
    arguments.check()
    if arguments.is_for_triton:
        layout = arguments.layout()
        return _triton(layout).unroll(arguments, layout, values[-1])
    arguments.tape_length()  # checks the shapes
    states, tape = _empty_results(*values)
    sequence, _alive = arguments.sequence()
    sequence.states = states.data_ptr()
    sequence.tape = tape.data_ptr() if values[-1] else None
    check_status(require_library(states.dtype).dense_forward(sequence))
    return states, tape


def _empty_gradients(*values: Any) -> tuple[Tensor, ...]:
    """Return uninitialised gradients; that of the inputs is empty if it is not wanted."""
    arguments, has_input_bar = DenseArguments(*values[:-3]), values[-1]
    like = [arguments.state, arguments.frames, arguments.weights]
    input_bar = arguments.input.new_empty(arguments.input.shape if has_input_bar else 0)
    return input_bar, *(tensor.new_empty(tensor.shape) for tensor in like)


def _unroll_adjoint(*values: Any) -> tuple[Tensor, ...]:
    """Run the kernel backward; after the forward arguments: tape, ∂/∂states, has_input_bar."""
    arguments, (tape, states_bar, has_input_bar) = DenseArguments(*values[:-3]), values[-3:]
    arguments.check()
    if tape.shape[0] != arguments.tape_length():
        raise ValueError(
            f"`tape` must be that of the forward pass, got {tape.shape[0]} numbers."
            " Call dense_unroll with has_tape=True."
        )
    if arguments.is_for_triton:
        layout = arguments.layout()
        return _triton(layout).adjoint(arguments, layout, tape, states_bar, has_input_bar)
    sequence, _alive = arguments.sequence()
    states_bar = states_bar.contiguous()
    gradients = _empty_gradients(*values)
    sequence.tape, sequence.states_bar = tape.data_ptr(), states_bar.data_ptr()
    names = "input_bar", "state_bar", "frames_bar", "weights_bar"
    for name, gradient in zip(names, gradients, strict=True):
        setattr(sequence, name, gradient.data_ptr())
    if not has_input_bar:
        sequence.input_bar = None
    check_status(require_library(tape.dtype).dense_adjoint(sequence))
    return gradients


def _triton(layout: Any) -> Any:
    """Return the module that runs a cell on a GPU; it needs Triton, an optional package."""
    from ncp_control.kernels.dense_layout import SynapticLayout

    is_synaptic = isinstance(layout, SynapticLayout)
    name = "synaptic_triton" if is_synaptic else "dense_triton"
    return importlib.import_module(f"ncp_control.kernels.{name}")


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:_NUM_TENSORS], output[1])
    ctx.settings = inputs[_NUM_TENSORS:-1]
    ctx.set_materialize_grads(False)  # otherwise the tape would get a gradient of zeros


def _backward(ctx: Any, states_bar: Tensor | None, *_tape_bar: None) -> tuple[Any, ...]:
    if states_bar is None:
        return (None,) * _NUM_ARGUMENTS
    *tensors, tape = ctx.saved_tensors
    has_input_bar = ctx.needs_input_grad[0]
    # If a gradient is not plain, call the operator, so that torch applies its transforms to it.
    # A second derivative needs the operator too: it raises the error that there is none.
    is_direct = is_plain(states_bar) and not torch.is_grad_enabled()
    adjoint = _unroll_adjoint if is_direct else torch.ops.ncp_control.dense_unroll_adjoint
    input_bar, *others = adjoint(*tensors, *ctx.settings, tape, states_bar, has_input_bar)
    unknown = (None,) * (_NUM_ARGUMENTS - 1 - len(others))
    return (input_bar if has_input_bar else None, *others, *unknown)


class _EagerUnroll(torch.autograd.Function):
    """The same autograd node, bypassing torch's dispatcher, which takes 0.2 ms."""

    @staticmethod
    def forward(ctx: Any, *values: Any) -> Tensor:
        states, tape = _unroll(*values)
        _remember(ctx, values, (states, tape))
        return states

    @staticmethod
    def backward(ctx: Any, *bars: Any) -> Any:
        return _backward(ctx, *bars)


def unroll(*values: Any) -> Tensor:
    """Return the states of a sequence; arguments are those of the operator."""
    input, *_, has_tape = values
    if not is_plain(input):
        return torch.ops.ncp_control.dense_unroll(*values)[0]
    return _EagerUnroll.apply(*values) if has_tape else _unroll(*values)[0]


def _no_second_gradient(ctx: Any, *_gradients: Any) -> None:
    raise NotImplementedError(
        "the gradient of a gradient must come from the reference, got it from the kernel of dense"
        " cells. Set NCP_CONTROL_KERNELS=reference."
    )


_NUM_TENSORS = 6
_NUM_ARGUMENTS = len(DenseArguments._fields) + 1
_SHARED = (
    "Tensor input, Tensor state, Tensor frames, Tensor weights, Tensor? reset, Tensor? wiring,"
    " int kind, int[] shapes, int[] options"
)
_OPERATORS = operators.Library("ncp_control", "FRAGMENT")
_OPERATORS.define(f"dense_unroll({_SHARED}, bool has_tape) -> (Tensor, Tensor)")
_OPERATORS.define(
    f"dense_unroll_adjoint({_SHARED}, Tensor tape, Tensor states_bar, bool has_input_bar)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
for _key in ("CPU", "CUDA"):
    _OPERATORS.impl("dense_unroll", _unroll, _key)
    _OPERATORS.impl("dense_unroll_adjoint", _unroll_adjoint, _key)
operators.register_fake("ncp_control::dense_unroll", _empty_results)
operators.register_fake("ncp_control::dense_unroll_adjoint", _empty_gradients)
operators.register_autograd(
    "ncp_control::dense_unroll", _backward, setup_context=_remember, lib=_OPERATORS
)
operators.register_autograd(
    "ncp_control::dense_unroll_adjoint", _no_second_gradient, lib=_OPERATORS
)
for _name in ("dense_unroll", "dense_unroll_adjoint"):
    _rule = one_by_one(getattr(torch.ops.ncp_control, _name))
    operators.register_vmap(f"ncp_control::{_name}", _rule, lib=_OPERATORS)
