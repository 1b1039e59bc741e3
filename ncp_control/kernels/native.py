"""The C functions of `ltc.c`, `dense.c` and `head.c`, called with plain addresses.

`Sequence` mirrors `struct sequence` of `ltc.h` field by field, `DenseSequenceStruct` mirrors
`struct dense_sequence` of `net.h`. Torch's autograd is not involved here.
"""

import ctypes
import functools
import importlib.util
import os
import warnings

import torch

from ncp_control.kernels import build, prebuilt

SWITCH, AUTO, BUILD, REFERENCE = "NCP_CONTROL_KERNELS", "auto", "build", "reference"
"""The environment variable that chooses the kernels, and its values."""

PARAMETER_NAMES = (
    "raw_capacitance",
    "raw_leak_conductance",
    "leak_potential",
    "raw_weight",
    "threshold",
    "slope",
    "raw_reversal",
    "input_scale",
    "input_offset",
    "output_scale",
    "output_offset",
)
"""Free parameters of an LTC cell that the kernel reads, in the order of its arguments."""

INTEGRATORS = ("semi_implicit_euler", "layered_midpoint")
"""Integrators of the LTC kernel; the position is the number of the integrator in the kernel."""

REAL_BITS = {torch.float32: 32, torch.float64: 64}
"""Dtypes in which the kernels compute, with their size [bits]."""

OLDEST_GPU = 7, 5
"""Lowest compute capability that Triton supports."""

BLOCK_SAMPLES = 16
"""Number of samples in the widest vector; the tape's length is rounded up to whole blocks."""

_SIZES = (
    "batch",
    "steps",
    "inputs",
    "neurons",
    "synapses",
    "layers",
    "outputs",
    "unfolds",
    "integrator",
    "threads",
)
_ARRAYS = (
    "input",
    "state",
    "dt_s",
    *PARAMETER_NAMES,
    "reset",
    "source",
    "target",
    "sign",
    "layer",
    "states",
    "output",
    "tape",
    "states_bar",
    "output_bar",
    "input_bar",
    "state_bar",
    "dt_s_bar",
    *(f"{name}_bar" for name in PARAMETER_NAMES),
)
_DENSE_SIZES = ("kind", "batch", "steps", "inputs", "state_width", "matrices", "threads")
_DENSE_ARRAYS = (
    "shape",
    "weights",
    "input",
    "state",
    "frames",
    "reset",
    "wiring",
    "states",
    "tape",
    "states_bar",
    "input_bar",
    "state_bar",
    "frames_bar",
    "weights_bar",
)
OUT_OF_MEMORY, BAD_WIRING = 1, 2
_ERRORS = {
    OUT_OF_MEMORY: "out of memory in a kernel. Use a smaller batch, shorter sequences or smaller"
    " frames.",
    BAD_WIRING: "`source` and `target` must list synapses by target, sensory ones first, between"
    " the nodes of the wiring, got others. Rebuild the cell from its wiring.",
}


class Sequence(ctypes.Structure):
    """`struct sequence`: sizes, and the addresses of arrays."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        ("frame_s", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    )


class DenseSequenceStruct(ctypes.Structure):
    """`struct dense_sequence`: sizes, and the addresses of arrays."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _DENSE_SIZES),
        ("option", ctypes.c_int64 * 4),
        ("wiring_length", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _DENSE_ARRAYS),
    )


class DenseControl(ctypes.Structure):
    """`struct dense_control`: a sequence of one frame, and further arguments of a control step."""

    _fields_ = (
        ("sequence", DenseSequenceStruct),
        ("outputs", ctypes.c_int64),
        ("parameters", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("readout", "output", "live", "bytes", "piece")),
    )


