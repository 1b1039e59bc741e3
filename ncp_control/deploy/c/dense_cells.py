"""C code of cells without a wiring, and of the memory that any cell can have beside it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from ncp_control.cells import (
    CTGRU,
    CTRNN,
    GRU,
    LSTM,
    ODERNN,
    CfC,
    Feedforward,
    MixedMemory,
    NeuralODE,
    StackedFrames,
)
from ncp_control.cells.dense import DenseCell
from ncp_control.cells.gated import FusedCell
from ncp_control.cells.plain_numbers import to_float32
from ncp_control.deploy.c.stages import CellStage, Stage
from ncp_control.deploy.c.tables import number, struct_table, table
from ncp_control.deploy.c.wired import closed_form_stage

_ACTIVATIONS = {
    "lecun_tanh": "1.7159f * hyperbolic_tangent(0.666f * (x))",
    "tanh": "hyperbolic_tangent(x)",
    "relu": "((x) < 0.0f ? 0.0f : (x))",
    "silu": "((x) * sigmoid(x))",
}
"""Activations of a CfC's backbone in C."""


_SEEN_INPUTS_ALONE = {"SEEN(w, input, dt_s)": "((void)(dt_s), (input))"}
"""Macro for a gated cell whose inputs do not include the elapsed time."""


def matrix(name: str, weight: Tensor) -> str:
    """Return the table of a dense layer's weights, transposed: one row for each input."""
    return table(name, to_float32(weight.detach().double().t()).ravel())


def _readout(cell: DenseCell, read: str) -> Stage:
    return Stage(
        constants={"OUTPUTS": cell.output_size, "HIDDEN": cell.hidden_size},
        tables=matrix("output_map", cell.output.weight)
        + table("output_bias", to_float32(cell.output.bias)),
        parts=(read,),
    )


def _stage(
    cell: DenseCell,
    part: str,
    tables: Mapping[str, Any],
    scratch: Mapping[str, int],
    *,
    constants: dict[str, Any] | None = None,
    before: Stage | None = None,
    after: tuple[str, ...] = (),
    read: str = "read_linear",
    num_time_constants: int = 0,
) -> CellStage:
    """Assemble the stage of a dense cell; 2-D tables become matrices, 1-D tables vectors."""
    readout, before = _readout(cell, read), before or Stage()
    written = [
        matrix(name, t) if t.ndim == 2 else table(name, to_float32(t)) for name, t in tables.items()
    ]
    own = {
        "INPUTS": cell.input_size,
        "NEURONS": cell.hidden_size,
        "NOMINAL_FRAME_S": number(cell.frame_s),
    }
    return CellStage(
        constants=own | (constants or {}) | before.constants | readout.constants,
        tables="".join(written) + before.tables + readout.tables,
        parts=(*before.parts, part, *after, *readout.parts),
        scratch=tuple(f"float {name}[{size}]" for name, size in scratch.items()),
        read=read,
        num_time_constants=num_time_constants,
    )


def feedforward_stage(cell: Feedforward) -> CellStage:
    """Return the stage of two dense layers without memory."""
    tables = _two_layers("feedforward", cell.hidden)
    return _stage(cell, "feedforward", tables, {"hidden": cell.hidden_size})


def stacked_frames_stage(cell: StackedFrames) -> CellStage:
    """Return the stage of two dense layers over the last frames, computed at readout."""
    tables = _two_layers("stacked", cell.hidden)
    constants = {"STACKED": cell.state_size}
    return _stage(cell, "stacked_frames", tables, {}, constants=constants, read="read_stacked")


def _two_layers(name: str, layers: nn.Sequential) -> dict[str, Any]:
    """Return the weights of two dense layers by the names of their C tables."""
    first, second = layers[0], layers[2]
    return {
        f"{name}_first_map": first.weight,
        f"{name}_first_bias": first.bias,
        f"{name}_second_map": second.weight,
        f"{name}_second_bias": second.bias,
    }


