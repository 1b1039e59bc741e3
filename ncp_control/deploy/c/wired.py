"""C code of cells over a wiring: LTC, STC, LRC and wired CfC."""

import copy
from typing import Any

import numpy as np
import torch

from ncp_control.cells import STC, SynapticCell, WiredCfC
from ncp_control.cells.cfc import NUM_HEADS
from ncp_control.cells.membrane import find_layers
from ncp_control.cells.plain_numbers import (
    CircuitNumbers,
    circuit_numbers,
    ltc_numbers,
    motor_numbers,
    scaled_nodes,
    synapse_ends,
    synapse_sources,
    to_float32,
)
from ncp_control.cells.saturated import LARGEST_LOGIT
from ncp_control.deploy.c.stages import CellStage, Stage
from ncp_control.deploy.c.tables import index_type, number, struct_table, table
from ncp_control.wiring import Wiring


def synaptic_stage(cell: SynapticCell) -> CellStage:
    """Return the stage of an LTC, STC or LRC circuit.

    Raises:
        ValueError: If the integrator has no C code.
    """
    if cell.integrator == "rk4":
        raise ValueError(
            "`integrator` must not be 'rk4' in C, got 'rk4', which can blow up."
            " Train with 'layered_midpoint', 'exponential_euler' or 'semi_implicit_euler'."
        )
    wiring = cell.wiring
    equation = saturated_equation(cell) if isinstance(cell, STC) else _ltc_equation(cell)
    constants = {"NEURONS": wiring.num_neurons, "UNFOLDS": cell.unfolds} | equation.constants
    scratch = [f"struct {equation.constants['SUMS']} held[{_n(wiring)}]"]
    scratch.append(f"float next[{_n(wiring)}]")
    layers = find_layers(wiring) if cell.integrator == "layered_midpoint" else ()
    tables = equation.tables + _wiring_tables(wiring, has_layers=bool(layers))
    if layers:
        constants["LAYERS"] = len(layers)
        rows = [(layer.neurons.start, layer.neurons.stop) for layer in layers]
        tables += struct_table("struct ltc_layer { int16_t first, end; }", "ltc_layers", rows)
        scratch.append(f"struct {equation.constants['SUMS']} earlier[{_n(wiring)}]")
        scratch.append(f"float middle[{_n(wiring)}]")
    readout = ltc_readout(cell)
    return CellStage(
        constants=constants | readout.constants,
        tables=tables + readout.tables,
        types=equation.types,
        parts=(*equation.parts, "membrane", f"ltc_{cell.integrator}", *readout.parts),
        scratch=tuple(scratch),
        read=readout.parts[-1],
        num_time_constants=wiring.num_neurons,
    )


def _n(wiring: Wiring) -> int:
    return wiring.num_neurons


def _ltc_equation(cell: SynapticCell) -> Stage:
    """Return the stage with the effective parameters of an LTC's synapses and neurons."""
    return Stage(
        constants={"SUMS": "controller_flow"},
        tables=parameter_tables(cell.wiring, ltc_numbers(cell)),
        types="struct controller_flow { float conductance, drive; };\n",
        parts=("ltc_synapses",),
    )


def parameter_tables(wiring: Wiring, numbers: CircuitNumbers) -> str:
    """Return the tables of the synapses, sorted by target, and of the neurons."""
    names = wiring.node_names
    arrows = [f"{names[s.source]} -> {names[s.target]}" for s in wiring.synapses]
    return "\n".join(
        [
            "/* Synapses from inputs, then those between neurons; each group by target. */",
            struct_table(
                f"struct ltc_synapse {{ float {', '.join(numbers.synapses)}; }}",
                "ltc_synapses",
                np.stack(list(numbers.synapses.values()), axis=1),
                arrows,
            ),
            struct_table(
                f"struct ltc_neuron {{ float {', '.join(numbers.neurons)}; }}",
                "ltc_neurons",
                np.stack(list(numbers.neurons.values()), axis=1),
                wiring.neuron_names,
            ),
        ]
    )


def _wiring_tables(wiring: Wiring, *, has_layers: bool) -> str:
    """Return the tables of each synapse's source and of the ends of each neuron's synapses."""
    end_type = index_type(wiring.num_synapses)
    fields = ("sensory", "earlier", "inner") if has_layers else ("sensory", "inner")
    return "\n".join(
        [
            "/* The input or the neuron that each synapse comes from. */",
            table("ltc_sources", synapse_sources(wiring), index_type(wiring.num_nodes)),
            "/* Where the synapses of each neuron end: those from inputs, and those from neurons"
            f"{' (of earlier layers; of all)' if has_layers else ''}. */",
            struct_table(
                f"struct ltc_end {{ {end_type} {', '.join(fields)}; }}",
                "ltc_ends",
                [[end[name] for name in fields] for end in synapse_ends(wiring)],
                wiring.neuron_names,
            ),
        ]
    )


