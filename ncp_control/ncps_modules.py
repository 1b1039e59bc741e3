"""Convert trained models of ncps (https://github.com/mlech26l/ncps) to circuits with equal outputs.

ncps counts time in frames, numbers motor neurons first, stores synapses in masked dense matrices,
and lets the sign of a reversal potential change in training. Here, time is in seconds, motor
neurons come last, only existing synapses are stored, and signs are fixed: the new wiring has the
signs at the end of training.

| ncps                                      | here                                               |
|-------------------------------------------|----------------------------------------------------|
| `LTC`, `LTCCell`, any wiring              | `LTC`                                              |
| `CfC(units=number)`, `CfCCell`, any mode  | `CfC`                                              |
| `CfC(units=wiring)`, `WiredCfCCell`       | `WiredCfC` over the synapses that ncps computes    |
| `mixed_memory=True`                       | `MixedMemory` around the cell                      |
| `epsilon`                                 | part of leak conductance and leak potential        |
| `backbone_dropout`                        | left out: it does nothing in evaluation mode       |
| `timespans`                               | `dt_s` = timespans · frame_s                       |
| `batch_first=False`                       | `NcpsLayout` around the circuit: time comes first  |
| `return_sequences=False`                  | `NcpsLayout` around the circuit: the last output   |
| `proj_size` of a wired CfC                | refused: a `WiredCfC` has no such map              |

A CfC over a wiring is not sparse in ncps: time gates and recurrence ignore the wiring, and each
layer receives only the layer before it. The new wiring has all these synapses. Weights that the
mask of ncps kept at zero start at zero, and further training may change them.

Outputs are equal up to rounding: float64 outputs differ by about 1e-14 after one frame. A recurrent
circuit may amplify rounding: in a CfC trained for a few steps with large weights, a float32
difference of 1e-7 grew to 3e-2 over 32 frames; ncps was as far from the exact sequence.

Source of the mapping: ncps 1.0.1.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncp_control.cells import LTC, Cell, CfC, MixedMemory, WiredCfC
from ncp_control.cells.ltc import inverse_softplus
from ncp_control.circuit import Circuit
from ncp_control.wiring import Synapse, Wiring

_LAYERS = {1: ("motor",), 2: ("inter", "motor"), 3: ("inter", "command", "motor")}
"""Layer names of a wired CfC, by the number of layers."""
_GATES = (1, 0, 2, 3)
"""Index of each of our gates in the gates of ncps (candidate, input, forget, output)."""


class NcpsLayout(nn.Module):
    """Wrapper of a converted circuit that keeps the axes of its ncps module.

    Policies, training and audit need axes (batch, time, …): pass them the attribute `circuit`.

    Args:
        circuit: The circuit.
        batch_first: True for inputs and outputs (batch, time, …), False for (time, batch, …).
        return_sequences: True to return the output of every frame, False for the last one only.
    """

    def __init__(self, circuit: Circuit, *, batch_first: bool, return_sequences: bool) -> None:
        super().__init__()
        self.circuit = circuit
        self.batch_first, self.return_sequences = batch_first, return_sequences

    def forward(
        self, inputs: Tensor, state: Tensor | None = None, *, dt_s: float | Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the circuit; as in ncps, `dt_s` is (batch, time) in both layouts."""
        frames = inputs if self.batch_first else inputs.transpose(0, 1)
        outputs, last = self.circuit(frames, state, dt_s=dt_s)
        if not self.return_sequences:
            return outputs[:, -1], last
        return outputs if self.batch_first else outputs.transpose(0, 1), last


