"""The LTC kernel as a torch operator, `torch.ops.ncp_control.ltc_unroll`.

Autograd sees one node for a whole sequence, including the maps from free to effective parameters.
The operator declares the shapes of its results (for torch.compile) and its gradient, which is an
operator too. Second derivatives are not available: use the reference for them.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch import library as operators

from ncp_control.kernels.eager import is_plain, one_by_one
from ncp_control.kernels.native import (
    BLOCK_SAMPLES,
    INTEGRATORS,
    PARAMETER_NAMES,
    Sequence,
    check_status,
    require_library,
)

DIFFERENTIABLE = ("input", "state", "dt_s", *PARAMETER_NAMES)
TRITON_DEVICES = {"cuda"}
"""Types of devices whose tensors go to `ltc_triton.py`."""
TENSORS = (*DIFFERENTIABLE, "reset", "source", "target", "sign")


class LTCArguments(NamedTuple):
    """First arguments of both operators, in the order of their schema; B, T, I, N, S: `ltc.h`."""

    input: Tensor
    """Shape (B, T, I)."""
    state: Tensor
    """State before the first step, shape (B, N)."""
    dt_s: Tensor
    """Time elapsed before each step [s], shape (B, T)."""
    raw_capacitance: Tensor
    raw_leak_conductance: Tensor
    leak_potential: Tensor
    raw_weight: Tensor
    threshold: Tensor
    slope: Tensor
    raw_reversal: Tensor
    input_scale: Tensor
    input_offset: Tensor
    output_scale: Tensor
    output_offset: Tensor
    reset: Tensor | None
    """Steps before which the state is cleared, shape (B, T), bool."""
    source: Tensor
    """Source node of each synapse, shape (S,), int64."""
    target: Tensor
    """Target neuron of each synapse, shape (S,), int64."""
    sign: Tensor
    """-1 or 1 for each synapse, shape (S,)."""
    layers: list[int]
    """First neuron, end, and whether it is recurrent, for each layer; for layered midpoint."""
    frame_s: float
    unfolds: int
    integrator: str

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The arguments named in `TENSORS`."""
        return cast(tuple[Tensor | None, ...], self[: len(TENSORS)])

    def check(self) -> None:
        """Check the dtypes and shapes that the kernel relies on.

        Raises:
            TypeError: If a dtype differs from that of the other arguments.
            ValueError: If a shape does not fit the other arguments.
        """
        (batch, steps, inputs), neurons = self.input.shape, self.state.shape[-1]
        synapses, dtype = self.raw_weight.shape[0], self.input.dtype
        outputs = self.output_scale.shape[0]
        shapes = ((batch, steps, inputs), (batch, neurons), (batch, steps))
        shapes += ((neurons,),) * 3 + ((synapses,),) * 4 + ((inputs,),) * 2 + ((outputs,),) * 2
        dtypes = (dtype,) * len(shapes)
        shapes += ((batch, steps), (synapses,), (synapses,), (synapses,))
        dtypes += (torch.bool, torch.int64, torch.int64, dtype)
        tensors = self.tensors
        if all(
            tensor is None or (tensor.shape == shape and tensor.dtype == wanted)
            for tensor, shape, wanted in zip(tensors, shapes, dtypes, strict=True)
        ):
            return
        for name, tensor, shape, wanted in zip(TENSORS, tensors, shapes, dtypes, strict=True):
            if tensor is not None and tensor.dtype != wanted:
                raise TypeError(f"`{name}` must be {wanted}, got {tensor.dtype}. Convert it first.")
            if tensor is not None and tensor.shape != shape:
                raise ValueError(
                    f"`{name}` must have shape {shape}, got {tuple(tensor.shape)}."
                    " Pass a tensor that fits the cell."
                )

    def sequence(self) -> tuple[Sequence, list[Tensor | None]]:
        """Return the kernel's argument, and the arrays that must stay alive until it returns."""
        arrays = [None if array is None else array.contiguous() for array in self.tensors]
        arrays.append(torch.tensor(self.layers, dtype=torch.int64) if self.layers else None)
        (batch, steps, inputs), neurons = self.input.shape, self.state.shape[1]
        synapses, layers = self.raw_weight.shape[0], len(self.layers) // 3
        outputs = self.output_scale.shape[0]
        sizes = (batch, steps, inputs, neurons, synapses, layers, outputs, self.unfolds)
        integrator, threads = INTEGRATORS.index(self.integrator), torch.get_num_threads()
        addresses = [None if array is None else array.data_ptr() for array in arrays]
        return Sequence(*sizes, integrator, threads, self.frame_s, *addresses), arrays

    @property
    def is_for_triton(self) -> bool:
        """True if `ltc_triton.py` runs this sequence, instead of `ltc.c`."""
        return self.input.device.type in TRITON_DEVICES

    def tape_length(self) -> int:
        """Return the length of the tape: the numbers of the forward pass that the adjoint needs."""
        batch, steps, _ = self.input.shape
        neurons = self.state.shape[1]
        if self.is_for_triton:
            per_neuron = 5 if self.integrator == "layered_midpoint" else 3
            return batch * steps * self.unfolds * neurons * per_neuron
        numbers = 2 * neurons
        if self.integrator == "layered_midpoint":
            layers = zip(self.layers[::3], self.layers[1::3], self.layers[2::3], strict=True)
            recurrent = sum(end - first for first, end, is_recurrent in layers if is_recurrent)
            numbers = 4 * neurons + 3 * recurrent
        samples = (batch + BLOCK_SAMPLES - 1) // BLOCK_SAMPLES * BLOCK_SAMPLES
        return samples * steps * self.unfolds * numbers


