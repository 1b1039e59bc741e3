"""How the GPU kernels of dense cells lay out a cell, and which cells they take."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ncp_control.kernels.dense_op import KINDS, MOST_PIECES

MOST_TRITON_NODES = 128
"""Widest state, and layer, of a kernel for GPUs: it keeps them in registers."""
MOST_TRITON_SYNAPSES = 4096
"""Most synapses of a circuit there."""
MOST_TRITON_TRACES = 512
"""Most traces of a CT-GRU there, which no layer sees one by one."""
PURE = 2
"""Mode of a CfC, as in cfc.h."""
PIECES = MOST_PIECES + 1
MEMORY_GATES = 4
MEMORY_RECORD = 6
"""What a memory leaves of each unit: four gates, and v and m before a frame."""
LAYERED_MIDPOINT = 3
"""As in synaptic.h."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a cell's matrices mean, and how wide its records are.

    Widths of `held`, tape and bars are of one frame; a mixed memory adds to them.
    """

    kind: str
    units: int
    width: int
    """Of the state, without what is remembered beside it: that of the cell in a mixed memory."""
    held_width: int
    tape_width: int
    """Without the state before the frame, which stands behind."""
    bars_width: int
    seeing: tuple[int, ...] = (0,)
    """Which matrices see the inputs."""
    sees_state: bool = True
    """Whether these see the state, too, with their first piece."""
    has_memory: bool = False
    mode: int = 0
    activation: int = 0
    layers: int = 0
    """Hidden layers of a CfC."""
    hidden: int = 1
    unfolds: int = 1
    scales: int = 1
    """Traces of a unit."""
    ends: tuple[int, ...] = field(default=(0,))
    """Where the layers of a WiredCfC end, after 0."""

    @property
    def is_pure(self) -> bool:
        """Whether it is a closed form in pure mode."""
        return self.kind in ("cfc", "wired_cfc") and self.mode == PURE

    @property
    def heads(self) -> int:
        """Heads of a closed form."""
        return 1 if self.is_pure else 4

    @property
    def state_width(self) -> int:
        """Width of the whole state."""
        return 2 * self.width if self.has_memory or self.kind == "lstm" else self.width

    @property
    def record_width(self) -> int:
        """Numbers of a frame on the tape."""
        gates = (1 + MEMORY_GATES) * self.width if self.has_memory else 0
        return self.tape_width + gates + self.state_width

    @property
    def memory_width(self) -> int:
        """What a mixed memory's gates add to `held` and bars."""
        return MEMORY_GATES * self.width if self.has_memory else 0


@dataclass(frozen=True, kw_only=True)
class SynapticLayout:
    """What the matrices of a circuit of synapses mean, as in synaptic.h, perhaps in a memory."""

    neurons: int
    synapses: int
    sums: int
    """2 or 3: f, u and perhaps y."""
    own: int
    """0, 1 or 3: how many of e, h and E a neuron has."""
    equation: int
    integrator: int
    unfolds: int
    has_memory: bool

    @property
    def record_width(self) -> int:
        """Numbers of a frame on the tape."""
        evaluations = 2 if self.integrator == LAYERED_MIDPOINT else 1
        substep = (1 + evaluations * self.sums) * self.neurons
        return self.unfolds * substep + (MEMORY_RECORD * self.neurons if self.has_memory else 0)


def lay_out(
    kind: str, shapes: Sequence[int], width: int, options: Sequence[int]
) -> Layout | SynapticLayout:
    """Return the layout of a cell.

    Args:
        kind: A name in `KINDS`.
        shapes: Rows and columns of each piece, of all matrices.
        width: Width of the state.
        options: The cell's, see its file of the C kernel.
    """
    if kind != "mixed_memory":
        return _cell(kind, shapes, width, options, has_memory=False)
    inner = KINDS[options[0]]
    return _cell(inner, shapes[PIECES:], width // 2, options[1:], has_memory=True)


def suits(
    kind: str, shapes: Sequence[int], width: int, options: Sequence[int], inputs: int
) -> bool:
    """Tell whether the kernels for GPUs have a cell, in that size; arguments as of `lay_out`."""
    layout = lay_out(kind, shapes, width, options)
    if isinstance(layout, SynapticLayout):
        nodes = max(inputs, layout.neurons)
        return nodes <= MOST_TRITON_NODES and layout.synapses <= MOST_TRITON_SYNAPSES
    # A memory would have to take an LSTM's state apart; around a CT-GRU, Triton 3.9 crashes.
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
    """Return the layout of a cell, perhaps within a mixed memory."""
    rows = list(shapes[::PIECES])
    if kind == "synaptic":
        sums = shapes[1] - 2  # a synapse has γ and c, then one weight a sum
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
