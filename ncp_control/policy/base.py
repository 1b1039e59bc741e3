"""The one interface between a brain and everything that trains, drives, audits or ships it.

How a policy is saved stands in `folder.py`; what it senses and commands, in its contract.
"""

import copy
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ncp_control import files
from ncp_control.cells import Cell, ControlStep
from ncp_control.cells.known import check_saved
from ncp_control.circuit import Circuit
from ncp_control.contract import Contract
from ncp_control.json_files import shorten
from ncp_control.policy.choices import check_choices, check_same_choices, choose
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
from ncp_control.records import pack
from ncp_control.registry import import_advice

_HALF = (torch.bfloat16, torch.float16)
_LEAVE_OUT = "Leave the frame out: hold the action, and count its time into the next dt_s."


class Policy(nn.Module):
    """Observations and elapsed time in, actions out, with a memory in between.

    A subclass builds its features in `perceive`, hands its circuit to this class, and describes
    itself with `to_config` and `from_config`. Subclasses are found by name on load.

    Args:
        circuit: The recurrent part; its outputs are the actions, unless `respond` changes them.
        choices: How many choices each entry of the action has, e.g. (2,); empty if the entries are
            numbers. The circuit then has an output for each choice of each entry, its score; what
            is done is the choice with the highest score.

    Attributes:
        choices: The same, as a tuple.

    Raises:
        ValueError: If the circuit has not one output for each choice.
    """

    positive_tensors: ClassVar[tuple[str, ...]] = ()
    """Own parameters and buffers that must be positive, which `load` checks. Every module of a
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
        """How many entries an action has."""
        return len(self.choices) or self.circuit.cell.output_size

    @property
    def contract(self) -> Contract | None:
        """What the policy senses and commands, in which world; None if nobody has said it.

        Raises:
            ValueError: On setting, if the contract has other choices than the policy, or more or
                fewer entries of an action.
        """
        return self._contract

    @contract.setter
    def contract(self, contract: Contract | None) -> None:
        if contract is not None:
            check_same_choices(self.choices, contract.action)
            if len(contract.action) != self.action_size:
                raise ValueError(
                    f"`contract` must have an entry for each of the policy's {self.action_size}"
                    f" actions, got {len(contract.action)}. Name each, or build the policy anew."
                )
        self._contract = contract

    def perceive(self, observation: Tensor) -> Tensor:
        """Turn observations (frames, …) into features (frames, input)."""
        raise NotImplementedError

    def sense(self, observation: np.ndarray) -> Tensor:
        """Check one observation (1, …) and turn it into features (1, input), for `act`.

        Raises:
            ValueError: As `read_observations`.
        """
        return self.perceive(self.read_observations(observation))

    def respond(self, outputs: Tensor) -> Tensor:
        """Turn the circuit's outputs (…, output) into actions (…, action), or scores of choices."""
        return outputs

    def limit(self, actions: Tensor) -> Tensor:
        """Clip actions to [-1, 1]; scores of choices have no limits and stay as they are."""
        return actions if self.choices else actions.clamp(-1.0, 1.0)

    def command(self, actions: np.ndarray) -> np.ndarray:
        """Turn actions, as `forward` returns them, into what a world takes.

        Args:
            actions: Numbers, or scores of choices, shape (…, action).

        Returns:
            Numbers clipped to [-1, 1], or the number of the best choice of each entry, int64 of
            shape (…, entry).
        """
        return choose(actions, self.choices) if self.choices else actions.clip(-1.0, 1.0)

    def to_config(self) -> dict[str, Any]:
        """Return JSON values from which `from_config` builds an equal, untrained policy."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Policy":
        """Build the policy that `to_config` described."""
        raise NotImplementedError

    def frames_of(self, observations: Any) -> Any:
        """Return what of observations (batch, …), arrays or tensors, are camera frames: all."""
        return observations

    def with_frames(self, observations: Any, frames: Any) -> Any:
        """Return observations (batch, …) whose frames are others."""
        return frames

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

        Made for training: the values are not checked, so what is not finite goes through, perhaps
        clipped. `act` and `PolicyPilot` check what they are given.

        Args:
            observation: Observations, shape (batch, time, …).
            state: State before the first frame, shape (batch, state).
            dt_s: Time elapsed before each frame [s]; see `Circuit.forward`.
            reset: Frames before which the state is cleared, shape (batch, time), bool.

        Returns:
            Actions of shape (batch, time, action), not clipped, or scores of choices; and the state
            after the last frame. See `command`.
        """
        outputs, last = self.circuit(self.features(observation), state, dt_s=dt_s, reset=reset)
        return self.respond(outputs), last

    @torch.inference_mode()
    def act(
        self, observation: np.ndarray | dict[str, Any], dt_s: float | None = None
    ) -> np.ndarray:
        """Act on one observation and remember it.

        Args:
            observation: One observation, without batch and time axes; one of several parts may be
                a dictionary with the names of the contract.
            dt_s: Time since the previous call [s]; the circuit's frame interval if None.

        Returns:
            The action in [-1, 1], shape (action,), or the number of each entry's choice.

        Raises:
            ValueError: If the observation holds something that is not a finite number, or `dt_s`
                is not a finite time >= 0. Nothing is remembered of it: the next one finds the
                memory as it was. Or if the circuit's state, its output or the action is not
                finite, by damaged weights or a step too large for an explicit integrator; then
                all is forgotten, for the memory is lost as well.
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
        # Each by itself: a state or an output that is infinite may be squashed to a finite action.
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
        """Check observations and turn them into what `perceive` takes.

        Args:
            observations: One or more observations, shape (frames, …), whole or real numbers.

        Returns:
            The same numbers where the parameters are; real ones in the parameters' dtype.

        Raises:
            ValueError: If a value is not a finite number, or too large for the parameters' dtype.
        """
        weight = next(self.circuit.cell.parameters())
        dtype = observations.dtype
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise ValueError(
                "`observation` must hold whole or real numbers of at most 64 bits, got"
                f" {dtype}. Convert it first."
            )
        if dtype.kind != "f":
            return torch.from_numpy(_own(observations, dtype.newbyteorder("="))).to(weight.device)
        # In double precision, as it came: a conversion to single may already overflow.
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
        """Return what runs this cell frame by frame faster than `forward`, where there is one.

        A cell of other settings is another cell: what the old one remembered is forgotten.
        """
        if cell is not self._remembering[0]:
            self._remembering, self._state, self._control_step = (cell,), None, None
        step = self._control_step
        if step is None or not step.is_current:
            step = self._control_step = cell.control_step()
        return step

    @property
    def state(self) -> np.ndarray | None:
        """What `act` remembers, shape (state,), where it lies; None if it has seen nothing."""
        if self._control_step is not None:
            return self._control_step.state
        return None if self._state is None else to_numpy(self._state[0])

    def reset(self) -> None:
        """Forget everything `act` has seen: call it when an episode begins."""
        self._state = None
        if self._control_step is not None:
            self._control_step.reset()

    def _apply(self, *args: Any, **kwargs: Any) -> "Policy":
        # Called by `to`, `cuda`, `double`, …: what `act` remembers belongs to the old tensors.
        self._state = self._control_step = None
        return super()._apply(*args, **kwargs)

    def save(self, folder: Path | str) -> None:
        """Write the policy to a folder, whole or not at all.

        Args:
            folder: A new folder, or one that holds a policy, which is replaced.

        Raises:
            ValueError: If something else stands there, the settings are too many to load, or those
                of a cell of your own would build another cell.
        """
        folder = Path(folder).resolve()  # a link stays one
        check_destination(folder)
        check_saved(self.circuit.cell)
        config = {
            "format_version": FORMAT_VERSION,
            "policy": type(self).__name__,
            "module": type(self).__module__,
            "settings": self.to_config(),
        }
        weights = weights_content(self)
        if self.contract is not None:
            digest = {"weights_sha256": hashlib.sha256(weights).hexdigest()}
            provenance = self.contract.provenance | digest
            config["contract"] = replace(self.contract, provenance=provenance).to_json()
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
        """Read a policy written by `save`, ready to act.

        Raises:
            FileNotFoundError: If the folder or one of its files is missing.
            ValueError: If a file is damaged or does not fit the policy it names.
        """
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
        try:
            policy.contract = contract
        except ValueError as error:
            raise ValueError(f"{folder / CONFIG_FILE}: {error}") from error
        return policy.eval()


def _check_elapsed(dt_s: float) -> float:
    """Return an elapsed time as Python's own number.

    Raises:
        ValueError: If it is not a finite time >= 0.
    """
    is_number = isinstance(dt_s, Real) and not isinstance(dt_s, bool)
    if not is_number or not 0.0 <= dt_s < math.inf:
        raise ValueError(
            f"`dt_s` must be a finite time >= 0 in seconds, got {shorten(dt_s)}."
            " Check the order of the time stamps."
        )
    return float(dt_s)


def _own(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array that torch may hold without a warning: in one piece, native, writable."""
    values = np.ascontiguousarray(values, dtype)
    return values if values.flags.writeable else values.copy()


def to_numpy(values: Tensor) -> np.ndarray:
    """Return values as NumPy takes them: it has no bfloat16, so half precision becomes single."""
    return (values.float() if values.dtype in _HALF else values).cpu().numpy()


def at_least_single(policy: Policy) -> Policy:
    """Return a policy of half precision in single precision, to be looked into; others as they are.

    Its weights are the same numbers; what it computes is rounded less.
    """
    is_half = next(policy.parameters()).dtype in _HALF
    return copy.deepcopy(policy).float() if is_half else policy