def _empty_results(*values: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return uninitialised states, outputs and tape of the right shapes."""
    arguments, has_tape = LTCArguments(*values[:-1]), values[-1]
    batch, steps, _ = arguments.input.shape
    new_empty = arguments.input.new_empty
    states = new_empty(batch, steps, arguments.state.shape[1])
    outputs = new_empty(batch, steps, arguments.output_scale.shape[0])
    return states, outputs, new_empty(arguments.tape_length() if has_tape else 0)


def _unroll(*values: Any, is_direct: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Run the kernel forward; the last argument says whether to keep a tape.

    After a direct call, only the kernel reads the tape.
    """
    arguments = LTCArguments(*values[:-1])
    if arguments.is_for_triton:
        arguments.check()
        return _triton().unroll(arguments, values[-1])
    library = require_library(arguments.input.dtype)
    arguments.check()
    sequence, _alive = arguments.sequence()
    states, outputs, tape = _empty_results(*values)
    if not is_direct and states.shape[0] % BLOCK_SAMPLES:
        tape.zero_()  # the kernel does not write the part of missing samples
    sequence.states, sequence.output = states.data_ptr(), outputs.data_ptr()
    sequence.tape = tape.data_ptr() if values[-1] else None
    check_status(library.forward(sequence))
    return states, outputs, tape


def _empty_gradients(*values: Any) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(value) if value.is_contiguous() else value.new_empty(value.shape)
        for value in values[: len(DIFFERENTIABLE)]
    )


def _unroll_adjoint(*values: Any) -> tuple[Tensor, ...]:
    """Run the kernel backward, given states, tape, and the gradients of states and outputs."""
    arguments, (states, tape, states_bar, output_bar) = LTCArguments(*values[:-4]), values[-4:]
    arguments.check()
    if tape.shape[0] != arguments.tape_length():
        raise ValueError(
            f"`tape` must be that of the forward pass, got {tape.shape[0]} numbers."
            " Call ltc_unroll with has_tape=True."
        )
    if arguments.is_for_triton:
        return _triton().adjoint(arguments, states, tape, states_bar, output_bar)
    sequence, _alive = arguments.sequence()
    bars = [None if bar is None else bar.contiguous() for bar in (states_bar, output_bar)]
    sequence.states_bar, sequence.output_bar = (b if b is None else b.data_ptr() for b in bars)
    sequence.states, sequence.tape = states.data_ptr(), tape.data_ptr()
    gradients = _empty_gradients(*values)
    for name, gradient in zip(_GRADIENTS, gradients, strict=True):
        setattr(sequence, name, gradient.data_ptr())
    check_status(require_library(states.dtype).adjoint(sequence))
    return gradients


