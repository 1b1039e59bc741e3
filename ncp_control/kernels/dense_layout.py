"""Memory layout of cells in the GPU kernels of dense cells, and the cells that they support."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ncp_control.kernels.dense_op import KINDS, MOST_PIECES

MOST_TRITON_NODES = 128
"""Largest width of a state or layer in a GPU kernel, which keeps it in registers."""
MOST_TRITON_SYNAPSES = 4096
"""Largest number of synapses of a circuit in a GPU kernel."""
MOST_TRITON_TRACES = 512
"""Largest number of traces of a CT-GRU in a GPU kernel; layers see only sums of traces."""
PURE = 2
"""Mode of a CfC, as in cfc.h."""
PIECES = MOST_PIECES + 1
MEMORY_GATES = 4
MEMORY_RECORD = 6
"""Numbers per unit that a memory keeps on the tape: four gates, and v and m before a frame."""
LAYERED_MIDPOINT = 3
"""Number of this integrator, as in synaptic.h."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Meaning of a cell's matrices, and widths of its records.

    The widths of `held`, tape and bars are per frame and without a mixed memory, which adds to
    them.
    """

    kind: str
    units: int
    width: int
    """Width of the state without memory values: in a mixed memory, that of the cell's state."""
    held_width: int
    tape_width: int
    """Width without the state before the frame, which is stored after it."""
    bars_width: int
    seeing: tuple[int, ...] = (0,)
    """Indices of the matrices that act on the inputs."""
    sees_state: bool = True
    """Whether the first piece of these matrices acts on the state."""
    has_memory: bool = False
    mode: int = 0
    activation: int = 0
    layers: int = 0
    """Number of hidden layers of a CfC."""
    hidden: int = 1
    unfolds: int = 1
    scales: int = 1
    """Number of traces per unit of a CT-GRU."""
    ends: tuple[int, ...] = field(default=(0,))
    """Index after the last neuron of each layer of a WiredCfC, with 0 in front."""

    @property
    def is_pure(self) -> bool:
        """True for a CfC or WiredCfC in pure mode."""
        return self.kind in ("cfc", "wired_cfc") and self.mode == PURE

    @property
    def heads(self) -> int:
        """Number of heads per neuron of a CfC or WiredCfC."""
        return 1 if self.is_pure else 4

    @property
    def state_width(self) -> int:
        """Width of the whole state, with memory values."""
        return 2 * self.width if self.has_memory or self.kind == "lstm" else self.width

    @property
    def record_width(self) -> int:
        """Numbers per frame on the tape."""
        gates = (1 + MEMORY_GATES) * self.width if self.has_memory else 0
        return self.tape_width + gates + self.state_width

    @property
    def memory_width(self) -> int:
        """Width that the gates of a mixed memory add to `held` and bars."""
        return MEMORY_GATES * self.width if self.has_memory else 0


@dataclass(frozen=True, kw_only=True)
class SynapticLayout:
    """Meaning of the matrices of a circuit of synapses (synaptic.h), with or without a memory."""

    neurons: int
    synapses: int
    sums: int
    """Number of sums: 2 (f, u) or 3 (f, u, y)."""
    own: int
    """Number of parameters e, h and E of a neuron: 0, 1 or 3."""
    equation: int
    integrator: int
    unfolds: int
    has_memory: bool

    @property
    def record_width(self) -> int:
        """Numbers per frame on the tape."""
        evaluations = 2 if self.integrator == LAYERED_MIDPOINT else 1
        substep = (1 + evaluations * self.sums) * self.neurons
        return self.unfolds * substep + (MEMORY_RECORD * self.neurons if self.has_memory else 0)


