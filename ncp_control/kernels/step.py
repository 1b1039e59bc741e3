"""One control step of an LTC cell, for a robot between two frames: a few microseconds from Python.

The equations are those of `ncp_control.cells.ltc`; the C side is `step.h`.
"""

import weakref
from collections.abc import Callable, Mapping
from operator import is_not
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ncp_control.kernels.dispatch import has_kernels, layer_bounds
from ncp_control.kernels.library import (
    INTEGRATORS,
    OUT_OF_MEMORY,
    PARAMETER_NAMES,
    REAL_BITS,
    Sequence,
    check_status,
    require_library,
)

if TYPE_CHECKING:
    from ncp_control.cells.ltc import LTC

_READ_LIVE = (*PARAMETER_NAMES, "output_scale", "output_offset")


class FusedStep:
    """An LTC cell with a state of its own, advanced one frame at a call.

    Weights do not go stale: each call compares the values of the cell's parameters with those it
    was prepared for, and prepares anew if they differ. So training, `load_state_dict`, `to` and a
    replaced parameter take effect at once; only where the `data` of a single parameter is pointed
    elsewhere, that may take as many calls as there are parameters.

    Args:
        cell: The cell to run; see `FusedStep.supports`.

    Attributes:
        state: Membrane potentials, shape (neurons,); read them or write to them at will.

    Raises:
        ValueError: If no kernel runs this cell here.

    Example:
        >>> step = FusedStep(circuit.cell)
        >>> steering = step(features, 1 / 30)
    """

    def __init__(self, cell: "LTC") -> None:
        self._cell = cell
        # The live dictionary: a parameter that is replaced appears in it at once.
        self._parameters: Mapping[str, Any] = cell._parameters
        self._turn = 0
        self._free: Callable[[], object] = lambda: None
        self.state = np.zeros(cell.state_size)
        self._bind()

    @staticmethod
    def supports(cell: "LTC") -> bool:
        """Tell whether a kernel can run this cell here; the first call may compile it."""
        parameters = [getattr(cell, name) for name in _READ_LIVE]
        dtype = parameters[0].dtype
        return (
            cell.integrator in INTEGRATORS
            and dtype in REAL_BITS
            and all(p.dtype == dtype and p.device.type == "cpu" for p in parameters)
            and all(p.is_contiguous() for p in parameters)
            and has_kernels(dtype)
        )

    def reset(self) -> None:
        """Clear the state: an episode begins."""
        self.state[:] = 0.0

    def __call__(self, features: np.ndarray, dt_s: float) -> np.ndarray:
        """Advance the state by `dt_s` seconds with the features held.

        Args:
            features: What the circuit senses, shape (input,).
            dt_s: Time since the previous call [s], finite and >= 0.

        Returns:
            The readout of the motor neurons, shape (output,).

        Raises:
            ValueError: If the shape does not fit or the time is impossible.
        """
        # Asking all parameters for their address would take longer than the step itself.
        self._turn = turn = (self._turn + 1) % len(self._bound)
        if self._bound[turn].data_ptr() != self._addresses[turn] or any(
            map(is_not, self._parameters.values(), self._bound)
        ):
            self._bind()
        if features.shape != self._features.shape:
            raise ValueError(
                f"`features` must have shape {self._features.shape}, got {features.shape}."
                " Give one value for each sensory input."
            )
        if not 0.0 <= dt_s < float("inf"):
            raise ValueError(
                f"`dt_s` must be a finite time >= 0 in seconds, got {dt_s!r}."
                " Check the order of the time stamps."
            )
        self._features[:] = features
        self._step(self._handle, dt_s)
        return self._output.copy()

    def _bind(self) -> None:
        """Hand the addresses of the cell's parameters to the kernel."""
        cell = self._cell
        if not self.supports(cell):
            raise ValueError(
                f"`cell` must be one that a kernel runs here, got integrator {cell.integrator!r}"
                f" and {cell.slope.dtype} on {cell.slope.device}. Ask FusedStep.supports first,"
                " and call the cell where it does not."
            )
        dtype = cell.slope.dtype
        library = require_library(dtype)
        real = np.float32 if dtype == torch.float32 else np.float64
        self.state = self.state.astype(real)
        self._features = np.zeros(cell.input_size, real)
        self._output = np.zeros(cell.output_size, real)
        layers = layer_bounds(cell)
        self._alive = {name: getattr(cell, name).detach() for name in _READ_LIVE}
        self._alive |= {name: getattr(cell, name) for name in ("source", "target")}
        self._alive |= {"sign": cell.sign.to(dtype), "layer": torch.tensor(layers)}
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
            input=self._features.ctypes.data,
            state=self.state.ctypes.data,
            output=self._output.ctypes.data,
            **{name: tensor.data_ptr() for name, tensor in self._alive.items()},
        )
        self._step = library.step
        self._handle = library.make_step(sequence)
        check_status(OUT_OF_MEMORY if self._handle is None else 0)
        self._free()
        self._free = weakref.finalize(self, library.free_step, self._handle)
        self._bound = list(self._parameters.values())
        self._addresses = [parameter.data_ptr() for parameter in self._bound]

    def __getstate__(self) -> dict[str, Any]:
        return {"cell": self._cell, "state": self.state}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(saved["cell"])
        self.state[:] = saved["state"]