def _triton() -> Any:
    from ncp_control.kernels import ltc_triton  # needs Triton, an optional package

    return ltc_triton


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    states, _outputs, tape = output
    ctx.save_for_backward(*inputs[: len(TENSORS)], states, tape)
    ctx.settings = inputs[len(TENSORS) : -1]
    ctx.set_materialize_grads(False)  # otherwise the tape would get a gradient of zeros


def _backward(
    ctx: Any, states_bar: Tensor | None, output_bar: Tensor | None, *_tape_bar: None
) -> tuple[Tensor | None, ...]:
    bars = [bar for bar in (states_bar, output_bar) if bar is not None]
    if not bars:
        return (None,) * _NUM_ARGUMENTS
    *tensors, states, tape = ctx.saved_tensors
    # If a gradient is not plain, call the operator, so that torch applies its transforms to it.
    # A second derivative needs the operator too: it raises the error that there is none.
    is_direct = all(map(is_plain, bars)) and not torch.is_grad_enabled()
    adjoint = _unroll_adjoint if is_direct else torch.ops.ncp_control.ltc_unroll_adjoint
    gradients = adjoint(*tensors, *ctx.settings, states, tape, states_bar, output_bar)
    if output_bar is None:
        gradients = (*gradients[:-2], None, None)  # the loss does not depend on the readout
    return (*gradients, *(None,) * (_NUM_ARGUMENTS - len(gradients)))


class _EagerUnroll(torch.autograd.Function):
    """The same autograd node, bypassing torch's dispatcher, which takes 0.2 ms."""

    @staticmethod
    def forward(ctx: Any, *values: Any) -> tuple[Tensor, Tensor]:
        states, outputs, tape = _unroll(*values, is_direct=True)
        _remember(ctx, values, (states, outputs, tape))
        return states, outputs

    @staticmethod
    def backward(ctx: Any, *bars: Any) -> Any:
        return _backward(ctx, *bars)


def unroll(*values: Any) -> tuple[Tensor, Tensor]:
    """Return states and outputs of a sequence; arguments are those of the operator."""
    input, *_, has_tape = values
    if not is_plain(input):
        return torch.ops.ncp_control.ltc_unroll(*values)[:2]
    return _EagerUnroll.apply(*values) if has_tape else _unroll(*values)[:2]


def _no_second_gradient(ctx: Any, *_gradients: Any) -> None:
    raise NotImplementedError(
        "the gradient of a gradient must come from the reference, got it from the LTC kernel."
        " Set NCP_CONTROL_KERNELS=reference."
    )


_SHARED = (
    ", ".join(f"Tensor {name}" for name in DIFFERENTIABLE)
    + ", Tensor? reset, Tensor source, Tensor target, Tensor sign, int[] layers, float frame_s,"
    " int unfolds, str integrator"
)
_NUM_ARGUMENTS = len(LTCArguments._fields) + 1
_GRADIENTS = tuple(f"{name}_bar" for name in DIFFERENTIABLE)
_RESULTS = ", ".join(["Tensor"] * len(DIFFERENTIABLE))
_OPERATORS = operators.Library("ncp_control", "FRAGMENT")
_OPERATORS.define(f"ltc_unroll({_SHARED}, bool has_tape) -> (Tensor, Tensor, Tensor)")
_OPERATORS.define(
    f"ltc_unroll_adjoint({_SHARED}, Tensor states, Tensor tape, Tensor? states_bar,"
    f" Tensor? output_bar) -> ({_RESULTS})"
)
for _key in ("CPU", "CUDA"):
    _OPERATORS.impl("ltc_unroll", _unroll, _key)
    _OPERATORS.impl("ltc_unroll_adjoint", _unroll_adjoint, _key)
operators.register_fake("ncp_control::ltc_unroll", _empty_results)
operators.register_fake("ncp_control::ltc_unroll_adjoint", _empty_gradients)
operators.register_autograd(
    "ncp_control::ltc_unroll", _backward, setup_context=_remember, lib=_OPERATORS
)
operators.register_autograd("ncp_control::ltc_unroll_adjoint", _no_second_gradient, lib=_OPERATORS)
for _name in ("ltc_unroll", "ltc_unroll_adjoint"):
    _rule = one_by_one(getattr(torch.ops.ncp_control, _name))
    operators.register_vmap(f"ncp_control::{_name}", _rule, lib=_OPERATORS)
