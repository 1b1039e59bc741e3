"""Carry a trained model over from ncps (https://github.com/mlech26l/ncps), with equal outputs.

Theirs counts time in frames, numbers neurons motor first, keeps every synapse in dense matrices
under a mask, and lets the sign of a reversal potential change in training. Ours counts seconds,
numbers motor neurons last, stores the synapses that exist, and fixes each sign; so the wiring that
comes out has the signs the training ended with.

| theirs                                       | ours                                            |
|----------------------------------------------|-------------------------------------------------|
| `LTC`, any wiring                            | `LTC`, in a `MixedMemory` if theirs mixes        |
| `CfC(units=number)`, any mode                | `CfC`, in a `MixedMemory` if theirs mixes        |
| `CfC(units=wiring)`                          | refused: its gates and recurrence ignore masks   |
| `timespans`                                  | `dt_s` = timespans · frame_s                     |

Equal means up to rounding, and a recurrent circuit may magnify rounding: a CfC trained for a few
steps with large weights turned a difference of 1e-7 into 3e-2 over 32 frames. In float32 ours is
then as far from the exact sequence as theirs; in float64 the two agree to 1e-11.

Source of the mapping: ncps 1.0.1.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ncp_control.cells import LTC, Cell, CfC, MixedMemory
from ncp_control.cells.ltc import inverse_softplus
from ncp_control.circuit import Circuit
from ncp_control.wiring import Synapse, Wiring

_EPSILON = 1e-8  # ncps adds it to the denominator of a step
_KINDS = ("inter", "command", "motor")
"""Layers of neurons in our order."""
_GATES = (1, 0, 2, 3)
"""Position in their stack (candidate, input, forget, output) of each of our gates."""


def from_ncps(module: nn.Module, *, frame_s: float = 1.0) -> Circuit:
    """Turn a trained `ncps.torch.LTC` or dense `ncps.torch.CfC` into a circuit of ours.

    Args:
        module: The trained module; it is left as it is. Dropout is not carried over.
        frame_s: Seconds in one of its units of time. With the default, `dt_s` takes the numbers
            that its `timespans` took; give e.g. 1/30 for a model trained on frames of 30 Hz.

    Returns:
        A circuit whose outputs equal the module's (`return_sequences=True, batch_first=True`, in
        evaluation mode), in the module's dtype.

    Raises:
        ImportError: If ncps is not installed.
        TypeError: If the module is neither of the two.
        ValueError: If it is a wired CfC, or a conductance or capacitance is negative.
    """
    try:
        import ncps.torch as theirs
    except ImportError as error:
        raise ImportError("from_ncps needs ncps: pip install ncps==1.0.1.") from error
    if isinstance(module, theirs.LTC):
        cell, order = _ltc(module, frame_s)
    elif isinstance(module, theirs.CfC):
        cell, order = _cfc(module, frame_s)
    else:
        raise TypeError(
            f"`module` must be an ncps.torch.LTC or CfC, got {type(module).__name__!r}."
            " Pass the recurrent layer itself, not a model around it."
        )
    if module.use_mixed:
        cell = _mixed(cell, module.lstm, order)
    return Circuit(cell)


def _ltc(module: Any, frame_s: float) -> tuple[Cell, Tensor]:
    """Return the cell and, for each of our neurons, the place of theirs."""
    theirs = module.rnn_cell
    if theirs._epsilon != _EPSILON:
        raise ValueError(
            f"`module` must have epsilon={_EPSILON:g}, got {theirs._epsilon:g}: it changes every"
            " step, and our LTC has none. Train it with the default."
        )
    registered = dict(theirs.named_parameters())
    stale = [name for name, value in theirs._params.items() if value is not registered.get(name)]
    if stale:
        raise ValueError(
            f"`module` must compute with its own parameters, got {stale[0]!r} replaced, which ncps"
            " goes on computing without. Load the weights without assign=True."
        )
    values = {name: value.detach() for name, value in registered.items()}
    wiring, order = _wiring(module, values)
    cell = LTC(wiring, frame_s=frame_s, unfolds=theirs._ode_unfolds).to(values["w"].dtype)

    synapses = np.array([synapse[:2] for synapse in wiring.synapses])
    num_sensory, first_inner = wiring.num_sensory, wiring.num_sensory_synapses
    target = order[synapses[:, 1] - num_sensory]
    sensory = torch.from_numpy(synapses[:first_inner, 0]), target[:first_inner]
    inner = order[synapses[first_inner:, 0] - num_sensory], target[first_inner:]

    def per_synapse(name: str) -> Tensor:
        return torch.cat([values[f"sensory_{name}"][sensory], values[name][inner]])

    is_raw = theirs._implicit_param_constraints
    with torch.no_grad():
        cell.raw_capacitance.copy_(_raw("cm", values["cm"][order], is_raw))
        cell.raw_leak_conductance.copy_(_raw("gleak", values["gleak"][order], is_raw))
        cell.leak_potential.copy_(values["vleak"][order])
        cell.raw_weight.copy_(_raw("w", per_synapse("w"), is_raw))
        cell.threshold.copy_(per_synapse("mu"))
        cell.slope.copy_(per_synapse("sigma"))
        cell.raw_reversal.copy_(_raw("erev", per_synapse("erev").abs(), is_raw=False))
        for ours, name in (
            (cell.input_scale, "input_w"),
            (cell.input_offset, "input_b"),
            (cell.output_scale, "output_w"),
            (cell.output_offset, "output_b"),
        ):
            if name in values:
                ours.copy_(values[name])
    return cell, order


def _wiring(module: Any, values: dict[str, Tensor]) -> tuple[Wiring, Tensor]:
    """Return the wiring with the trained signs and the order of its neurons in theirs."""
    kinds = [module._wiring.get_type_of_neuron(i) for i in range(module.state_size)]
    layers = {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in _KINDS}
    order = [i for kind in _KINDS for i in layers[kind]]
    place = {theirs: ours for ours, theirs in enumerate(order)}
    num_sensory = module.sensory_size
    synapses = []
    for prefix in ("sensory_", ""):
        mask, reversal = values[f"{prefix}sparsity_mask"], values[f"{prefix}erev"]
        for source, target in mask.nonzero().tolist():
            synapses.append(
                Synapse(
                    source if prefix else num_sensory + place[source],
                    num_sensory + place[target],
                    -1 if reversal[source, target] < 0 else 1,
                )
            )
    wiring = Wiring(
        num_sensory=num_sensory,
        num_inter=len(layers["inter"]),
        num_command=len(layers["command"]),
        num_motor=len(layers["motor"]),
        synapses=tuple(synapses),
    )
    return wiring, torch.tensor(order)


def _raw(name: str, value: Tensor, is_raw: bool) -> Tensor:
    """Return the free parameter whose softplus is the value in use."""
    if is_raw:
        return value
    if bool((value < 0).any()):
        raise ValueError(
            f"`{name}` must not be negative, got {value.min().item()!r} in the module."
            " Call apply_weight_constraints() on its cell after training."
        )
    # A weight clipped to exactly zero has no inverse; the smallest number does as well.
    return inverse_softplus(value.clamp_min(torch.finfo(value.dtype).tiny))


def _cfc(module: Any, frame_s: float) -> tuple[Cell, Tensor]:
    """Return the cell and the order of its neurons, which is theirs."""
    if hasattr(module, "wiring"):
        raise ValueError(
            "`module` must be a dense CfC, got a wired one: its time gates and recurrence ignore"
            " the wiring, so no sparse circuit equals it. Train a WiredCfC instead."
        )
    theirs = module.rnn_cell
    layers = [layer for layer in theirs.backbone or () if isinstance(layer, nn.Linear)]
    heads = [theirs.ff1]
    if theirs.mode != "pure":
        heads += [theirs.ff2, theirs.time_a, theirs.time_b]
    last = torch.cat([h.weight for h in heads]), torch.cat([h.bias for h in heads])
    maps = [*((layer.weight, layer.bias) for layer in layers), last]
    num_inputs, num_units = theirs.input_size, theirs.hidden_size
    cell = CfC(
        num_inputs,
        num_units,
        module.proj_size or num_units,
        mode=theirs.mode,
        backbone_units=layers[0].out_features if layers else 1,
        backbone_layers=len(layers),
        activation=_activation(theirs),
        frame_s=frame_s,
    ).to(theirs.ff1.weight.dtype)
    with torch.no_grad():
        cell.input_map.weight.copy_(maps[0][0][:, :num_inputs])
        cell.input_map.bias.copy_(maps[0][1])
        cell.state_map.weight.copy_(maps[0][0][:, num_inputs:])
        for layer, (weight, bias) in zip(cell.deeper_maps, maps[1:], strict=True):
            layer.load_state_dict({"weight": weight, "bias": bias})
        if theirs.mode == "pure":
            cell.solution.leak_rate.copy_(theirs.w_tau[0])
            cell.solution.amplitude.copy_(theirs.A[0])
        if module.proj_size:
            cell.output.load_state_dict(module.fc.state_dict())
        else:
            nn.init.eye_(cell.output.weight)
            nn.init.zeros_(cell.output.bias)
    return cell, torch.arange(num_units)


def _activation(cell: Any) -> str:
    """Return our name of the backbone's activation."""
    names = {"LeCun": "lecun_tanh", "Tanh": "tanh", "ReLU": "relu", "SiLU": "silu", "GELU": "gelu"}
    kinds = [type(layer).__name__ for layer in cell.backbone or ()]
    return next((names[kind] for kind in kinds if kind in names), "lecun_tanh")


def _mixed(cell: Cell, memory: Any, order: Tensor) -> Cell:
    """Wrap the cell with their memory, its rows in our order of gates and neurons."""
    mixed = MixedMemory(cell).to(memory.input_map.weight.dtype)
    width = cell.state_size

    def rows(values: Tensor) -> Tensor:
        return torch.cat([values[gate * width : (gate + 1) * width][order] for gate in _GATES])

    with torch.no_grad():
        mixed.input_map.weight.copy_(rows(memory.input_map.weight))
        mixed.input_map.bias.copy_(rows(memory.input_map.bias))
        mixed.input_map.bias[2 * width : 3 * width] += 1.0  # theirs adds it on the way
        mixed.state_map.weight.copy_(rows(memory.recurrent_map.weight)[:, order])
    return mixed