def from_ncps(module: nn.Module, *, frame_s: float = 1.0) -> Circuit | NcpsLayout:
    """Convert a trained `ncps.torch.LTC` or `ncps.torch.CfC` to a circuit.

    Args:
        module: The trained module, or one of the cells `LTCCell`, `CfCCell` and `WiredCfCCell`. It
            is not changed.
        frame_s: Seconds per unit of its `timespans`. With the default, `dt_s` has the same values
            as `timespans`; give e.g. 1/30 for a model trained on frames at 30 Hz.

    Returns:
        A circuit with the outputs of the module in evaluation mode, in the module's dtype; wrapped
        in an `NcpsLayout` if the module has other axes than a circuit.

    Raises:
        ImportError: If ncps is not installed.
        TypeError: If `module` is not one of these classes.
        ValueError: If an option cannot be converted, a conductance or capacitance is negative, or a
            parameter is not finite. The message names the option and says what to do.
    """
    try:
        import ncps.torch as theirs
    except ImportError as error:
        raise ImportError("from_ncps needs ncps: pip install ncps==1.0.1.") from error
    cells = theirs.LTCCell, theirs.CfCCell, theirs.WiredCfCCell
    if not isinstance(module, (theirs.LTC, theirs.CfC, *cells)):
        raise TypeError(
            f"`module` must be an ncps.torch.LTC or CfC, or a cell of theirs, got"
            f" {type(module).__name__!r}. Pass the recurrent layer itself, not a model around it."
        )
    _check_finite(module)
    projection = _projection(module)
    rnn_cell: Any = getattr(module, "rnn_cell", module)
    if isinstance(rnn_cell, theirs.LTCCell):
        cell, order = _ltc(rnn_cell, frame_s)
    elif isinstance(rnn_cell, theirs.WiredCfCCell):
        cell, order = _wired_cfc(rnn_cell, projection, frame_s)
    else:
        cell, order = _cfc(rnn_cell, projection, frame_s)
    if getattr(module, "use_mixed", False):
        cell = _mixed(cell, module.lstm, order)
    circuit = Circuit(cell)
    layout = {name: getattr(module, name, True) for name in ("batch_first", "return_sequences")}
    return circuit if all(layout.values()) else NcpsLayout(circuit, **layout)


def _check_finite(module: nn.Module) -> None:
    for name, value in module.named_parameters():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"`{name}` of the module must be finite, got NaN or infinity."
                " Take weights from before the training diverged."
            )


def _projection(module: nn.Module) -> nn.Linear | None:
    """Return the linear map that `proj_size` adds after the outputs; None if there is none."""
    projection = getattr(module, "fc", None)
    if projection is None or isinstance(projection, nn.Identity):
        return None
    if not isinstance(projection, nn.Linear) or projection.out_features < 1:
        raise ValueError(
            f"`proj_size` of the module must stand for a linear map of one output or more, got"
            f" {projection!r}. Set module.fc = torch.nn.Identity() and apply your map afterwards."
        )
    return projection


def _ltc(theirs: Any, frame_s: float) -> tuple[Cell, Tensor]:
    """Return the cell and, for each of its neurons, the index of the neuron in ncps."""
    registered = dict(theirs.named_parameters())
    stale = [name for name, value in theirs._params.items() if value is not registered.get(name)]
    if stale:
        raise ValueError(
            f"`module` must compute with its own parameters, got {stale[0]!r} replaced, which ncps"
            " goes on computing without. Load the weights without assign=True."
        )
    dtype = registered["w"].dtype
    values = {name: value.detach().double() for name, value in registered.items()}
    wiring, order = _ltc_wiring(theirs, values)
    cell = LTC(wiring, frame_s=frame_s, unfolds=theirs._ode_unfolds).to(dtype)

    num_sensory, first_inner = wiring.num_sensory, wiring.num_sensory_synapses
    source, target = torch.tensor(wiring.sources), torch.tensor(wiring.targets - num_sensory)
    sensory = source[:first_inner], order[target[:first_inner]]
    inner = order[source[first_inner:] - num_sensory], order[target[first_inner:]]

    def per_synapse(name: str) -> Tensor:
        return torch.cat([values[f"sensory_{name}"][sensory], values[name][inner]])

    def positive(name: str, value: Tensor) -> Tensor:
        return F.softplus(value) if theirs._implicit_param_constraints else _checked(name, value)

    # A synapse whose mask is not 1 has a conductance of mask · w.
    weight = positive("w", per_synapse("w")) * per_synapse("sparsity_mask")
    leak, leak_potential = positive("gleak", values["gleak"][order]), values["vleak"][order]
    # ncps adds epsilon to the denominator of a step, (C v + h b) / (C + h a). A leak conductance of
    # g + epsilon does the same, and the leak potential V g / (g + epsilon) keeps the leak's part of
    # b unchanged.
    total = _checked("gleak + epsilon", leak + theirs._epsilon)
    leak_potential = torch.where(total > 0, leak_potential * leak / total, leak_potential)
    with torch.no_grad():
        cell.raw_capacitance.copy_(_raw(positive("cm", values["cm"][order]), dtype))
        cell.raw_leak_conductance.copy_(_raw(total, dtype))
        cell.leak_potential.copy_(leak_potential)
        cell.raw_weight.copy_(_raw(weight, dtype))
        cell.threshold.copy_(per_synapse("mu"))
        cell.slope.copy_(per_synapse("sigma"))
        cell.raw_reversal.copy_(_raw(per_synapse("erev").abs(), dtype))
        for ours, name in (
            (cell.input_scale, "input_w"),
            (cell.input_offset, "input_b"),
            (cell.output_scale, "output_w"),
            (cell.output_offset, "output_b"),
        ):
            if name in values:
                ours.copy_(values[name])
    return cell, order


