"""`Policy`: base class of all policies, used by training, driving, audit and export.

Its contract states its observations and actions; `folder.py` describes the saved files.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ncp_control import files
from ncp_control.cells import Cell, ControlStep
from ncp_control.cells.base import not_defined, reference_tensor
from ncp_control.cells.known import check_saved
from ncp_control.circuit import Circuit
from ncp_control.contract import Contract
from ncp_control.json_files import shorten
from ncp_control.policy.choices import check_choices, choose
from ncp_control.policy.fitting import check_fits, has_rate_of
from ncp_control.policy.folder import (
    CONFIG_FILE,
    FORMAT_VERSION,
    MAX_CONFIG_BYTES,
    WEIGHTS_FILE,
    check_destination,
    load_policy,
    read_config,
    read_contract,
    weights_content,
)
from ncp_control.policy.precision import to_numpy
from ncp_control.ranges import is_number
from ncp_control.records import pack
from ncp_control.registry import import_advice

_LEAVE_OUT = "Leave the frame out: hold the action, and count its time into the next dt_s."


class Policy(nn.Module):
    """Base class of policies: maps observations and elapsed times to actions, with a hidden state.

    A subclass computes features in `perceive`, passes its circuit to this class, and implements
    `to_config` and `from_config`. `load` finds subclasses by name.

    Args:
        circuit: The recurrent part; its outputs are the actions, unless `respond` changes them.
        choices: Number of choices of each entry of the action, e.g. (2,); empty if the entries are
            numbers. With choices, the circuit has one output for each choice of each entry, its
            score; the choice with the highest score is taken.

    Attributes:
        choices: The argument `choices` as a tuple.

    Raises:
        ValueError: If there are choices, and the circuit does not have one output for each.
    """

    positive_tensors: ClassVar[tuple[str, ...]] = ()
    """Names of parameters and buffers that must be positive; `load` checks them. Every module of a
    policy may declare this."""

    _subclasses: ClassVar[dict[str, type["Policy"]]] = {}
    _contract: Contract | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Policy._subclasses[cls.__name__] = cls

    def __init__(self, circuit: Circuit, choices: Sequence[int] = ()) -> None:
        super().__init__()
        self.choices = check_choices(choices, circuit.cell.output_size)
        self.circuit = circuit
        self._remembering = (circuit.cell,)  # a tuple, so that torch does not register it again
        self._state: Tensor | None = None
        self._control_step: ControlStep | None = None

    @property
    def action_size(self) -> int:
        """Number of entries of an action."""
        return len(self.choices) or self.circuit.cell.output_size

    @property
    def contract(self) -> Contract | None:
        """Contract of the policy's observations and actions; None if it has none.

        Raises:
            TypeError: When set, if it is not a Contract.
            ValueError: When set, if the contract does not have the policy's choices, its number of
                action entries, the shape of its observations, or its frame interval.
        """
        return self._contract

    @contract.setter
    def contract(self, contract: Contract | None) -> None:
        if contract is not None:
            check_fits(self, contract)
            if not has_rate_of(self, contract):
                raise ValueError(
                    "`contract` must have the circuit's frame interval of"
                    f" {self.circuit.frame_s:g} s, got {contract.frame_s:g} s. Build the cell with"
                    " the `frame_s` of the contract."
                )
        self._contract = contract

    @property
    def observed_shape(self) -> tuple[int, ...] | None:
        """Shape of the array that holds an observation; None if the class does not tell it."""
        return None

    def perceive(self, observation: Tensor) -> Tensor:
        """Compute features (frames, input) of observations (frames, …)."""
        raise not_defined(
            type(self), "perceive", "Return the inputs of the circuit, (frames, input)."
        )

    def sense(self, observation: np.ndarray) -> Tensor:
        """Check one observation (1, …) and compute its features (1, input), for `act`.

        Raises:
            ValueError: As in `read_observations`.
        """
        return self.perceive(self.read_observations(observation))

    def respond(self, outputs: Tensor) -> Tensor:
        """Map outputs of the circuit (…, output) to actions (…, action), or scores of choices."""
        return outputs

    def limit(self, actions: Tensor) -> Tensor:
        """Clip actions to [-1, 1]; scores of choices are returned as is."""
        return actions if self.choices else actions.clamp(-1.0, 1.0)

    def command(self, actions: np.ndarray) -> np.ndarray:
        """Convert outputs of `forward` to the actions that a world takes.

        Args:
            actions: Numbers (…, action), or scores of choices (…, output).

        Returns:
            Numbers clipped to [-1, 1], or the index of the best choice of each entry, int64 of
            shape (…, entry).
        """
        return choose(actions, self.choices) if self.choices else actions.clip(-1.0, 1.0)

    def to_config(self) -> dict[str, Any]:
        """Return JSON values from which `from_config` builds the same policy, untrained."""
        raise not_defined(
            type(self), "to_config", "Return what from_config builds the policy from."
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Policy":
        """Build an untrained policy from the values of `to_config`."""
        raise not_defined(cls, "from_config", "Build a policy from the values of to_config.")

    def frames_of(self, observations: Any) -> Any:
        """Return the camera frames in observations (batch, …), arrays or tensors."""
        return observations

    def with_frames(self, observations: Any, frames: Any) -> Any:
        """Return observations (batch, …) with their frames replaced by `frames`."""
        return frames

    def features(self, observation: Tensor) -> Tensor:
        """Compute features (batch, time, input) of observations (batch, time, …).

        Raises:
            ValueError: If the observations have fewer than three axes.
        """
        if observation.ndim < 3:
            raise ValueError(
                f"`observation` must have shape (batch, time, …), got {tuple(observation.shape)}."
                " Give one sequence as observation[None]."
            )
        return self.perceive(observation.flatten(0, 1)).unflatten(0, observation.shape[:2])

    def forward(
        self,
        observation: Tensor,
        state: Tensor | None = None,
        *,
        dt_s: float | Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute the actions for a batch of sequences, for training.

        Values are not checked: NaN and infinity pass through, perhaps clipped. `act` and
        `PolicyPilot` check their inputs.

        Args:
            observation: Observations, shape (batch, time, …).
            state: State before the first frame, shape (batch, state); if None: the cell's initial
                state.
            dt_s: Time elapsed before each frame [s]; see `Circuit.forward`.
            reset: True at frames before which the state is cleared, shape (batch, time), bool.

        Returns:
            Actions of shape (batch, time, action), not clipped, or scores of choices (batch, time,
            output); and the state after the last frame (batch, state). `command` converts them to
            the actions that a world takes.
        """
        outputs, last = self.circuit(self.features(observation), state, dt_s=dt_s, reset=reset)
        return self.respond(outputs), last

    @torch.inference_mode()
    def act(
        self, observation: np.ndarray | dict[str, Any], dt_s: float | None = None
    ) -> np.ndarray:
        """Compute the action for one observation, and update the hidden state.

        Args:
            observation: One observation, without batch and time axes. An observation of several
                parts may be a dictionary with the names of the contract.
            dt_s: Time since the previous call [s]; if None: the circuit's frame interval.

        Returns:
            The action in [-1, 1], shape (action,), or the index of the choice of each entry.

        Raises:
            ValueError: If the observation is not finite, or `dt_s` is not a finite time >= 0: the
                hidden state is left as it was. Or if the circuit's state, its output or the action
                is not finite, due to damaged weights or a step too large for an explicit
                integrator: the hidden state is then reset.
        """
        if dt_s is not None:
            dt_s = _check_elapsed(dt_s)
        if isinstance(observation, dict):
            observation = pack(observation, self.contract and self.contract.observation)
        features = self.sense(np.atleast_1d(observation)[None])
        numbers = to_numpy(features)
        if not np.isfinite(numbers).all():
            raise ValueError(
                "`observation` must give finite features, got NaN or infinity among them."
                f" {_LEAVE_OUT}"
            )
        cell = self.circuit.cell
        step = self._find_control_step(cell)
        if step is not None:
            numbers = step(numbers[0], cell.frame_s if dt_s is None else dt_s)
            output, state = torch.from_numpy(numbers), step.state
        else:
            outputs, last = self.circuit(features[:, None], self._state, dt_s=dt_s)
            self._state = last
            output, state = outputs[0, 0], to_numpy(last)
            numbers = to_numpy(output)
        action = to_numpy(self.respond(output))
        # All three are checked: an infinite state or output may be squashed to a finite action.
        for name, values in (("state", state), ("output", numbers), ("action", action)):
            if not np.isfinite(values).all():
                error = ValueError(
                    f"`{name}` must be finite, got {shorten(values.flatten().tolist())}. Check the"
                    " weights, or integrate with one of the integrators that cannot blow up."
                )
                self.reset()  # which overwrites the values
                raise error
        return self.command(action)

    def read_observations(self, observations: np.ndarray) -> Tensor:
        """Check observations and convert them to a tensor for `perceive`.

        Args:
            observations: One or more observations, shape (frames, …), integers or floating-point
                numbers.

        Returns:
            A tensor on the device of the parameters; floating-point numbers in their dtype.

        Raises:
            ValueError: If a value is not finite, or too large for the parameters' dtype.
        """
        weight = reference_tensor(self.circuit.cell)
        dtype = observations.dtype
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise ValueError(
                "`observation` must hold whole or real numbers of at most 64 bits, got"
                f" {dtype}. Convert it first."
            )
        if dtype.kind != "f":
            return torch.from_numpy(_own(observations, dtype.newbyteorder("="))).to(weight.device)
        # Checked in double precision: a conversion to single may already overflow.
        values = np.array(observations, np.float64)
        largest = torch.finfo(weight.dtype).max
        if not np.abs(values).max(initial=0.0) <= largest:  # False for NaN as well
            frame, *entry = np.argwhere(~(np.abs(values) <= largest))[0].tolist()
            which = "" if len(values) == 1 else f" of observation {frame}"
            raise ValueError(
                f"`observation` must hold finite numbers of at most {largest:.3g}, got"
                f" {float(values[frame, *entry])!r} at entry {', '.join(map(str, entry))}{which}."
                f" {_LEAVE_OUT}"
            )
        return torch.from_numpy(values).to(weight)

    def _find_control_step(self, cell: Cell) -> ControlStep | None:
        """Return the kernel that runs the cell frame by frame, if there is one.

        If the cell was replaced since the last call, the hidden state is cleared.
        """
        if cell is not self._remembering[0]:
            self._remembering, self._state, self._control_step = (cell,), None, None
        step = self._control_step
        if step is None or not step.is_current:
            step = self._control_step = cell.control_step()
        return step

    @property
    def state(self) -> np.ndarray | None:
        """Copy of the hidden state of `act`, shape (state,); None before the first observation.

        It may be set after that.
        """
        if self._control_step is not None:
            return self._control_step.state.copy()
        return None if self._state is None else to_numpy(self._state[0]).copy()

    @state.setter
    def state(self, state: np.ndarray) -> None:
        if self._control_step is not None:
            self._control_step.state[:] = state
        elif self._state is not None:
            self._state = torch.tensor(state[None]).to(self._state)

    def reset(self) -> None:
        """Clear the hidden state of `act`; call this at the beginning of each episode."""
        self._state = None
        if self._control_step is not None:
            self._control_step.reset()

    def _apply(self, *args: Any, **kwargs: Any) -> "Policy":
        # Called by `to`, `cuda`, `double`, …: the hidden state belongs to the old tensors.
        self._state = self._control_step = None
        return super()._apply(*args, **kwargs)

    def save(self, folder: Path | str) -> None:
        """Write the policy to a folder, completely or not at all.

        The contract is written with the certified bounds of the weights.

        Args:
            folder: New folder, or a folder that holds a policy, which is replaced.

        Raises:
            ValueError: If `folder` is a file or holds something other than a policy, the settings
                are too large to be loaded again, or those of a user's own cell would build another
                cell.
        """
        from ncp_control.audit.action_bounds import with_bounds  # an audit imports policies

        folder = Path(folder).resolve()  # a symbolic link is kept
        check_destination(folder)
        check_saved(self.circuit.cell)
        config = {
            "format_version": FORMAT_VERSION,
            "policy": type(self).__name__,
            "module": type(self).__module__,
            "settings": self.to_config(),
        }
        weights = weights_content(self)
        contract = with_bounds(self)
        if contract is not None:
            digest = {"weights_sha256": hashlib.sha256(weights).hexdigest()}
            provenance = contract.provenance | digest
            config["contract"] = replace(contract, provenance=provenance).to_json()
        text = json.dumps(config, indent=1, allow_nan=False) + "\n"
        if len(text) > MAX_CONFIG_BYTES:
            raise ValueError(
                f"`settings` must take at most {MAX_CONFIG_BYTES} bytes, got {len(text)}."
                " Give the circuit fewer synapses."
            )
        with files.new_folder(folder) as new:
            (new / CONFIG_FILE).write_text(text, encoding="utf-8")
            (new / WEIGHTS_FILE).write_bytes(weights)

    @staticmethod
    def load(folder: Path | str) -> "Policy":
        """Load a policy that `save` wrote, in evaluation mode.

        Raises:
            FileNotFoundError: If the folder or one of its files is missing.
            ValueError: If a file is damaged or does not fit the policy, or the class of the policy
                is not imported.
        """
        from ncp_control.audit.action_bounds import first_wrong, with_bounds

        folder = Path(folder)
        files.restore(folder)
        config = read_config(folder)
        name: Any = config["policy"]
        if name not in list(Policy._subclasses):
            module = config.get("module", "the module that defines it")
            raise ValueError(
                f"`policy` in {folder / CONFIG_FILE} must be one of {sorted(Policy._subclasses)},"
                f" got {shorten(name)}. {import_advice(module)}"
            )
        policy = load_policy(Policy._subclasses[name].from_config, config, folder)
        contract = read_contract(config, folder)
        if contract is not None:
            try:
                check_fits(policy, contract)
            except ValueError as error:
                raise ValueError(f"{folder / CONFIG_FILE}: {error}") from error
            if not has_rate_of(policy, contract):  # as some policies of logs were saved once
                warnings.warn(
                    f"the circuit of '{folder}' was built for a frame every"
                    f" {policy.circuit.frame_s:g} s, its contract tells {contract.frame_s:g} s",
                    stacklevel=2,
                )
        policy._contract = contract
        policy._contract = certified = with_bounds(policy)
        wrong = first_wrong(contract, certified)
        if wrong is not None:
            warnings.warn(
                f"the contract of '{folder}' states {wrong}. The latter counts", stacklevel=2
            )
        return policy.eval()


def _check_elapsed(dt_s: float) -> float:
    """Return an elapsed time as a Python float; raise ValueError unless it is finite and >= 0."""
    if not (is_number(dt_s) and dt_s >= 0.0):
        raise ValueError(
            f"`dt_s` must be a finite time >= 0 in seconds, got {shorten(dt_s)}."
            " Check the order of the time stamps."
        )
    return float(dt_s)


def _own(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array that torch takes without a warning: contiguous, native order, writable."""
    values = np.ascontiguousarray(values, dtype)
    return values if values.flags.writeable else values.copy()
