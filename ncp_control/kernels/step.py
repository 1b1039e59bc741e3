"""One control step of an LTC cell, for use on a robot: takes a few microseconds from Python.

The equations are those of `ncp_control.cells.ltc`; the C side is `step.h`.
"""

import ctypes
import itertools
import weakref
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ncp_control.kernels.dispatch import has_kernels, layer_bounds
from ncp_control.kernels.native import (
    INTEGRATORS,
    PARAMETER_NAMES,
    REAL_BITS,
    Sequence,
    check_status,
    require_library,
)

if TYPE_CHECKING:
    from ncp_control.cells.base import Cell
    from ncp_control.cells.ltc import LTC


TRUTH_VALUES = bool, np.bool_
"""Types that compare like numbers, but are not accepted as a time."""


def reads(parameters: Collection[Tensor]) -> bool:
    """True if kernels are available that can read these parameters in place."""
    dtype = next(iter(parameters)).dtype
    return (
        dtype in REAL_BITS
        and all(p.dtype == dtype and p.device.type == "cpu" for p in parameters)
        and all(p.is_contiguous() for p in parameters)
        and has_kernels(dtype)
    )


class KernelStep:
    """Base class of control steps on a kernel: holds the state and checks the arguments.

    Changed weights take effect: each call compares the values of the cell's parameters with those
    it was prepared for, and prepares again if they differ. So training and `load_state_dict` take
    effect at once, and so does a replacement of all parameters (`to`,
    `load_state_dict(assign=True)`). A single parameter object replaced by hand takes effect after
    at most as many calls as there are parameters, or after `refresh`. Call `refresh` after changing
    a setting such as `unfolds`.
    """

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self._free: Callable[[], object] = lambda: None
        self._state = np.zeros(cell.state_size, np.float32)
        self.refresh()

    def refresh(self) -> None:
        """Prepare the kernel for the current cell; the state stays."""
        raise NotImplementedError

    @property
    def is_current(self) -> bool:
        """True if the cell still has the settings that the kernel was prepared for."""
        cell = self.cell
        for depth, (read, settings) in enumerate(self._settings):
            cell = cell.cell if depth else cell
            if read(cell) != settings:
                return False
        return True

    def _keep_settings(self) -> None:
        """Store the current settings of the cell, and of a cell inside it."""
        self._settings: list[tuple[Callable[[Any], Any], Any]] = []
        cell = self.cell
        while cell is not None:
            names = [name for name in cell.settings() if name != "cell"]
            # Read attributes by name: calling `settings` would take as long as a step.
            read = attrgetter(*names) if names else type
            self._settings.append((read, read(cell)))
            cell = cell.settings().get("cell")

    @property
    def state(self) -> np.ndarray:
        """The state after the last call, shape (state,): the live array, to read and write."""
        return self._state

    def reset(self) -> None:
        """Clear the state, as at the start of an episode."""
        self._state[:] = 0.0

    def _take_type(self, dtype: torch.dtype) -> None:
        """Convert the state to a dtype, and allocate inputs and outputs in it."""
        self._dtype = np.dtype(np.float32 if dtype == torch.float32 else np.float64)
        self._state = self._state.astype(self._dtype, copy=False)
        self._output = np.zeros(self.cell.output_size, self._dtype)
        self._input: Any = np.zeros(self.cell.input_size, self._dtype).data
        self._longest_s = torch.finfo(dtype).max

    @staticmethod
    def _wrong_time(dt_s: float) -> ValueError:
        return ValueError(
            f"`dt_s` must be a finite time >= 0 in seconds, got {dt_s!r}."
            " Check the order of the time stamps."
        )

    def _convert(self, features: np.ndarray) -> np.ndarray:
        """Return features of the right shape in the kernel's dtype; else raise ValueError."""
        features = np.asarray(features, self._dtype)
        if features.shape != self._input.shape:
            raise ValueError(
                f"`features` must have shape {self._input.shape}, got {features.shape}."
                " Give one value for each sensory input."
            )
        return features

    def __getstate__(self) -> dict[str, Any]:
        return {"cell": self.cell, "state": self._state}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(saved["cell"])
        self._state[:] = saved["state"]


