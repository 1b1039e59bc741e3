"""A conv head on one frame, for use on a robot; the C side is `head.c`."""

import ctypes
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ncp_control.kernels.dispatch import has_kernels
from ncp_control.kernels.native import check_status, require_library

if TYPE_CHECKING:
    from ncp_control.policy.heads import ConvHead

MAPS, FEATURES_PER_MAP, MOST_CONVOLUTIONS = 8, 4, 16
"""Number of maps, features per map, and largest number of convolutions, as in `head.c`."""
OUTPUTS_TOGETHER = 4
"""The number of output channels of a convolution must be a multiple of this."""
MOST_NUMBERS = 2**31 - 1
"""Upper limit on the numbers in a map: the kernel indexes them with 32 bits."""

_CONVOLUTION_SIZES = (
    *("in_height", "in_width", "in_channels", "out_height", "out_width", "out_channels"),
    *("kernel", "stride", "padding"),
)


class _Convolution(ctypes.Structure):
    """`struct convolution_sizes`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _CONVOLUTION_SIZES),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class _Head(ctypes.Structure):
    """`struct head_sizes`."""

    _fields_ = (
        ("convolutions", ctypes.c_int64),
        ("feature_weight", ctypes.c_void_p),
        ("feature_bias", ctypes.c_void_p),
        ("features", ctypes.c_void_p),
        ("convolution", _Convolution * MOST_CONVOLUTIONS),
    )


class HeadStep:
    """A conv head that processes one frame per call.

    Changed weights take effect at once: each call compares their values with those that the kernel
    was prepared for. `is_current` is False if layers or tensors of the head were replaced.

    Args:
        head: The head to run; see `HeadStep.supports`.

    Example:
        >>> features = HeadStep(policy.head)(frame)
    """

    def __init__(self, head: "ConvHead") -> None:
        self.head = head
        self._settings = _settings_of(head)
        layers, sizes = _convolutions(head), head.map_sizes()
        self._features = np.zeros(head.num_features, np.float32)
        # Detached tensors keep the memory alive.
        self._alive = [p.detach() for p in _parameters(head)]
        *weights, feature_weight, feature_bias = (p.data_ptr() for p in self._alive)
        described = _Head(
            convolutions=len(layers),
            feature_weight=feature_weight,
            feature_bias=feature_bias,
            features=self._features.ctypes.data,
        )
        for k, layer in enumerate(layers):
            numbers = (
                *sizes[k],
                *sizes[k + 1],
                layer.kernel_size[0],
                layer.stride[0],
                layer.padding[0],
                *weights[2 * k : 2 * k + 2],
            )
            described.convolution[k] = _Convolution(*numbers)
        library = require_library(torch.float32)
        handle = ctypes.c_void_p()
        check_status(library.make_head(ctypes.byref(described), handle))
        self._handle, self._see = handle, library.see
        self._shape = head.frame_shape
        self._free: Callable[[], object] = weakref.finalize(self, library.free_head, handle)

    @staticmethod
    def supports(head: nn.Module) -> bool:
        """True if the kernel can run this head on this machine; the first call may compile it."""
        from ncp_control.policy.heads import ConvHead, square_convolutions  # imports this module

        if type(head) is not ConvHead:
            return False
        try:
            layers = square_convolutions(head)
        except ValueError:
            return False
        parameters, sizes = _parameters(head), head.map_sizes()
        if any(p is None for p in parameters):
            return False  # computed from other parameters, e.g. by torch's pruning
        height, width, maps = sizes[-1]
        return (
            len(layers) <= MOST_CONVOLUTIONS
            and maps == MAPS
            and head.weight.shape == (MAPS, height * width, FEATURES_PER_MAP)
            and all(layer.out_channels % OUTPUTS_TOGETHER == 0 for layer in layers)
            and all(math.prod(size) < MOST_NUMBERS for size in _padded(sizes, layers))
            and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in parameters)
            and all(p.is_contiguous() for p in parameters)
            and not any(m._forward_hooks or m._forward_pre_hooks for m in head.modules())
            and has_kernels(torch.float32)
        )

    @property
    def is_current(self) -> bool:
        """True if the head still has the layers and tensors that the kernel was prepared for."""
        return self._settings == _settings_of(self.head)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Return the features, shape (features,), of a uint8 frame (height, width, channels)."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(
                f"`frame` must be uint8 of shape {self._shape}, got {frame.dtype} of shape"
                f" {frame.shape}. Convert it first."
            )
        frame = np.ascontiguousarray(frame)
        self._see(self._handle, frame.ctypes.data)
        return self._features.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {"head": self.head}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(saved["head"])


def _convolutions(head: "ConvHead") -> list[nn.Conv2d]:
    """Return the convolutions, without the ReLU after each of them."""
    return list(head.convolutions)[::2]  # type: ignore[return-value]


def _parameters(head: "ConvHead") -> list[Any]:
    """Return weight and bias of each convolution, then of the features; None if one is missing."""
    modules = (*_convolutions(head), head)
    return [module._parameters.get(name) for module in modules for name in ("weight", "bias")]


def _settings_of(head: "ConvHead") -> list[Any]:
    """Return all that the kernel relies on: layers, their settings, addresses, number of hooks.

    It is called for every frame, so it avoids the slow attribute look-up of `nn.Module`.
    """
    settings: list[Any] = [head.frame_shape]
    for module in (head, head.convolutions, *head.convolutions._modules.values()):
        own: dict[str, Any] = module.__dict__  # type: ignore[union-attr]
        hooks = len(own["_forward_hooks"]) + len(own["_forward_pre_hooks"])
        settings += (type(module), hooks)
        if parameters := own["_parameters"]:
            settings += [p.data_ptr() for p in parameters.values() if p is not None]
        if "stride" in own:
            settings += (own["stride"], own["padding"], own["dilation"])
    return settings


def _padded(
    sizes: Sequence[tuple[int, int, int]], layers: Sequence[nn.Conv2d]
) -> Iterator[tuple[int, int, int]]:
    """Return height, width and channels of each map with the padding of the layer that reads it."""
    margins = [2 * int(layer.padding[0]) for layer in layers] + [0]
    for (height, width, channels), margin in zip(sizes, margins, strict=True):
        yield height + margin, width + margin, channels