def ctrnn_stage(cell: CTRNN) -> CellStage:
    """Return the stage of leaky units (CTRNN)."""
    tables = {
        "ctrnn_input_map": cell.input_map.weight,
        "ctrnn_bias": cell.input_map.bias,
        "ctrnn_state_map": cell.state_map.weight,
        "ctrnn_timescales_s": cell.time_constants_s().double(),
    }
    n = cell.hidden_size
    return _stage(
        cell,
        "ctrnn",
        tables,
        {"projected": n, "target": n},
        constants={"UNFOLDS": cell.unfolds},
        num_time_constants=n,
    )


def neural_ode_stage(cell: NeuralODE) -> CellStage:
    """Return the stage of a neural ODE."""
    tables = {
        "ode_input_map": cell.input_map.weight,
        "ode_bias": cell.input_map.bias,
        "ode_state_map": cell.state_map.weight,
    }
    scratch = {name: cell.hidden_size for name in ("projected", "rate", "sum", "point")}
    constants = {"UNFOLDS": cell.unfolds}
    before = Stage(parts=("neural_ode_rate", "runge_kutta"))
    return _stage(cell, "neural_ode", tables, scratch, constants=constants, before=before)


def ode_rnn_stage(cell: ODERNN) -> CellStage:
    """Return the stage of a GRU whose state follows a neural ODE between frames."""
    first, second = cell.field[0], cell.field[2]
    gru = cell.gru
    tables = {
        "ode_first_map": first.weight,
        "ode_first_bias": first.bias,
        "ode_second_map": second.weight,
        "ode_second_bias": second.bias,
        **_gru_tables(gru.weight_ih, gru.bias_ih, gru.weight_hh, gru.bias_hh),
    }
    n = cell.hidden_size
    scratch = {name: n for name in ("hidden", "rate", "sum", "point")}
    scratch |= {"from_inputs": 3 * n, "from_state": 3 * n}
    constants = {"UNFOLDS": cell.unfolds, "SEEN_INPUTS": cell.input_size} | _SEEN_INPUTS_ALONE
    before = Stage(parts=("ode_rnn_rate", "runge_kutta", "gru"))
    return _stage(cell, "ode_rnn", tables, scratch, constants=constants, before=before)


def _input_parts(cell: FusedCell) -> tuple[dict[str, Any], dict[str, int]]:
    """Return constants and scratch for a gated cell's inputs, with or without elapsed time."""
    if not cell.sees_time:
        return _SEEN_INPUTS_ALONE | {"SEEN_INPUTS": cell.input_size}, {}
    size = cell.input_size + 1
    return {"SEEN": "seen_with_time", "SEEN_INPUTS": size}, {"seen": size}


def lstm_stage(cell: LSTM) -> CellStage:
    """Return the stage of an LSTM."""
    constants, scratch = _input_parts(cell)
    torch_lstm: Any = cell.lstm
    tables = {
        "lstm_input_map": torch_lstm.weight_ih_l0,
        "lstm_bias": torch_lstm.bias_ih_l0.double() + torch_lstm.bias_hh_l0.double(),
        "lstm_state_map": torch_lstm.weight_hh_l0,
    }
    scratch |= {"gates": 4 * cell.hidden_size}
    return _stage(cell, "lstm", tables, scratch, constants=constants)


def gru_stage(cell: GRU) -> CellStage:
    """Return the stage of a GRU."""
    constants, scratch = _input_parts(cell)
    torch_gru: Any = cell.gru
    tables = _gru_tables(
        torch_gru.weight_ih_l0, torch_gru.bias_ih_l0, torch_gru.weight_hh_l0, torch_gru.bias_hh_l0
    )
    scratch |= {"from_inputs": 3 * cell.hidden_size, "from_state": 3 * cell.hidden_size}
    return replace(_stage(cell, "gru", tables, scratch, constants=constants), step="gru_step")


def _gru_tables(
    input_map: Tensor, input_bias: Tensor, state_map: Tensor, state_bias: Tensor
) -> dict[str, Tensor]:
    return {
        "gru_input_map": input_map,
        "gru_input_bias": input_bias,
        "gru_state_map": state_map,
        "gru_state_bias": state_bias,
    }