class Library:
    """The functions of one compiled library.

    Args:
        compiled: The loaded library, e.g. from `build.load_library`.
    """

    def __init__(self, compiled: ctypes.CDLL) -> None:
        self.forward = compiled.ncp_ltc_forward
        self.adjoint = compiled.ncp_ltc_adjoint
        for function in (self.forward, self.adjoint):
            function.argtypes, function.restype = [ctypes.POINTER(Sequence)], ctypes.c_int
        self.dense_forward = compiled.ncp_dense_forward
        self.dense_adjoint = compiled.ncp_dense_adjoint
        self.dense_record = compiled.ncp_dense_record
        for function in (self.dense_forward, self.dense_adjoint, self.dense_record):
            function.argtypes = [ctypes.POINTER(DenseSequenceStruct)]
            function.restype = ctypes.c_int
        self.dense_record.restype = ctypes.c_int64
        self.make_step = compiled.ncp_ltc_make_step
        handle = ctypes.POINTER(ctypes.c_void_p)
        self.make_step.argtypes = [ctypes.POINTER(Sequence), handle]
        self.make_step.restype = ctypes.c_int
        # Keeps the GIL: a step is over before another thread could use it. No argtypes, because
        # their conversion would take as long as the step: pass a `c_void_p`.
        keeps_gil = ctypes.PyDLL(compiled._name, handle=compiled._handle)
        self.step = keeps_gil.ncp_ltc_step
        self.step.restype = None
        self.dense_step = keeps_gil.ncp_dense_step
        self.dense_step.restype = ctypes.c_int
        self.make_dense_step = compiled.ncp_dense_make_step
        self.make_dense_step.argtypes = [ctypes.POINTER(DenseControl), handle]
        self.make_dense_step.restype = ctypes.c_int
        self.free_dense_step = compiled.ncp_dense_free_step
        self.free_dense_step.argtypes, self.free_dense_step.restype = [ctypes.c_void_p], None
        self.sigmoids = compiled.ncp_ltc_sigmoids
        self.sigmoids.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        self.sigmoids.restype = None
        self.free_step = compiled.ncp_ltc_free_step
        self.free_step.argtypes, self.free_step.restype = [ctypes.c_void_p], None
        self.make_head = compiled.ncp_head_make
        self.make_head.argtypes, self.make_head.restype = [ctypes.c_void_p, handle], ctypes.c_int
        self.see = compiled.ncp_head_see
        self.see.argtypes, self.see.restype = [ctypes.c_void_p, ctypes.c_void_p], None
        self.free_head = compiled.ncp_head_free
        self.free_head.argtypes, self.free_head.restype = [ctypes.c_void_p], None


@functools.cache
def get_library(dtype: torch.dtype) -> Library | None:
    """Return the kernels for a dtype; None, with one warning, if they cannot be built.

    The kernels of the wheel are used if it has some, unless NCP_CONTROL_KERNELS=build.
    """
    bits = REAL_BITS[dtype]
    brought = None if os.environ.get(SWITCH) == BUILD else prebuilt.load(bits)
    try:
        return Library(build.load_library(bits) if brought is None else brought)
    except build.BuildError as error:
        _warn_once(f"circuits run on plain torch, some 30 times slower than they could: {error}.")
        return None


@functools.cache
def has_triton() -> bool:
    """True if the GPU kernels are available; warn once if they are not."""
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < OLDEST_GPU:
        fault = "the GPU is older than Triton knows. Set NCP_CONTROL_KERNELS=reference"
    elif importlib.util.find_spec("triton") is None:
        fault = "Triton is missing. Run `pip install ncp-control[cuda]`"
    else:
        return True
    _warn_once(f"circuits on the GPU run on plain torch, slower than they could: {fault}.")
    return False


def require_library(dtype: torch.dtype) -> Library:
    """Return the kernels for a dtype.

    Raises:
        RuntimeError: If there are no kernels for this dtype.
    """
    library = get_library(dtype) if dtype in REAL_BITS else None
    if library is None:
        raise RuntimeError(
            f"`input` must be of a type that the LTC kernel is built for, got {dtype}."
            " Set NCP_CONTROL_KERNELS=reference to run without it."
        )
    return library


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def check_status(status: int) -> None:
    """Raise the error that a function of the kernel reported, if any."""
    if status == 0:
        return
    raise (MemoryError if status == OUT_OF_MEMORY else ValueError)(_ERRORS[status])
