"""The one interface between a brain and everything that trains, drives, audits or ships it.

A saved policy is a folder of two files, and nothing in it is executed on load:

    config.json           format version, policy name, the module that defines it, settings
    weights.safetensors   every parameter and buffer
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ncp_control import files
from ncp_control.cells import LTC, Cell
from ncp_control.circuit import Circuit
from ncp_control.kernels.step import FusedStep

FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "weights.safetensors"
_ABSURD = (ArithmeticError, RuntimeError, MemoryError)
"""What settings raise that are no numbers, or numbers too large to build anything of."""


class Policy(nn.Module):
    """Observations and elapsed time in, actions out, with a memory in between.

    A subclass builds its features in `perceive`, hands its circuit to this class, and describes
    itself with `to_config` and `from_config`. Subclasses are found by name on load.

    Args:
        circuit: The recurrent part; its outputs are the actions, unless `respond` changes them.
    """

    _subclasses: ClassVar[dict[str, type["Policy"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Policy._subclasses[cls.__name__] = cls

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self.circuit = circuit
        self._state: Tensor | None = None
        self._fused_step: FusedStep | None = None

    def perceive(self, observation: Tensor) -> Tensor:
        """Turn observations (frames, …) into features (frames, input)."""
        raise NotImplementedError

    def respond(self, outputs: Tensor) -> Tensor:
        """Turn the circuit's outputs (…, output) into actions (…, action)."""
        return outputs

    def to_config(self) -> dict[str, Any]:
        """Return JSON values from which `from_config` builds an equal, untrained policy."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Policy":
        """Build the policy that `to_config` described."""
        raise NotImplementedError

    def features(self, observation: Tensor) -> Tensor:
        """Apply `perceive` to observations (batch, time, …): features (batch, time, input)."""
        return self.perceive(observation.flatten(0, 1)).unflatten(0, observation.shape[:2])

    def forward(
        self,
        observation: Tensor,
        state: Tensor | None = None,
        *,
        dt_s: float | Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Act on a batch of sequences.

        Args:
            observation: Observations, shape (batch, time, …).
            state: State before the first frame, shape (batch, state).
            dt_s: Time elapsed before each frame [s]; see `Circuit.forward`.
            reset: Frames before which the state is cleared, shape (batch, time), bool.

        Returns:
            Actions of shape (batch, time, action), not clipped, and the state after the last frame.
        """
        outputs, last = self.circuit(self.features(observation), state, dt_s=dt_s, reset=reset)
        return self.respond(outputs), last

    @torch.inference_mode()
    def act(self, observation: np.ndarray, dt_s: float | None = None) -> np.ndarray:
        """Act on one observation and remember it.

        Args:
            observation: One observation, without batch and time axes.
            dt_s: Time since the previous call [s]; the circuit's frame interval if None.

        Returns:
            The action in [-1, 1], shape (action,).

        Raises:
            ValueError: If the observation holds something that is not a finite number. Nothing is
                remembered of it: the next one finds the memory as it was. Or if the action is not
                finite, by damaged weights or a step too large for an explicit integrator; then
                all is forgotten, for the memory is lost as well.
        """
        frame = torch.as_tensor(np.ascontiguousarray(observation))[None]
        weight = next(self.parameters())
        frame = frame.to(weight) if frame.is_floating_point() else frame.to(weight.device)
        features = self.perceive(frame)
        if not torch.isfinite(features).all():
            raise ValueError(
                "`observation` must give finite features, got NaN or infinity among them."
                " Leave the frame out: hold the action, and count its time into the next dt_s."
            )
        cell = self.circuit.cell
        step = self._find_fused_step(cell)
        if step is not None:
            dt_s = cell.frame_s if dt_s is None else dt_s
            output = torch.from_numpy(step(features[0].numpy(), dt_s))
        else:
            outputs, self._state = self.circuit(features[:, None], self._state, dt_s=dt_s)
            output = outputs[0, 0]
        action = self.respond(output).cpu()
        action = action.to(torch.promote_types(action.dtype, torch.float32)).numpy()  # of bfloat16
        if not np.isfinite(action).all():
            self.reset()
            raise ValueError(
                f"`action` must be finite, got {action.tolist()!r}. Check the weights, or integrate"
                " with one of the integrators that cannot blow up."
            )
        return action.clip(-1.0, 1.0)

    def _find_fused_step(self, cell: Cell) -> FusedStep | None:
        """Return the kernel that runs this cell frame by frame, where there is one.

        A cell of other settings is another cell: what the old one remembered is forgotten.
        """
        step = self._fused_step
        if step is None or step.cell is not cell or not step.is_current:
            self._fused_step = None
            if isinstance(cell, LTC) and FusedStep.supports(cell):
                self._fused_step = FusedStep(cell)
        return self._fused_step

    def reset(self) -> None:
        """Forget everything `act` has seen: call it when an episode begins."""
        self._state = None
        if self._fused_step is not None:
            self._fused_step.reset()

    def _apply(self, *args: Any, **kwargs: Any) -> "Policy":
        # Called by `to`, `cuda`, `double`, …: what `act` remembers belongs to the old tensors.
        self._state = self._fused_step = None
        return super()._apply(*args, **kwargs)

    def save(self, folder: Path | str) -> None:
        """Write the policy to a folder, whole or not at all.

        Args:
            folder: A new folder, or one that holds a policy, which is replaced.

        Raises:
            ValueError: If something else stands there.
        """
        folder = Path(folder).resolve()  # a link stays one
        _check_destination(folder)
        config = {
            "format_version": FORMAT_VERSION,
            "policy": type(self).__name__,
            "module": type(self).__module__,
            "settings": self.to_config(),
        }
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        with files.new_folder(folder) as new:
            (new / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n")
            (new / WEIGHTS_FILE).write_bytes(safetensors.torch.save(tensors))

    @staticmethod
    def load(folder: Path | str) -> "Policy":
        """Read a policy written by `save`, ready to act.

        Raises:
            FileNotFoundError: If the folder or one of its files is missing.
            ValueError: If a file is damaged or does not fit the policy it names.
        """
        folder = Path(folder)
        config = _read_config(folder)
        name: Any = config["policy"]
        if name not in list(Policy._subclasses):
            module = config.get("module", "the module that defines it")
            raise ValueError(
                f"`policy` in {folder / CONFIG_FILE} must be one of"
                f" {sorted(Policy._subclasses)}, got {name!r}. Import {module} first."
            )
        try:
            policy = Policy._subclasses[name].from_config(config["settings"])
        except (AttributeError, KeyError, TypeError, *_ABSURD) as error:
            raise ValueError(
                f"`settings` in {folder / CONFIG_FILE} must be those of a {name}, got"
                f" {type(error).__name__}: {error}. Copy or save the policy again."
            ) from error
        _load_weights(policy, folder / WEIGHTS_FILE)
        return policy.eval()


def _check_destination(folder: Path) -> None:
    """Refuse to replace what is not a policy."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"`folder` must not be a file, got {str(folder)!r}. Name a new folder.")
    names = {path.name for path in folder.iterdir()}
    others = sorted(names - {CONFIG_FILE, WEIGHTS_FILE})
    if CONFIG_FILE in names and b'"format_version"' not in (folder / CONFIG_FILE).read_bytes():
        others = [CONFIG_FILE, *others]  # somebody else's
    if others:
        raise ValueError(
            f"`folder` must be new or hold nothing but a policy, got {str(folder)!r} with"
            f" {others[0]!r} in it. Name a new folder."
        )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"`folder` must hold config.json, got {str(folder)!r}. Name the folder that"
            " Policy.save wrote, e.g. runs/<run>/policy."
        )
    try:
        config = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON: {error}. Save the policy again.") from error
    version = config.get("format_version") if isinstance(config, dict) else None
    if version != FORMAT_VERSION or not {"policy", "settings"} <= config.keys():
        raise ValueError(
            f"{path} must be a policy of format version {FORMAT_VERSION}, got version {version!r}."
            " Save it with this version of ncp-control."
        )
    return config


def _load_weights(policy: Policy, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the policy has no weights. Copy both files.")
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path} must be a whole safetensors file: {error}. Copy or save it again."
        ) from error
    targets: dict[str, Tensor] = policy.state_dict(keep_vars=True)
    for name in targets.keys() & tensors.keys():
        target, found = targets[name], tensors[name]
        if found.dtype != target.dtype and not (
            found.is_floating_point() and target.is_floating_point()
        ):
            raise ValueError(
                f"`{name}` in {path} must be {target.dtype}, got {found.dtype}. Copy or save the"
                " policy again."
            )
        target.data = target.data.to(found.dtype)  # a policy comes back as precise as it was
    try:
        policy.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} does not fit the policy in config.json: {reason} Copy both files together."
        ) from error