def saturated_equation(cell: STC) -> Stage:
    """Return the stage with the effective parameters of an STC or LRC."""
    exact = copy.deepcopy(cell).double()
    p = exact.effective_parameters()
    columns = {"weight": p.weight, "update_weight": p.update_weight}
    leaks = {
        "capacitance_s": p.capacitance_s,
        "leak": p.leak_conductance,
        "leak_potential": p.leak_potential,
    }
    fields, kind = "forget, update", 0
    if p.elastance_weight is not None and p.elastance_bias is not None:
        scale, offset = scaled_nodes(exact)
        # The contribution of an input's offset is constant, so it is added to the bias.
        added = p.elastance_weight * offset[exact.source]
        columns["elastance_weight"] = p.elastance_weight * scale[exact.source]
        leaks["elastance_bias"] = p.elastance_bias.index_add(0, exact.target, added)
        fields, kind = f"{fields}, logit", 1
    if p.elastance_width is not None:
        leaks |= {
            "elastance_width": p.elastance_width,
            "elastance_span": -torch.expm1(-2.0 * p.elastance_width),
        }
        kind = 2
    return Stage(
        constants={
            "SUMS": "controller_sums",
            "ELASTANCE": kind,
            "LARGEST_LOGIT": number(LARGEST_LOGIT),
        },
        tables=parameter_tables(cell.wiring, circuit_numbers(exact, columns, leaks)),
        types="struct controller_flow { float conductance, drive; };\n"
        f"struct controller_sums {{ float {fields}; }};\n",
        parts=("saturated_synapses",),
    )


def motor_readout(cell: SynapticCell | WiredCfC) -> Stage:
    """Return the stage that scales and shifts the motor neurons."""
    names = cell.neuron_names[-cell.output_size :]
    return Stage(
        constants={"OUTPUTS": cell.output_size},
        tables=struct_table(
            "struct motor { float factor, offset; }", "motor_scale", motor_numbers(cell), names
        ),
        parts=("read_motors",),
    )


def ltc_readout(cell: SynapticCell) -> Stage:
    """Return the stage of the outputs; its last part is the function to call."""
    motors = motor_readout(cell)
    if cell.read_weight is None:
        return motors
    first, last = cell.read_neurons.start, cell.read_neurons.stop
    weights = to_float32(cell.read_weight).reshape(-1)
    return Stage(
        constants=motors.constants | {"READ_FIRST": first, "READ_NEURONS": last - first},
        tables=motors.tables
        + "/* What each output reads from neurons before the motor neurons. */\n"
        + table("read_weights", weights),
        parts=(*motors.parts, "read_neurons"),
    )


def closed_form_stage(mode: str, solution: Any, names: list[str]) -> Stage:
    """Return the stage that solves a CfC neuron over the elapsed time."""
    if mode != "pure":
        part = "closed_form" if mode == "default" else "closed_form_no_gate"
        return Stage(constants={"CLOSED_FORM": part}, parts=(part,))
    rows = to_float32(torch.stack([solution.leak_rate.abs(), solution.amplitude], dim=1))
    return Stage(
        constants={"CLOSED_FORM": "closed_form_pure"},
        tables=struct_table(
            "struct closed_form_neuron { float rate, amplitude; }",
            "closed_form_neurons",
            rows,
            names,
        ),
        parts=("closed_form_pure",),
    )


def wired_cfc_stage(cell: WiredCfC) -> CellStage:
    """Return the stage of closed-form continuous-time neurons over a wiring."""
    wiring, num_heads = cell.wiring, NUM_HEADS[cell.mode]
    names = wiring.node_names
    source, target = cell.source.tolist(), cell.target.tolist()
    ends = np.cumsum(np.bincount(target, minlength=wiring.num_neurons))
    arrows = [f"{names[s]} -> {cell.neuron_names[t]}" for s, t in zip(source, target, strict=True)]
    weights = to_float32(cell.weight.t())
    rows = [(f"{{{', '.join(map(number, row))}}}",) for row in weights]
    solution = closed_form_stage(cell.mode, cell.solution, cell.neuron_names)
    readout = motor_readout(cell)
    widest = max(layer.stop - layer.start for layer in cell.layers)
    has_time_constants = cell.mode == "pure"
    tables = [
        "/* The weights of each synapse, one for each of the numbers f, g, a and b. */",
        struct_table(
            f"struct wired_edge {{ float weight[{num_heads}]; }}", "wired_edges", rows, arrows
        ),
        table("wired_sources", np.array(source), index_type(wiring.num_nodes)),
        table("wired_ends", ends, index_type(int(ends[-1]))),
        table("wired_biases", to_float32(cell.bias.t())),
        struct_table(
            "struct wired_layer { int16_t first, end; }",
            "wired_layers",
            [(layer.start, layer.stop) for layer in cell.layers],
        ),
    ]
    constants = {
        "INPUTS": wiring.num_sensory,
        "NEURONS": wiring.num_neurons,
        "LAYERS": len(cell.layers),
        "HEADS": num_heads,
        "NOMINAL_FRAME_S": number(cell.frame_s),
    }
    times = ("wired_cfc_time_constants",) if has_time_constants else ()
    return CellStage(
        constants=constants | solution.constants | readout.constants,
        tables="\n".join(tables) + solution.tables + readout.tables,
        parts=(*solution.parts, "wired_cfc", *times, *readout.parts),
        scratch=(f"float nodes[{wiring.num_nodes}]", f"float heads[{num_heads * widest}]"),
        read="read_motors",
        num_time_constants=wiring.num_neurons if has_time_constants else 0,
    )
