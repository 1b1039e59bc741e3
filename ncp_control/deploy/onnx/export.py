"""Export a policy as one ONNX model: observation, state and elapsed time to action and next state.

| name        | type           | shape                                   |
|-------------|----------------|-----------------------------------------|
| observation | uint8 or float | (batch, height, width, channels) or (batch, numbers) |
| numbers     | float          | (batch, numbers): finite; an input only beside a frame |
| state       | float          | (batch, state): zeros when an episode begins |
| dt_s        | float          | (batch,): elapsed time [s], finite and >= 0 |
| action      | float or int64 | (batch, action) in [-1, 1], or the number of each entry's choice |
| next_state  | float          | (batch, state)                          |

Graphs are built node by node, not traced. A trace of a layered circuit would have an operation for
each neuron; a graph built here has a matrix product for the synapses of each layer.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncp_control import __version__, files
from ncp_control.audit.action_bounds import with_bounds
from ncp_control.cells import (
    CTGRU,
    CTRNN,
    GRU,
    LRC,
    LSTM,
    LTC,
    ODERNN,
    STC,
    Cell,
    CfC,
    Feedforward,
    MixedMemory,
    NeuralODE,
    StackedFrames,
    WiredCfC,
)
from ncp_control.deploy.naming import check_prefix
from ncp_control.deploy.onnx import dense_cells, wired
from ncp_control.deploy.onnx.graph import Graph, Value
from ncp_control.deploy.onnx.senses import frames_features, vector_features
from ncp_control.integrators import LONGEST_S
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy
from ncp_control.policy.folder import weights_sha256

Step = Callable[[Graph, Any, Value, Value, Value], Value]
"""Function from graph, cell, features, state and dt_s (batch, 1) to the next state."""
Readout = Callable[[Graph, Any, Value], Value]
"""Function from graph, cell and state to the outputs."""

CELL_GRAPHS: dict[type[Cell], tuple[Step, Readout]] = {
    **dict.fromkeys((LTC, STC, LRC), (wired.synaptic_step, wired.read_motors)),
    CfC: (dense_cells.cfc_step, dense_cells.read_linear),
    WiredCfC: (wired.wired_cfc_step, wired.read_motors),
    CTRNN: (dense_cells.ctrnn_step, dense_cells.read_linear),
    NeuralODE: (dense_cells.neural_ode_step, dense_cells.read_linear),
    ODERNN: (dense_cells.ode_rnn_step, dense_cells.read_linear),
    CTGRU: (dense_cells.ctgru_step, dense_cells.read_traces),
    LSTM: (dense_cells.lstm_step, dense_cells.read_linear),
    GRU: (dense_cells.gru_step, dense_cells.read_linear),
    Feedforward: (dense_cells.feedforward_step, dense_cells.read_linear),
    StackedFrames: (dense_cells.stacked_frames_step, dense_cells.read_stacked_frames),
}
"""Step and readout of cells as graphs, by the cell's class. Add an entry for your own cell."""


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """Policy as an ONNX model."""

    name: str
    """Name of the model and of its file."""
    content: bytes
    """Content of the file."""
    num_nodes: int
    """Number of operations in one step."""

    def write(self, folder: Path | str) -> list[Path]:
        """Write the file into a folder and return its path; other files stay unchanged."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.onnx"
        files.write_file(path, self.content)
        return [path]


def to_onnx(policy: Policy, *, name: str = "controller") -> OnnxModel:
    """Export a policy as an ONNX model.

    The model's properties hold the contract (JSON), the hash of the weights, the names of the
    neurons, the frame interval and the choices.

    Args:
        policy: A FramesPolicy or a VectorPolicy.
        name: Name of the model and of its file.

    Raises:
        ModuleNotFoundError: If onnx is not installed.
        ValueError: If a part of the policy has no ONNX graph, or a weight is not finite.

    Example:
        >>> to_onnx(load("drive-ncp")).write("firmware")
    """
    check_prefix(name)
    graph, exact = Graph(), copy.deepcopy(policy).cpu().double()
    cell = exact.circuit.cell
    features = _features(graph, exact)
    state = graph.input(
        "state", "FLOAT", ["batch", cell.state_size], "zeros at first, then `next_state`"
    )
    elapsed = "time since the previous observation [s], >= 0; at first the property `frame_s`"
    dt_s = graph.input("dt_s", "FLOAT", ["batch"], elapsed)
    # Longer times are limited to this one, so that products do not overflow; negative ones to 0.
    dt_s = graph.reshape(graph.op("Clip", dt_s, 0.0, LONGEST_S), -1, 1)
    step, readout = find_cell_graph(cell)
    next_state = step(graph, cell, features, state, dt_s)
    outputs = readout(graph, cell, next_state)
    if getattr(exact, "squash_name", "clip") == "tanh":
        outputs = graph.tanh(outputs)
    if exact.choices:
        scores = graph.split(outputs, exact.choices)
        best = graph.join([graph.op("ArgMax", part, axis=1, keepdims=1) for part in scores])
        shape, doc = ["batch", len(exact.choices)], "number of each entry's choice"
        graph.output("action", best, "INT64", shape, doc)
    else:
        limited = graph.op("Clip", outputs, -1.0, 1.0)
        shape, doc = ["batch", cell.output_size], "in [-1, 1], in the order of the contract"
        graph.output("action", limited, "FLOAT", shape, doc)
    shape, doc = ["batch", cell.state_size], "`state` of the next observation"
    graph.output("next_state", next_state, "FLOAT", shape, doc)
    contract = with_bounds(policy)
    doc = "" if contract is None else contract.describe()
    content = graph.model(name, doc, _properties(policy), __version__)
    return OnnxModel(name=name, content=content, num_nodes=graph.num_nodes)


def find_cell_graph(cell: Cell) -> tuple[Step, Readout]:
    """Return the functions that step and read out a cell.

    Raises:
        ValueError: If the cell has no ONNX graph.
    """
    if type(cell) is MixedMemory:
        return _mixed_memory(*find_cell_graph(cell.cell))
    if type(cell) not in CELL_GRAPHS:
        known = ", ".join(cls.__name__ for cls in (*CELL_GRAPHS, MixedMemory))
        raise ValueError(
            f"`cell` must be one that has an ONNX graph ({known}), got {type(cell).__name__!r}."
            " Train one of these."
        )
    return CELL_GRAPHS[type(cell)]


def _mixed_memory(inner_step: Step, inner_readout: Readout) -> tuple[Step, Readout]:
    """Add a memory to a cell's graph; the state is the cell's state, then the memory."""

    def step(
        graph: Graph, memory: MixedMemory, features: Value, state: Value, dt_s: Value
    ) -> Value:
        sizes = [memory.cell.state_size] * 2
        own, kept = graph.split(state, sizes)
        from_inputs = dense_cells.linear(graph, memory.input_map, features)
        gates = dense_cells.linear(graph, memory.state_map, own, from_inputs)
        enter, candidate, forget, show = graph.split(gates, sizes * 2)
        kept = dense_cells.remembered(graph, enter, forget, candidate, kept)
        output = graph.sigmoid(show) * graph.tanh(kept)
        return graph.join([inner_step(graph, memory.cell, features, output, dt_s), kept])

    def readout(graph: Graph, memory: MixedMemory, state: Value) -> Value:
        return inner_readout(graph, memory.cell, graph.cut(state, 0, memory.cell.state_size))

    return step, readout


def _features(graph: Graph, policy: Policy) -> Value:
    if type(policy) is FramesPolicy:
        return frames_features(graph, policy)
    if type(policy) is VectorPolicy:
        return vector_features(graph, policy)
    raise ValueError(
        f"`policy` must be a FramesPolicy or a VectorPolicy, got {type(policy).__name__!r}."
        " Put its cell into one of them."
    )


def _properties(policy: Policy) -> dict[str, str]:
    """Return the properties of the model file."""
    contract = with_bounds(policy)
    return {
        "contract": json.dumps(None if contract is None else contract.to_json()),
        "weights_sha256": weights_sha256(policy),
        "neuron_names": json.dumps(policy.circuit.cell.neuron_names),
        "frame_s": json.dumps(policy.circuit.frame_s),
        "choices": json.dumps(policy.choices),
        "policy": type(policy).__name__,
        "cell": type(policy.circuit.cell).__name__,
    }