def lay_out(
    kind: str, shapes: Sequence[int], width: int, options: Sequence[int]
) -> Layout | SynapticLayout:
    """Return the layout of a cell.

    Args:
        kind: A name in `KINDS`.
        shapes: Rows and columns of each piece, of all matrices; see `Program.shapes`.
        width: Width of the state.
        options: Options of the cell, see its C file.
    """
    if kind != "mixed_memory":
        return _cell(kind, shapes, width, options, has_memory=False)
    inner = KINDS[options[0]]
    return _cell(inner, shapes[PIECES:], width // 2, options[1:], has_memory=True)


def suits(
    kind: str, shapes: Sequence[int], width: int, options: Sequence[int], inputs: int
) -> bool:
    """True if the GPU kernels support a cell of this kind and size; arguments as in `lay_out`."""
    layout = lay_out(kind, shapes, width, options)
    if isinstance(layout, SynapticLayout):
        nodes = max(inputs, layout.neurons)
        return nodes <= MOST_TRITON_NODES and layout.synapses <= MOST_TRITON_SYNAPSES
    # A memory would have to split the state of an LSTM; around a CT-GRU, Triton 3.9 crashes.
    if layout.has_memory and layout.kind in ("lstm", "ctgru"):
        return False
    most = MOST_TRITON_TRACES if layout.scales > 1 else MOST_TRITON_NODES
    return (
        layout.scales & (layout.scales - 1) == 0
        and max(layout.units, layout.hidden) <= MOST_TRITON_NODES
        and layout.width <= most
    )


def _cell(
    kind: str, shapes: Sequence[int], width: int, options: Sequence[int], *, has_memory: bool
) -> Layout | SynapticLayout:
    """Return the layout of a cell that is alone or inside a mixed memory."""
    rows = list(shapes[::PIECES])
    if kind == "synaptic":
        sums = shapes[1] - 2  # a synapse has γ and c, then one weight per sum
        return SynapticLayout(
            neurons=width,
            synapses=rows[0],
            sums=sums,
            own=shapes[PIECES + 1] - 1 - sums,
            equation=options[0],
            integrator=options[1],
            unfolds=options[2],
            has_memory=has_memory,
        )
    common: dict[str, Any] = {
        "kind": kind,
        "units": width,
        "width": width,
        "has_memory": has_memory,
        "sees_state": kind not in ("gru", "ctrnn", "neural_ode", "ode_rnn"),
    }
    if kind == "lstm":
        common["units"] = common["width"] = units = width // 2
        return Layout(**common, held_width=4 * units, tape_width=4 * units, bars_width=4 * units)
    if kind == "gru":
        return Layout(**common, held_width=3 * width, tape_width=4 * width, bars_width=4 * width)
    if kind == "ctrnn":
        common |= {"held_width": width, "unfolds": options[0]}
        return Layout(**common, tape_width=2 * options[0] * width, bars_width=options[0] * width)
    if kind == "neural_ode":
        common |= {"held_width": width, "unfolds": options[0]}
        stages = 4 * options[0]
        return Layout(**common, tape_width=2 * stages * width, bars_width=stages * width)
    if kind == "ode_rnn":
        common |= {"held_width": 3 * width, "unfolds": options[0], "seeing": (2,)}
        stages = 4 * options[0]
        widths = (5 + 3 * stages) * width, (4 + 2 * stages) * width
        return Layout(**common, tape_width=widths[0], bars_width=widths[1])
    if kind == "ctgru":
        units = width // options[0]
        common |= {"units": units, "seeing": (0, 1), "scales": options[0]}
        return Layout(**common, held_width=3 * units, tape_width=5 * units, bars_width=3 * units)
    mode = options[0]
    heads = 1 if mode == PURE else 4
    layers = len(rows) - (2 if mode == PURE else 0)
    if kind == "wired_cfc":
        ends = [0]
        for size in rows[:layers]:
            ends.append(ends[-1] + size // heads)
        common |= {"seeing": tuple(range(layers)), "mode": mode, "ends": tuple(ends)}
        widths = heads * width, (heads + 1) * width
        return Layout(**common, held_width=widths[0], tape_width=widths[1], bars_width=widths[0])
    hidden = rows[0] if layers > 1 else 1
    return Layout(
        **common,
        held_width=rows[0],
        tape_width=(layers - 1) * 2 * hidden + heads * width,
        bars_width=(layers - 1) * hidden + heads * width,
        mode=mode,
        activation=options[1],
        layers=layers - 1,
        hidden=hidden,
    )