def ctgru_stage(cell: CTGRU) -> CellStage:
    """Return the stage of a continuous-time GRU."""
    units, scales = cell.hidden_size, cell.num_scales
    logarithms = np.log(10.0) / 2 * np.arange(scales)
    rows = np.stack([cell.frame_s * np.exp(logarithms), logarithms], axis=1)
    before = Stage(
        constants={"UNITS": units, "SCALES": scales},
        tables=struct_table(
            "struct ctgru_scale { float time_s, logarithm; }", "ctgru_scales", to_float32(rows)
        ),
    )
    tables = {
        "ctgru_input_map": cell.input_map.weight,
        "ctgru_bias": cell.input_map.bias,
        "ctgru_scale_map": cell.scale_map.weight,
        "ctgru_event_map": cell.event_map.weight,
    }
    scratch = {"projected": 3 * units, "units": units, "share": scales}
    stage = _stage(cell, "ctgru", tables, scratch, before=before, num_time_constants=units * scales)
    sums = (*stage.parts[:-1], "read_traces")
    return replace(stage, parts=sums, read="read_traces")


def cfc_stage(cell: CfC) -> CellStage:
    """Return the stage of closed-form continuous-time neurons over a dense backbone.

    Raises:
        ValueError: If the activation has no C code.
    """
    if cell.activation not in _ACTIVATIONS:
        raise ValueError(
            f"`activation` must be one of {sorted(_ACTIVATIONS)} in C, got {cell.activation!r}."
            " Train with one of them."
        )
    maps: list[Any] = list(cell.deeper_maps)
    tables = {
        "cfc_input_map": cell.input_map.weight,
        "cfc_bias": cell.input_map.bias,
        "cfc_state_map": cell.state_map.weight,
    }
    for i, layer in enumerate(maps):
        tables |= {f"cfc_weight_{i}": layer.weight, f"cfc_bias_{i}": layer.bias}
    first = cell.input_map.out_features
    widest = max([first, *(layer.out_features for layer in maps)])
    is_pure = cell.mode == "pure"
    constants = {"CFC_FIRST_WIDTH": first, "CFC_DEEPER_MAPS": len(maps)}
    constants |= {"ACTIVATION(x)": _ACTIVATIONS[cell.activation]}
    stage = _stage(
        cell,
        "cfc",
        tables,
        {"projected": first, "layer_0": widest, "layer_1": widest},
        constants=constants,
        before=closed_form_stage(cell.mode, cell.solution, cell.neuron_names),
        after=("cfc_time_constants",) if is_pure else (),
        num_time_constants=cell.hidden_size if is_pure else 0,
    )
    rows = [
        (f"cfc_weight_{i}", f"cfc_bias_{i}", layer.in_features, layer.out_features)
        for i, layer in enumerate(maps)
    ]
    declaration = "struct cfc_map { const float *weight, *bias; int inputs, outputs; }"
    if not rows:
        rows = [("0", "0", 0, 0)]
    return replace(stage, tables=stage.tables + struct_table(declaration, "cfc_maps", rows))


def mixed_memory_stage(memory: MixedMemory, inner: CellStage) -> CellStage:
    """Return the stage of a cell with a memory beside it, built around the cell's stage."""
    width = memory.cell.state_size
    tables = matrix("memory_input_map", memory.input_map.weight)
    tables += table("memory_bias", to_float32(memory.input_map.bias))
    tables += matrix("memory_state_map", memory.state_map.weight)
    constants = {"INPUTS": memory.input_size, "CELL_STATE": width, "INNER_STEP": inner.step}
    return replace(
        inner,
        constants=inner.constants | constants,
        tables=inner.tables + tables,
        parts=(*inner.parts, "mixed_memory"),
        scratch=(*inner.scratch, f"float memory_gates[{4 * width}]"),
        step="mixed_step",
    )
