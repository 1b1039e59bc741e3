"""One control step of a cell with a `Cell.program`, for use on a robot: some microseconds.

The C side is `dense_step.h`.
"""

import collections
import ctypes
import itertools
import weakref
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ncp_control.kernels.dense_op import KINDS, MOST_PIECES, DenseArguments, Program
from ncp_control.kernels.native import DenseControl, check_status, require_library
from ncp_control.kernels.step import TRUTH_VALUES, KernelStep, reads

if TYPE_CHECKING:
    from ncp_control.cells.base import Cell


class DenseStep(KernelStep):
    """A cell with a `Cell.program` and its own state, advanced by one frame per call.

    Changed weights take effect: see `KernelStep`. The readout must be a linear map.

    Args:
        cell: The cell to run; see `DenseStep.supports`.

    Raises:
        ValueError: If no kernel can run this cell on this machine.
    """

    @staticmethod
    def supports(cell: "Cell") -> bool:
        """True if a kernel can run this cell on this machine; the first call may compile it."""
        parameters = [] if cell.program() is None else list(cell.parameters())
        return bool(parameters) and reads(parameters)

    def __call__(self, features: np.ndarray, dt_s: float) -> np.ndarray:
        """Advance the state by `dt_s` seconds with constant features.

        Args:
            features: Inputs of the cell, shape (input,).
            dt_s: Time since the previous call [s], finite and >= 0.

        Returns:
            The readout, shape (output,).

        Raises:
            ValueError: If the shape is wrong or the time is not finite and >= 0.
        """
        # Check one parameter per call: checking all would take as long as the step itself.
        owner, name, parameter, address = next(self._turns)
        if owner.get(name) is not parameter or parameter.data_ptr() != address:
            self.refresh()
        if not 0.0 <= dt_s <= self._longest_s or isinstance(dt_s, TRUTH_VALUES):
            raise self._wrong_time(dt_s)
        self._frames.value = dt_s / self._frame_s
        try:
            self._input[:] = features  # a memoryview takes only the right shape and type
        except (TypeError, ValueError):
            self._input[:] = self._convert(features)
        if self._step(self._handle):  # a parameter has changed
            self.refresh()
            self._input[:] = self._convert(features)
            self._frames.value = dt_s / self._frame_s
            self._step(self._handle)
        return self._output.copy()

    @torch.no_grad()
    def refresh(self) -> None:
        """Pass the cell's weights to the kernel; the state stays."""
        cell = self.cell
        program = cell.program() if self.supports(cell) else None
        if program is None:
            raise ValueError(
                f"`cell` must be one that a kernel runs here, got {type(cell).__name__}. Ask"
                " DenseStep.supports first, and call the cell where it does not."
            )
        dtype = next(cell.parameters()).dtype
        self._take_type(dtype)
        self._frame_s = cell.frame_s
        self._frames = ctypes.c_float() if dtype == torch.float32 else ctypes.c_double()
        owners = [
            (module._parameters, name) for module in cell.modules() for name in module._parameters
        ]
        live = [(owner, name, owner[name]) for owner, name in owners if owner[name] is not None]
        self._turns = itertools.cycle([(*item, item[2].data_ptr()) for item in live])
        count = len(live)
        readout = _readout_of(cell)
        arguments = DenseArguments(
            torch.from_numpy(np.asarray(self._input))[None, None],
            torch.from_numpy(self._state)[None],
            torch.zeros(1, 1, dtype=dtype),
            torch.cat([piece.reshape(-1) for pieces in program.matrices for piece in pieces]),
            None,
            program.wiring,
            KINDS.index(program.kind),
            program.shapes(),
            list(program.options),
        )
        arguments.check()
        arguments.tape_length()  # checks the shapes
        sequence, arrays = arguments.sequence()
        sequence.frames = ctypes.addressof(self._frames)
        addresses = (ctypes.c_void_p * count)(*(item[2].data_ptr() for item in live))
        sizes = (ctypes.c_int64 * count)(*(item[2].nbytes for item in live))
        pieces = _live_pieces(program, [item[2] for item in live])
        self._alive = arrays, readout, addresses, sizes, pieces
        control = DenseControl(
            sequence,
            cell.output_size,
            count,
            readout.data_ptr(),
            self._output.ctypes.data,
            ctypes.addressof(addresses),
            ctypes.addressof(sizes),
            ctypes.addressof(pieces),
        )
        self._keep_settings()
        library = require_library(dtype)
        handle = ctypes.c_void_p()
        check_status(library.make_dense_step(control, handle))
        self._free()
        self._step, self._handle = library.dense_step, handle
        self._free = weakref.finalize(self, library.free_dense_step, handle)


def _live_pieces(program: Program, parameters: list[Tensor]) -> "ctypes.Array[ctypes.c_void_p]":
    """Return for each piece the address of the parameter that it is; None if it is computed.

    Also None for a parameter that the cell uses twice, because another part may read it too.
    """
    times = collections.Counter(parameter.data_ptr() for parameter in parameters)
    sizes = {parameter.data_ptr(): parameter.nbytes for parameter in parameters}
    addresses: list[int | None] = []
    for pieces in program.matrices:
        for piece in pieces:
            address = piece.data_ptr()
            is_whole = piece.is_contiguous() and piece.nbytes == sizes.get(address)
            addresses.append(address if is_whole and times[address] == 1 else None)
        addresses += [None] * (MOST_PIECES - len(pieces))
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _readout_of(cell: "Cell") -> Tensor:
    """Return matrix and bias of a cell's linear readout, shape (output, state + 1)."""
    zeros = cell.initial_state(1)[0]
    bias = cell.readout(zeros)
    weight = cell.readout(torch.diag(torch.ones_like(zeros))) - bias
    weight = torch.where(bias.isfinite(), weight, 0.0)  # an infinite bias would give NaN
    return torch.cat([weight.t(), bias[:, None]], dim=1).contiguous()
