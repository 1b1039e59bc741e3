"""MuJoCo model simulated by mujoco-warp: many worlds at once, in float32, on any device.

The state is tensors that share memory with the simulation. Nothing here waits for the device. On a
GPU, the steps of one `advance` are recorded once as a CUDA graph, which is launched on the stream
that torch works on.

Source: github.com/google-deepmind/mujoco_warp.
"""

import dataclasses
import importlib
from typing import Any

import torch
from torch import Tensor


class WarpSimulation:
    """Worlds of one MuJoCo model, simulated side by side.

    Args:
        model: The MuJoCo model.
        num_worlds: Number of worlds.
        device: Device to simulate on: cpu or a CUDA device.
        steps: Number of physics steps in one call of `advance`.

    Attributes:
        device: The device, with its index if it is a GPU.

    Raises:
        ValueError: If mujoco-warp is not installed.
    """

    def __init__(
        self, model: Any, num_worlds: int, device: torch.device | str, *, steps: int
    ) -> None:
        self.device = _numbered(torch.device(device))
        self._steps = steps
        self._warp, self._mujoco_warp = _warp_modules()
        self._on_device = str(self._warp.device_from_torch(self.device))
        with self._warp.ScopedDevice(self._on_device):
            self._model = self._mujoco_warp.put_model(model)
            self._data = self._mujoco_warp.make_data(model, nworld=num_worlds)
            self._warp.synchronize()  # torch works on another stream
        names = ("qpos", "qvel", "ctrl", "qacc_warmstart", "time")
        self._state = {name: self._warp.to_torch(getattr(self._data, name)) for name in names}
        self._launch: Any = None

    @property
    def positions(self) -> Tensor:
        """Positions of all joints, shape (worlds, positions); a view that may be written to."""
        return self._state["qpos"]

    @property
    def velocities(self) -> Tensor:
        """Velocities of all joints, shape (worlds, velocities); a view that may be written to."""
        return self._state["qvel"]

    @property
    def controls(self) -> Tensor:
        """Actuator controls, shape (worlds, actuators); a view to write to."""
        return self._state["ctrl"]

    @property
    def num_bytes(self) -> int:
        """Device memory taken by the state of all worlds [bytes]."""
        return sum(array.capacity for array in _arrays(self._data, self._warp.array))

    def is_finite(self) -> Tensor:
        """Return which worlds have a finite state, bool, shape (worlds,)."""
        return self.positions.isfinite().all(1) & self.velocities.isfinite().all(1)

    def put(self, which: Tensor, positions: Tensor, velocities: Tensor) -> None:
        """Set the state of some worlds as if they had never run; their controls become 0.

        Args:
            which: Mask of the worlds to set, bool, shape (worlds,).
            positions: Positions of all joints, shape (worlds, positions) or (positions,).
            velocities: Velocities of all joints, shape (worlds, velocities) or (velocities,).
        """
        new = {"qpos": positions, "qvel": velocities}
        for name, value in self._state.items():
            mask = which[:, None] if value.ndim > 1 else which
            value.copy_(torch.where(mask, new.get(name, torch.zeros_like(value)), value))

    def advance(self) -> None:
        """Simulate the steps of one call; on a GPU, launch the recorded graph."""
        if self.device.type != "cuda":
            self._simulate()
            return
        if self._launch is None:
            self._launch = self._record()
        self._launch()

    def _simulate(self) -> None:
        with self._warp.ScopedDevice(self._on_device):
            for _ in range(self._steps):
                self._mujoco_warp.step(self._model, self._data)

    def _record(self) -> Any:
        """Record the steps as a graph and return a function that launches it on torch's stream."""
        wp = self._warp
        kept = {name: value.clone() for name, value in self._state.items()}
        torch.cuda.synchronize(self.device)
        self._simulate()  # compiles the kernels, which cannot be done while recording
        wp.synchronize_device(self._on_device)
        with wp.ScopedDevice(self._on_device), wp.ScopedCapture() as capture:
            self._simulate()
        for name, value in kept.items():
            self._state[name].copy_(value)
        stream = wp.stream_from_torch(self.device)
        return lambda: wp.capture_launch(capture.graph, stream=stream)


def _numbered(device: torch.device) -> torch.device:
    """Return a device with its index, which warp needs: `cuda` means the current GPU."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _arrays(holder: Any, kind: type) -> list[Any]:
    """Return the arrays in the fields of a dataclass and of its nested dataclasses."""
    found = []
    for field in dataclasses.fields(holder):
        value = getattr(holder, field.name)
        if dataclasses.is_dataclass(value):
            found += _arrays(value, kind)
        elif isinstance(value, kind):
            found.append(value)
    return found


def _warp_modules() -> tuple[Any, Any]:
    """Import warp and mujoco_warp.

    Raises:
        ValueError: If they are not installed.
    """
    try:
        warp = importlib.import_module("warp")
        warp.config.log_level = warp.LOG_ERROR  # otherwise it prints a line for each kernel
        warp.init()
        return warp, importlib.import_module("mujoco_warp")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"`num_worlds` needs mujoco-warp, but there is no {error.name!r}, which the extra `gpu`"
            ' installs. Run `pip install -e ".[gpu]"` in the clone.'
        ) from error