def _ltc_wiring(theirs: Any, values: dict[str, Tensor]) -> tuple[Wiring, Tensor]:
    """Return the wiring with the trained signs and, for each of its neurons, the index in ncps."""
    num_motor, num_neurons, num_sensory = theirs.motor_size, theirs.state_size, theirs.sensory_size
    if num_motor > num_neurons:
        raise ValueError(
            f"`output_dim` of the module's wiring must be at most its {num_neurons} units, got"
            f" {num_motor!r}. Each output is a unit."
        )
    # The outputs of ncps are the first neurons, whatever the wiring calls them.
    rest = range(num_motor, num_neurons)
    command = [i for i in rest if theirs._wiring.get_type_of_neuron(i) == "command"]
    inter = [i for i in rest if i not in command]
    order = [*inter, *command, *range(num_motor)]
    place = {theirs: ours for ours, theirs in enumerate(order, start=num_sensory)}
    synapses = []
    for prefix in ("sensory_", ""):
        mask, reversal = values[f"{prefix}sparsity_mask"], values[f"{prefix}erev"]
        for source, target in mask.nonzero().tolist():
            sign = -1 if reversal[source, target] < 0 else 1
            synapses.append(Synapse(source if prefix else place[source], place[target], sign))
    wiring = Wiring(
        num_sensory=num_sensory,
        num_inter=len(inter),
        num_command=len(command),
        num_motor=num_motor,
        synapses=tuple(synapses),
    )
    return wiring, torch.tensor(order)


def _checked(name: str, value: Tensor) -> Tensor:
    if bool((value < 0).any()):
        raise ValueError(
            f"`{name}` must not be negative, got {value.min().item():.6g} in the module."
            " Call apply_weight_constraints() on its cell after training."
        )
    return value