class FusedStep(KernelStep):
    """An LTC cell with its own state, advanced by one frame per call.

    Changed weights take effect: see `KernelStep`.

    Args:
        cell: The cell to run; see `FusedStep.supports`.

    Raises:
        ValueError: If no kernel can run this cell on this machine.

    Example:
        >>> step = FusedStep(circuit.cell)
        >>> steering = step(features, 1 / 30)
    """

    def __init__(self, cell: "LTC") -> None:
        # The live dictionary: a replaced parameter appears in it at once.
        self._parameters = cell._parameters
        super().__init__(cell)

    @staticmethod
    def supports(cell: "Cell") -> bool:
        """True if a kernel can run this cell on this machine; the first call may compile it."""
        from ncp_control.cells.ltc import LTC  # imports the kernels

        if type(cell) is not LTC:
            return False
        if any(name not in cell._parameters for name in PARAMETER_NAMES):
            return False  # computed from other parameters, e.g. by torch's pruning
        if cell.read_weight is not None and "read_weight" not in cell._parameters:
            return False  # the same
        parameters = [getattr(cell, name) for name in PARAMETER_NAMES]
        parameters += [] if cell.read_weight is None else [cell.read_weight]
        return cell.integrator in INTEGRATORS and reads(parameters)

    def __call__(self, features: np.ndarray, dt_s: float) -> np.ndarray:
        """Advance the state by `dt_s` seconds with constant features.

        Args:
            features: Inputs of the cell, shape (input,).
            dt_s: Time since the previous call [s], finite and >= 0.

        Returns:
            The readout of the motor neurons, shape (output,).

        Raises:
            ValueError: If the shape is wrong or the time is not finite and >= 0.
        """
        # Check one parameter per call: checking all would take as long as the step itself.
        name, parameter, address = next(self._turns)
        if self._parameters[name] is not parameter or parameter.data_ptr() != address:
            self.refresh()
        if not 0.0 <= dt_s <= self._longest_s or isinstance(dt_s, TRUTH_VALUES):
            raise self._wrong_time(dt_s)
        self._dt_s.value = dt_s
        try:
            self._input[:] = features  # a memoryview takes only the right shape and type
        except (TypeError, ValueError):
            self._input[:] = self._convert(features)
        self._step(self._handle)
        if self._reads is None:
            return self._output.copy()
        weight: Any = self._parameters["read_weight"]
        return self._output + weight.detach().numpy() @ self._state[self._reads]

    def refresh(self) -> None:
        """Pass the addresses of the cell's parameters to the kernel; the state stays."""
        cell = self.cell
        if not self.supports(cell):
            raise ValueError(
                f"`cell` must be one that a kernel runs here, got integrator {cell.integrator!r}"
                f" and {cell.slope.dtype} on {cell.slope.device}. Ask FusedStep.supports first,"
                " and call the cell where it does not."
            )
        dtype = cell.slope.dtype
        library = require_library(dtype)
        self._take_type(dtype)
        self._reads = None if cell.read_weight is None else cell.read_neurons
        self._dt_s = ctypes.c_float() if dtype == torch.float32 else ctypes.c_double()
        layers = layer_bounds(cell)
        self._alive = {name: getattr(cell, name).detach() for name in PARAMETER_NAMES}
        self._alive |= {name: getattr(cell, name) for name in ("source", "target")}
        self._alive |= {
            "sign": cell.sign.to(dtype),
            "layer": torch.tensor(layers, dtype=torch.int64),
        }
        sequence = Sequence(
            batch=1,
            steps=1,
            inputs=cell.input_size,
            neurons=cell.state_size,
            synapses=cell.raw_weight.shape[0],
            layers=len(layers) // 3,
            outputs=cell.output_size,
            unfolds=cell.unfolds,
            integrator=INTEGRATORS.index(cell.integrator),
            threads=1,
            frame_s=cell.frame_s,
            input=np.asarray(self._input).ctypes.data,
            state=self._state.ctypes.data,
            dt_s=ctypes.addressof(self._dt_s),
            output=self._output.ctypes.data,
            **{name: tensor.data_ptr() for name, tensor in self._alive.items()},
        )
        self._keep_settings()
        self._step = library.step
        handle = ctypes.c_void_p()
        check_status(library.make_step(sequence, handle))
        self._free()
        self._handle = handle
        self._free = weakref.finalize(self, library.free_step, handle)
        turns = [
            (name, getattr(cell, name), self._alive[name].data_ptr()) for name in PARAMETER_NAMES
        ]
        self._turns = itertools.cycle(turns)
