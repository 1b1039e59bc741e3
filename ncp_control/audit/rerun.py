"""Data with which the inspector's page can rerun a circuit with some neurons silenced.

The page gets the inputs of the circuit and its parameters: for an LTC the same numbers as in the
export to C, for other cells the matrices of their kernel. It runs the circuit frame by frame in
open loop, so the observations do not change. A silenced neuron is held at its mean over the
episode, as in the audit's ablation (`ncp_control.audit.ablation`).
"""

from typing import Any

import torch

from ncp_control.audit.inspector_data import pack_floats
from ncp_control.cells import LTC, Cell, WiredCfC
from ncp_control.cells.dense import DenseCell
from ncp_control.cells.membrane import find_layers
from ncp_control.cells.plain_numbers import (
    ltc_numbers,
    motor_numbers,
    synapse_ends,
    synapse_sources,
    to_float32,
)
from ncp_control.episode import Episode
from ncp_control.policy import Policy, VectorPolicy

PROGRAMS = "cfc", "wired_cfc", "ctrnn", "lstm", "gru"
"""Kernels that the page can run, in addition to the LTC."""
MOST_WEIGHTS = 100_000
"""Maximum number of weights of a circuit on the page; they take half a megabyte."""


def rerun_data(policy: Policy, episode: Episode) -> dict[str, Any]:
    """Return the circuit and its inputs in an episode, as JSON values.

    Args:
        policy: The policy that acted.
        episode: The episode, with recorded activity.

    Raises:
        ValueError: If the page cannot run this circuit; the message is shown on the page.
    """
    cell = policy.circuit.cell
    own, known = type(policy), (Policy.respond, VectorPolicy.respond)
    if own.respond not in known or own.command is not Policy.command:
        raise _refusal("this policy turns the circuit's outputs into commands in a way of its own")
    circuit = _liquid(cell) if type(cell) is LTC else _program(cell)
    return circuit | {
        "squash": getattr(policy, "squash_name", "clip"),
        "choices": list(policy.choices),
        "features": pack_floats(to_float32(episode.recorded_features)),
        "dt_s": pack_floats(to_float32(episode.recorded_activity.dt_s[0])),
    }


def _refusal(reason: str) -> ValueError:
    return ValueError(f"Neurons cannot be silenced on this page: {reason}.")


def _liquid(cell: LTC) -> dict[str, Any]:
    """Return an LTC circuit as JSON values."""
    if cell.integrator == "rk4":
        raise _refusal("the circuit is integrated by rk4, for which a silenced neuron is too quick")
    numbers, wiring = ltc_numbers(cell), cell.wiring
    layers = find_layers(wiring) if cell.integrator == "layered_midpoint" else ()
    return {
        "kind": "ltc",
        "integrator": cell.integrator,
        "unfolds": cell.unfolds,
        "synapses": {name: pack_floats(values) for name, values in numbers.synapses.items()},
        "neurons": {name: pack_floats(values) for name, values in numbers.neurons.items()},
        "sources": synapse_sources(wiring).tolist(),
        "ends": [[end["sensory"], end["earlier"], end["inner"]] for end in synapse_ends(wiring)],
        "layers": [[layer.neurons.start, layer.neurons.stop] for layer in layers],
        "motors": motor_numbers(cell).tolist(),
    }


def _program(cell: Cell) -> dict[str, Any]:
    """Return a circuit of another cell as JSON values: the matrices of its kernel."""
    program = cell.program()
    if program is None or program.kind not in PROGRAMS:
        raise _refusal(
            f"it runs circuits of LTC, CfC, WiredCfC, CTRNN, LSTM and GRU, and this policy has a"
            f" cell of type {type(cell).__name__}"
        )
    with torch.no_grad():
        matrices = [
            torch.cat([one if one.ndim == 2 else one[:, None] for one in pieces], dim=1)
            for pieces in program.matrices
        ]
    num_weights = sum(matrix.numel() for matrix in matrices)
    if num_weights > MOST_WEIGHTS:
        raise _refusal(
            f"a circuit of {num_weights:,} weights would make it too large, more than"
            f" {MOST_WEIGHTS:,}"
        )
    activation = getattr(cell, "activation", None)
    if activation == "gelu":
        raise _refusal("it has no gelu, through which this circuit passes its features")
    readout, motors = None, []
    if isinstance(cell, DenseCell):
        linear = torch.cat([cell.output.weight, cell.output.bias[:, None]], dim=1)
        readout = pack_floats(to_float32(linear))
    elif isinstance(cell, WiredCfC):
        motors = motor_numbers(cell).tolist()
    return {
        "kind": program.kind,
        "mode": getattr(cell, "mode", None),
        "activation": activation,
        "unfolds": getattr(cell, "unfolds", 1),
        "sees_time": getattr(cell, "sees_time", False),
        "frame_s": cell.frame_s,
        "num_units": cell.num_visible,
        "matrices": [pack_floats(to_float32(matrix)) for matrix in matrices],
        "readout": readout,
        "motors": motors,
    }
