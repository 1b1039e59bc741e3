"""A MuJoCo model in mujoco-warp: many worlds at once, in float32, on any device.

Its state is tensors that share their memory with the simulation. Nothing here waits for the device.
On a GPU the steps of one `advance` are recorded as a graph, once, and launched on the stream that
torch works on.

Source: github.com/google-deepmind/mujoco_warp.
"""

import dataclasses
import importlib
from typing import Any

import torch
from torch import Tensor


class WarpSimulation:
    """Worlds of one model, simulated side by side.

    Args:
        model: MuJoCo's model.
        num_worlds: How many.
        device: Where; cpu or a CUDA device.
        steps: Physics steps of one call of `advance`.

    Attributes:
        device: The device, with its number if it is a GPU.

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
        """Coordinates of all joints, shape (worlds, positions); a view, which may be written to."""
        return self._state["qpos"]

    @property
    def velocities(self) -> Tensor:
        """Their rates, shape (worlds, velocities); a view, which may be written to."""
        return self._state["qvel"]

    @property
    def controls(self) -> Tensor:
        """What the actuators are told, shape (worlds, actuators); a view, to be written to."""
        return self._state["ctrl"]

    @property
    def num_bytes(self) -> int:
        """Memory that the state of all worlds takes on the device [bytes]."""
        return sum(array.capacity for array in _arrays(self._data, self._warp.array))

    def is_finite(self) -> Tensor:
        """Return which worlds have a finite state, bool, shape (worlds,)."""
        return self.positions.isfinite().all(1) & self.velocities.isfinite().all(1)

    def put(self, which: Tensor, positions: Tensor, velocities: Tensor) -> None:
        """Put some worlds into a state, as if they had never run; their controls become 0.

        Args:
            which: The worlds, bool, shape (worlds,).
            positions: Coordinates of all joints, shape (worlds, positions) or (positions,).
            velocities: Their rates, in the same way.
        """
        new = {"qpos": positions, "qvel": velocities}
        for name, value in self._state.items():
            mask = which[:, None] if value.ndim > 1 else which
            value.copy_(torch.where(mask, new.get(name, torch.zeros_like(value)), value))

    def advance(self) -> None:
        """Simulate the steps of one call; on a GPU as one graph that was recorded once."""
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
        """Return what simulates the steps on the stream that torch works on."""
        wp = self._warp
        kept = {name: value.clone() for name, value in self._state.items()}
        torch.cuda.synchronize(self.device)
        self._simulate()  # compiles the kernels, which a recording cannot
        wp.synchronize_device(self._on_device)
        with wp.ScopedDevice(self._on_device), wp.ScopedCapture() as capture:
            self._simulate()
        for name, value in kept.items():
            self._state[name].copy_(value)
        stream = wp.stream_from_torch(self.device)
        return lambda: wp.capture_launch(capture.graph, stream=stream)


def _numbered(device: torch.device) -> torch.device:
    """Return a device with its number, which warp asks for: `cuda` is the current one."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _arrays(holder: Any, kind: type) -> list[Any]:
    """Return the arrays in the fields of a dataclass and of the dataclasses in it."""
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
        warp.config.log_level = warp.LOG_ERROR  # else it prints a line for each kernel
        warp.init()
        return warp, importlib.import_module("mujoco_warp")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"`num_worlds` needs mujoco-warp, but there is no {error.name!r}, which the extra `gpu`"
            ' installs. Run `pip install -e ".[gpu]"` in the clone.'
        ) from error