def _raw(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the raw parameter whose softplus is the value, computed in double precision."""
    # Zero has no inverse; the smallest positive number of the dtype replaces it.
    return inverse_softplus(value.clamp_min(torch.finfo(dtype).tiny))


def _heads(theirs: Any) -> list[tuple[Tensor, Tensor]]:
    """Return masked weight and bias of each head of a `CfCCell`."""
    mask = 1.0 if theirs.sparsity_mask is None else theirs.sparsity_mask
    heads = [(theirs.ff1.weight * mask, theirs.ff1.bias)]
    if theirs.mode != "pure":
        heads.append((theirs.ff2.weight * mask, theirs.ff2.bias))
        heads += [(gate.weight, gate.bias) for gate in (theirs.time_a, theirs.time_b)]
    return heads


@torch.no_grad()
def _cfc(theirs: Any, projection: nn.Linear | None, frame_s: float) -> tuple[Cell, Tensor]:
    """Return the cell and the order of its neurons, which is that of ncps."""
    layers = [layer for layer in theirs.backbone or () if isinstance(layer, nn.Linear)]
    weights, biases = zip(*_heads(theirs), strict=True)
    maps = [
        *((layer.weight, layer.bias) for layer in layers),
        (torch.cat(weights), torch.cat(biases)),
    ]
    num_inputs, num_units = theirs.input_size, theirs.hidden_size
    cell = CfC(
        num_inputs,
        num_units,
        num_units if projection is None else projection.out_features,
        mode=theirs.mode,
        backbone_units=layers[0].out_features if layers else 1,
        backbone_layers=len(layers),
        activation=_activation(theirs),
        frame_s=frame_s,
    ).to(theirs.ff1.weight.dtype)
    cell.input_map.weight.copy_(maps[0][0][:, :num_inputs])
    cell.input_map.bias.copy_(maps[0][1])
    cell.state_map.weight.copy_(maps[0][0][:, num_inputs:])
    for layer, (weight, bias) in zip(cell.deeper_maps, maps[1:], strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})
    if theirs.mode == "pure":
        cell.solution.leak_rate.copy_(theirs.w_tau[0])
        cell.solution.amplitude.copy_(theirs.A[0])
    if projection is None:
        nn.init.eye_(cell.output.weight)
        nn.init.zeros_(cell.output.bias)
    else:
        cell.output.load_state_dict(projection.state_dict())
    return cell, torch.arange(num_units)


def _activation(theirs: Any) -> str:
    """Return the name of the backbone's activation in this package."""
    names = {"LeCun": "lecun_tanh", "Tanh": "tanh", "ReLU": "relu", "SiLU": "silu", "GELU": "gelu"}
    kinds = [type(layer).__name__ for layer in theirs.backbone or ()]
    return next((names[kind] for kind in kinds if kind in names), "lecun_tanh")


@torch.no_grad()
def _wired_cfc(theirs: Any, projection: nn.Linear | None, frame_s: float) -> tuple[Cell, Tensor]:
    """Return the cell and the order of its neurons, which is that of ncps: layer after layer."""
    if projection is not None:
        raise ValueError(
            f"`proj_size` of a module with a wiring must be None, got {projection.out_features}."
            " Set module.fc = torch.nn.Identity(), convert it, and apply the old module.fc to the"
            " circuit's outputs."
        )
    layers, mode = theirs._layers, theirs._layers[0].mode
    if len(layers) not in _LAYERS:
        raise ValueError(
            f"`num_layers` of the module's wiring must be from 1 to 3, got {len(layers)}."
            " A circuit has inter, command and motor neurons."
        )
    heads = [_heads(layer) for layer in layers]
    num_sensory, num_neurons = layers[0].input_size, sum(layer.hidden_size for layer in layers)
    matrix = heads[0][0][0].new_zeros(len(heads[0]), num_neurons, num_sensory + num_neurons)
    synapses, before, start = [], list(range(num_sensory)), num_sensory
    for layer, of_layer in zip(layers, heads, strict=True):
        own = list(range(start, start + layer.hidden_size))
        columns = torch.tensor(before + own)  # inputs in ncps: the layer before, then this layer
        rows = matrix[:, start - num_sensory : start - num_sensory + len(own)]
        rows[:, :, columns] = torch.stack([weight for weight, _ in of_layer])
        # The mask of ncps covers the states, but not the time gates.
        is_used = layer.sparsity_mask if mode == "pure" else torch.ones(len(own), len(columns))
        synapses += [Synapse(int(columns[j]), own[i], 1) for i, j in is_used.nonzero().tolist()]
        before, start = own, start + len(own)
    sizes = {f"num_{name}": 0 for name in _LAYERS[3]}
    sizes |= {
        f"num_{name}": layer.hidden_size
        for name, layer in zip(_LAYERS[len(layers)], layers, strict=True)
    }
    wiring = Wiring(num_sensory=num_sensory, synapses=tuple(synapses), **sizes)
    cell = WiredCfC(wiring, mode=mode, frame_s=frame_s).to(matrix.dtype)
    cell.weight.copy_(matrix[:, cell.target, cell.source])
    biases = [torch.stack([bias for _, bias in of_layer]) for of_layer in heads]
    cell.bias.copy_(torch.cat(biases, dim=1))
    if mode == "pure":
        cell.solution.leak_rate.copy_(torch.cat([layer.w_tau[0] for layer in layers]))
        cell.solution.amplitude.copy_(torch.cat([layer.A[0] for layer in layers]))
    return cell, torch.arange(num_neurons)


def _mixed(cell: Cell, memory: Any, order: Tensor) -> Cell:
    """Wrap the cell in the memory of the ncps module, with gates and neurons reordered."""
    mixed = MixedMemory(cell).to(memory.input_map.weight.dtype)
    width = cell.state_size

    def rows(values: Tensor) -> Tensor:
        return torch.cat([values[gate * width : (gate + 1) * width][order] for gate in _GATES])

    with torch.no_grad():
        mixed.input_map.weight.copy_(rows(memory.input_map.weight))
        mixed.input_map.bias.copy_(rows(memory.input_map.bias))
        mixed.input_map.bias[2 * width : 3 * width] += 1.0  # ncps adds 1 in the forward pass
        mixed.state_map.weight.copy_(rows(memory.recurrent_map.weight)[:, order])
    return mixed
