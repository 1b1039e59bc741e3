"""Ablation: measure the effect of one neuron, synapse or sensor by removing it.

A neuron is held at a constant value, e.g. its mean over an episode or its resting potential; a
synapse is cut. The result is an ordinary policy that can act, be recorded and be evaluated.

An LTC neuron is held by changing its parameters: its synapses are closed, its leak pulls it to the
value, and its capacitance is so small that it stays there. The other neurons therefore see the
value in every sub-step, with every kernel. A neuron of a wired CfC is held by making its heads
constant. Units of an unwired cell are overwritten after each frame.

A sensor is held at its mean over an episode: `sensor_effects`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncp_control.audit.activity import actions_on, synapse_names
from ncp_control.cells import LTC, Cell, WiredCfC
from ncp_control.cells.base import Step, reference_tensor
from ncp_control.cells.dense import DenseCell
from ncp_control.circuit import Circuit
from ncp_control.names import check_name
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.records import frames_in, join, numbers_in

_CLOSED = -80.0
"""Raw conductance of a closed synapse: its softplus is 2e-35, no current in single precision."""
_OPEN = 30.0
"""Raw leak conductance of a held neuron."""
_FULL = 1.0 - 1e-7
"""Largest value at which the output of a tanh can be held."""
_TINY = -20.0
"""Raw capacitance of a held neuron: its softplus is 2e-9 frames."""


def ablate(
    policy: Policy,
    *,
    neurons: Mapping[str, float] | None = None,
    synapses: Iterable[str] = (),
) -> Policy:
    """Return a copy of a policy with neurons held at constant values and synapses cut.

    Args:
        policy: The policy; it is not changed.
        neurons: Value at which to hold each neuron, by its name.
        synapses: Names of synapses, e.g. "inter_3 → command_0", see `synapse_names`; LTC only.

    Raises:
        ValueError: If a name is unknown, or the cell does not support the ablation.
    """
    neurons, synapses = dict(neurons or {}), list(synapses)
    cell = policy.circuit.cell
    if isinstance(cell, LTC) and cell.integrator == "rk4" and neurons:
        raise ValueError(
            "`policy` must not be integrated by 'rk4' to hold neurons, got 'rk4'."
            " A held neuron is too quick for it; choose another integrator."
        )
    for name in neurons:
        check_name("neurons", name, cell.neuron_names)
    for name in synapses:
        check_name("synapses", name, synapse_names(cell))
    if not can_hold_neurons(cell) or (synapses and type(cell) is not LTC):
        kinds = "" if synapses else ", a WiredCfC or an unwired one"
        raise ValueError(
            f"`policy` must have an LTC cell{kinds}, got {type(cell).__name__!r}. Its"
            f" {'synapses' if synapses else 'neurons'} cannot be ablated one by one."
        )
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and then replaced
        ablated = type(policy).from_config(policy.to_config()).to(reference_tensor(policy))
    ablated.load_state_dict(policy.state_dict())
    ablated.train(policy.training)
    held = {cell.neuron_names.index(name): value for name, value in neurons.items()}
    if isinstance(ablated.circuit.cell, LTC):
        cut = [synapse_names(cell).index(name) for name in synapses]
        _ablate_ltc(ablated.circuit.cell, held, cut)
    elif isinstance(ablated.circuit.cell, WiredCfC):
        _hold_closed_form(ablated.circuit.cell, held)
    else:
        ablated.circuit = Circuit(_Held(ablated.circuit.cell, held))
    if policy.contract is not None:
        action = tuple(replace(entry, bounds=None) for entry in policy.contract.action)
        # Provenance and certified bounds belong to the original weights.
        ablated.contract = replace(policy.contract, action=action, provenance={})
    return ablated


def can_hold_neurons(cell: Cell) -> bool:
    """Whether `ablate` can hold single neurons of a cell."""
    return type(cell) is LTC or isinstance(cell, DenseCell | WiredCfC)


@torch.no_grad()
def _ablate_ltc(cell: LTC, held: Mapping[int, float], cut: Iterable[int]) -> None:
    """Hold neurons and cut synapses of an LTC cell by changing its parameters, in place."""
    for synapse in cut:
        cell.raw_weight[synapse] = _CLOSED
    for neuron, value in held.items():
        cell.raw_weight[cell.target == neuron] = _CLOSED
        cell.raw_leak_conductance[neuron] = _OPEN
        cell.raw_capacitance[neuron] = _TINY
        cell.leak_potential[neuron] = value


@torch.no_grad()
def _hold_closed_form(cell: WiredCfC, held: Mapping[int, float]) -> None:
    """Hold neurons of a wired CfC by changing its parameters, in place: their heads get no input.

    In pure mode, f = 0 gives v = A. In the other modes, tanh f and tanh g are both set to the
    value, or to half of it if they are added (`no_gate`); the gate is fully open.
    """
    for neuron, value in held.items():
        cell.weight[:, cell.target == neuron] = 0.0
        cell.bias[:, neuron] = 0.0
        if cell.mode == "pure":
            cell.solution.amplitude[neuron] = value
            continue
        share = value / 2.0 if cell.mode == "no_gate" else value
        cell.bias[:2, neuron] = math.atanh(min(max(share, -_FULL), _FULL))
        cell.bias[3, neuron] = _OPEN


class _Held(Cell):
    """Unwired cell in which some units are overwritten after every frame."""

    units: Tensor
    values: Tensor

    def __init__(self, cell: Cell, held: Mapping[int, float]) -> None:
        super().__init__(cell.input_size, cell.state_size, cell.output_size, frame_s=cell.frame_s)
        self.cell = cell
        values = reference_tensor(cell).new_tensor(list(held.values()))
        self.register_buffer("units", torch.tensor(list(held), device=values.device))
        self.register_buffer("values", values)

    @property
    def neuron_names(self) -> list[str]:
        """Names of the wrapped cell's neurons."""
        return self.cell.neuron_names

    def project(self, inputs: Float[Tensor, "*any input"]) -> Tensor:
        """Project inputs like the wrapped cell."""
        return self.cell.project(inputs)

    def stepper(self) -> Step:
        """Return the step of the wrapped cell, followed by overwriting the held units."""
        advance = self.cell.stepper()

        def step(projected: Tensor, state: Tensor, dt_s: Tensor) -> Tensor:
            after = advance(projected, state, dt_s)
            return after.index_copy(1, self.units, self.values.expand(len(after), -1))

        return step

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Return the outputs like the wrapped cell."""
        return self.cell.readout(state)


@dataclass(frozen=True, kw_only=True)
class AblationEffect:
    """Change of the action, on the same frames, without one neuron or synapse.

    For an action that is a choice, the changes are those of the scores of the choices.
    """

    name: str
    """Name of the neuron or synapse."""
    rms: float
    """Root mean square change of the action."""
    largest: float
    """Largest change of an entry of the action."""


def ablation_effects(
    policy: Policy,
    features: Float[Tensor, "time input"],
    dt_s: Float[Tensor, " time"],
    *,
    neurons: Mapping[str, float],
    synapses: Iterable[str] = (),
) -> list[AblationEffect]:
    """Ablate neurons and synapses one at a time and compare the actions on the same frames.

    Args:
        policy: The policy.
        features: Inputs of its circuit, one row per frame.
        dt_s: Time elapsed before each frame [s].
        neurons: Neurons to ablate, each with the value at which it is held.
        synapses: Names of the synapses to ablate.

    Returns:
        Effects of the neurons, then of the synapses, in the order given.
    """
    whole = actions_on(policy, features, dt_s)
    ablated = chain(
        ((name, ablate(policy, neurons={name: value})) for name, value in neurons.items()),
        ((name, ablate(policy, synapses=[name])) for name in synapses),
    )
    effects = []
    for name, without in ablated:
        change = actions_on(without, features, dt_s, name=f"actions without {name}") - whole
        rms, largest = float(np.sqrt(np.mean(change**2))), float(np.abs(change).max())
        effects.append(AblationEffect(name=name, rms=rms, largest=largest))
    return effects


@dataclass(frozen=True, kw_only=True)
class SensorEffect:
    """Change of the action, on the same frames, with one sensor held at its mean.

    For an action that is a choice, the changes are those of the scores of the choices.
    """

    name: str
    """Name of the sensor."""
    rms: Float[np.ndarray, " action"]
    """Root mean square change of each entry of the action."""


def sensor_effects(
    policy: Policy,
    observations: np.ndarray,
    dt_s: Float[Tensor, " time"],
    names: Sequence[str],
) -> list[SensorEffect]:
    """Hold the sensors at their means one at a time and compare the actions on the same frames.

    The sensor is held from the first frame on, so the effect includes what the memory of the
    circuit makes of it. Sensors that always change together can stand in for each other: then each
    has a small effect.

    Args:
        policy: The policy.
        observations: Vectors of numbers, shape (time, sensors), or records of a frame and numbers.
        dt_s: Time elapsed before each frame [s].
        names: Name of each number that is observed.

    Raises:
        ValueError: If the policy senses no numbers, or the names are more or fewer.
    """
    frame_shape = policy.frame_shape if isinstance(policy, FramesPolicy) else None
    if isinstance(policy, FramesPolicy) and not policy.numbers:
        raise ValueError("`policy` must sense numbers, got one that senses frames alone.")
    numbers = observations if frame_shape is None else numbers_in(observations, frame_shape)
    numbers = np.asarray(numbers, np.float32)
    if len(names) != numbers.shape[1]:
        raise ValueError(
            f"`names` must name each of the {numbers.shape[1]} numbers, got {len(names)}."
        )

    def act(numbers: np.ndarray) -> np.ndarray:
        inputs = numbers
        if frame_shape is not None:
            inputs = join(frames_in(observations, frame_shape), numbers)
        with torch.no_grad():
            features = policy.features(policy.read_observations(inputs)[None])[0]
        return actions_on(policy, features, dt_s)

    whole, effects = act(numbers), []
    for k, name in enumerate(names):
        held = numbers.copy()
        held[:, k] = numbers[:, k].mean()
        rms = np.sqrt(np.mean((act(held) - whole) ** 2, axis=0))
        effects.append(SensorEffect(name=name, rms=rms))
    return effects
